"""Processes that a test may kill: records behind HTTP, and a recorder that kills itself at a point
of its loop. Each is a process of its own, because only then does a SIGKILL leave what it leaves.

    python -m tests.recorder.crashing <JSON of Run>
"""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

import recorder.durable
import recorder.heads
import recorder.recorder
import recorder.spool
from budgets.embedded import die_with_parent
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from clickhouse.accounts import RECORDER, Accounts, RecordsSecret
from clickhouse.engine import Engine
from clickhouse.errors import StoreUnavailable
from clickhouse.facade import Facade, listen
from clickhouse.migrate import Layout, migrate
from clickhouse.store import EmbeddedStore, HttpStore, HttpTimeouts, Store
from recorder.options import RecorderOptions
from recorder.recorder import Recorder
from tests.budgets.harness import SystemClock
from tests.forking import warm
from tests.gateway.processes import free_port
from tests.pausing import pause
from tests.recorder.hooks import Call, HookedStore, HookedTransport
from tests.recorder.rig import QUICK, Found, find, spooled, until

TRUSTS = SessionOptions(trusts=True)

ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-m", "tests.recorder.crashing")
READY_S_MAX = 60
READY = b"ready"
RUN_S_MAX = 60
COMPLAINT = "last-words"
_LAYOUT = Layout(fsync=False)  # a kill loses nothing that was written
_SECRET = "records.secret"


class Run(msgspec.Struct, frozen=True):
    """One life of a recorder. It dies at its `kill_at`th point, or at the `kill_nth` one of the
    name `kill_name` (0 and empty: never), or `kill_within_us` after that one began; `by` is the
    signal. It ends when all of the organisation is recorded. The first `refused` inserts are
    refused, as in an outage. `url` is empty for an engine in this process, in `records`."""

    ledger: str
    folder: str
    organisation: str
    records: str
    url: str = ""
    kill_at: int = 0
    kill_name: str = ""
    kill_nth: int = 1
    kill_within_us: int = 0
    by: int = signal.SIGKILL
    refused: int = 0
    options: RecorderOptions = QUICK


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended: killed at a point, or with all points that it passed and what is there."""

    killed: str = ""
    points: list[str] = []
    found: Found | None = None


class Points:
    """Counts the points of a run and kills the process at one of them."""

    def __init__(self, run: Run) -> None:
        self.names: list[str] = []
        self._run = run
        self._refused = run.refused
        self._lock = threading.Lock()

    def is_last(self, name: str) -> bool:
        """Whether the next point, if it has this name, is the last."""
        run, names = self._run, self.names
        return len(names) + 1 == run.kill_at or (
            name == run.kill_name and names.count(name) + 1 == run.kill_nth
        )

    def passed(self, name: str) -> None:
        """One more; does not return from the last."""
        with self._lock:
            last = self.is_last(name)
            self.names.append(name)
        if not last:
            return
        _say(Outcome(killed=name))
        if self._run.kill_within_us:
            threading.Timer(self._run.kill_within_us / 1e6, self._die).start()
        else:
            self._die()

    def _die(self) -> None:
        os.kill(os.getpid(), self._run.by)

    async def around(self, call: Call) -> Any:
        """The hook of store and ledger."""
        self.passed(f"before {call.name}")
        if self._refused and call.name.startswith("insert "):
            self._refused -= 1
            raise StoreUnavailable("refused by the test")
        answer = await call.happen()
        self.passed(f"after {call.name}")
        return answer

    def surrounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a function that blocks."""

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            self.passed(f"before {name}")
            answer = function(*args, **named)
            self.passed(f"after {name}")
            return answer

        return call

    def torn(self, path: Path, pieces: Iterable[bytes]) -> None:
        """write_new, with a point at which half of the file is there."""
        content = b"".join(pieces)
        self.passed("before write_new")
        if self.is_last("within write_new"):
            path.write_bytes(content[: len(content) // 2])
        self.passed("within write_new")
        recorder.durable.write_new(path, [content])
        self.passed("after write_new")


def _put_in_place(points: Points, running: Recorder) -> None:
    """Points around what writes to the disk."""
    spool = running._spool
    for name in ("put", "load", "remove"):
        setattr(spool, name, points.surrounded(f"spool.{name}", getattr(spool, name)))
    vars(recorder.spool)["write_new"] = points.torn
    vars(recorder.spool)["sync_folder"] = points.surrounded(
        "spool sync", recorder.durable.sync_folder
    )
    vars(recorder.heads)["append"] = points.surrounded("heads append", recorder.durable.append)


@contextlib.asynccontextmanager
async def _store(run: Run) -> AsyncIterator[Store]:
    if run.url:
        store = http_store(run.url, Path(run.records))
        yield store
        await store.close()
        return
    with Engine(Path(run.records)) as engine:
        store_here = EmbeddedStore(engine)
        await migrate(store_here, _LAYOUT)
        yield store_here
        await store_here.close()


async def _record(run: Run) -> None:
    points = Points(run)
    ledger = PipelinedTransport(NodeAddress(unix_path=run.ledger))
    eyes = PipelinedTransport(NodeAddress(unix_path=run.ledger))

    async def is_recorded() -> bool:
        left = await eyes.command("XLEN", f"{{{run.organisation}}}:outbox")
        return not left and not spooled(Path(run.folder))

    async with _store(run) as store:
        session = Session(
            HookedTransport(ledger, points.around),
            load_scripts(),
            SystemClock(),
            TRUSTS,
        )
        running = Recorder(
            session, HookedStore(store, points.around), Path(run.folder), run.options
        )
        _put_in_place(points, running)
        task = asyncio.create_task(running.run())
        await until(is_recorded)
        running.stop()
        await task
        _say(Outcome(points=points.names, found=await find(store, run.organisation)))
    await ledger.close()
    await eyes.close()


def _say(outcome: Outcome) -> None:
    content = msgspec.json.encode(outcome) + b"\n"
    while content:
        content = content[os.write(1, content) :]


def one_life(run: Run) -> Outcome:
    """A recorder's process from start to end. Blocks."""
    reading, writing = warm().Pipe(duplex=False)
    process = warm().Process(target=_live, args=(writing, msgspec.json.encode(run)))
    process.start()
    writing.close()
    with reading, os.fdopen(os.dup(reading.fileno()), "rb") as told:
        answer = told.readline()
    process.join(RUN_S_MAX)
    assert process.exitcode in (0, -signal.SIGKILL), (process.exitcode, _complaint(run))
    return msgspec.json.decode(answer, type=Outcome)


def _live(writing: Connection, run: bytes) -> None:
    """As the command line does it, which is a process of its own from the start."""
    die_with_parent()
    wanted = msgspec.json.decode(run, type=Run)
    folder = Path(wanted.folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    complaint = os.open(folder / COMPLAINT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(writing.fileno(), 1)
    os.dup2(complaint, 2)
    asyncio.run(_record(wanted))


def _complaint(run: Run) -> str:
    return (Path(run.folder) / COMPLAINT).read_text()


@contextlib.contextmanager
def paused(run: Run) -> Iterator[subprocess.Popen[bytes]]:
    """A recorder's process that has stopped itself, until it gets SIGCONT. Blocks until then."""
    process = subprocess.Popen(
        [*_COMMAND, msgspec.json.encode(msgspec.structs.replace(run, by=signal.SIGSTOP))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        outcome = msgspec.json.decode(process.stdout.readline(), type=Outcome)
        assert outcome.killed, "it came to its end"
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def http_store(url: str, folder: Path, timeouts: HttpTimeouts | None = None) -> HttpStore:
    """The records behind HTTP, for their recorder."""
    secret = RecordsSecret.load_or_create(folder / _SECRET)
    return HttpStore(url, RECORDER, secret.password_of(RECORDER), timeouts)


class RecordsServer:
    """An engine with its HTTP port, in a process that can be killed, paused and started again on
    the same folder and port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: Any = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def store(self, timeouts: HttpTimeouts | None = None) -> HttpStore:
        """A client of it."""
        return http_store(self.url, self.folder, timeouts)

    def start(self) -> None:
        """Returns when it answers."""
        reading, writing = warm().Pipe(duplex=False)
        self._process = warm().Process(
            target=_serve_alone, args=(writing, self.folder, self.port), daemon=True
        )
        self._process.start()
        writing.close()
        with reading:
            assert reading.poll(READY_S_MAX), "the records did not start"
            assert reading.recv_bytes() == READY

    def pause(self) -> None:
        """It says nothing until `go_on`."""
        assert self._process is not None
        pause(self._process.pid)

    def go_on(self) -> None:
        """After `pause`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: connections break, later ones are refused."""
        assert self._process is not None
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _listening(port: int) -> Any:
    listening = listen(port)
    try:
        yield listening
    finally:
        listening.close()


def _serve_alone(ready: Connection, folder: Path, port: int) -> None:
    die_with_parent()
    asyncio.run(_serve(ready, folder, port))


async def _serve(ready: Connection, folder: Path, port: int) -> None:
    with Engine(folder / "records") as engine, _listening(port) as listening:
        store = EmbeddedStore(engine)
        await migrate(store, _LAYOUT)
        secret = RecordsSecret.load_or_create(folder / _SECRET)
        facade = Facade(engine, Accounts(secret, recorder_enabled=True))
        server = uvicorn.Server(
            uvicorn.Config(facade, http="httptools", log_level="critical", access_log=False)
        )
        ready.send_bytes(READY)
        await server.serve([listening])
        await store.close()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(_record(msgspec.json.decode(sys.argv[1], type=Run)))
