"""What the proof of "every event exactly once" stands on: a real ledger whose calls are remembered,
real recorders that a test may stop, pause or starve, real records, and the judgement at the end.

The judgement is the same for every scenario: what the ledger made is in the records once, with its
payloads, chained and signed, the sums agree everywhere, and nothing is left behind on the way.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import secrets
import signal
import string
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from budgets.answers import Refusal, Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerOptions
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.plan import ScopePath
from budgets.session import ORGANISATIONS_KEY, Session, SessionOptions
from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.heads import SigningKey, read_heads
from recorder.options import RecorderOptions
from recorder.recorder import Recorder
from recorder.verification import CHAIN_COLUMNS, verify
from tests.budgets.harness import Desk, SystemClock, desk_for, dollars, scripts
from tests.recorder.hooks import Call, Hook, HookedStore, HookedTransport, happens
from tests.recorder.workbench import request_event, response_event

TRUSTS = SessionOptions(trusts=True)

RESERVED_NUSD = 1_000
LIMIT_USD = "1000"
WAIT_S_MAX = 30
PATIENT = TransportLimits(call_timeout_ms=30_000)
CHAIN = string.Template(load_query("chain")).substitute(columns=CHAIN_COLUMNS)
QUICK = RecorderOptions(
    batch_events_max=5,
    linger_ms=5,
    patience_ms=200,
    retry_ms=20,
    drain_every_ms=20,
    owner_lease_ms=5_000,
    head_every_ms=60_000,
)
SHORT_LEASE = dataclasses.replace(QUICK, owner_lease_ms=800)
NO_SPOOL = dataclasses.replace(QUICK, patience_ms=60_000)
TO_DISK = dataclasses.replace(QUICK, patience_ms=0)
_TOOLS = [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]


class Found(msgspec.Struct, frozen=True):
    """What the records have of an organisation. `calls` are `<type> <request id>`, `bodies` SHA-256
    by `<request id> <kind>`; `events` and `derived` are (count, distinct)."""

    events: tuple[int, int]
    first_and_last: tuple[int, int]
    derived: tuple[int, int]
    calls: list[str]
    bodies: list[tuple[str, str]]
    charged_nusd: tuple[int, int, int]
    chain: list[str]


_COUNTS = """
SELECT (countIf(part = 0), uniqExactIf((epoch, seq), part = 0)), (minIf(seq, part = 0), max(seq)),
       (countIf(part > 0), uniqExactIf((epoch, seq, part), part > 0)), sum(charged_nusd)
FROM comptroller.events WHERE org = {org:String}
"""
_CALLS = """
SELECT concat(event_type, ' ', request_id) FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND reserved_nusd > 0
"""
_BODIES = """
SELECT concat(request_id, ' ', toString(kind)), lower(hex(SHA256(body)))
FROM comptroller.bodies FINAL WHERE org = {org:String}
"""
_SUMS = """
SELECT (SELECT sum(charged_nusd) FROM comptroller.spend_hourly WHERE org = {org:String}),
       (SELECT sum(charged_nusd) FROM comptroller.spend_daily WHERE org = {org:String})
"""


async def find(store: Store, organisation: str) -> Found:
    """Asks the records for everything."""

    async def rows(query: str, **more: int) -> list[Any]:
        lines = await store.select(query, {"org": organisation, **more})
        return [json.loads(line) for line in lines.splitlines()]

    ((events, ends, derived, charged),) = await rows(_COUNTS)
    ((hourly, daily),) = await rows(_SUMS)
    place: dict[str, str | int] = {"org": organisation, "epoch": 0, "seq": 0, "limit": 1_000_000}
    chain = await store.select(CHAIN, place)
    return Found(
        events=tuple(events),
        first_and_last=tuple(ends),
        derived=tuple(derived),
        calls=[name for (name,) in await rows(_CALLS)],
        bodies=[(name, digest) for name, digest in await rows(_BODIES)],
        charged_nusd=(charged, hourly, daily),
        chain=chain.decode().splitlines(),
    )


@dataclass(slots=True)
class Caller:
    """Makes one organisation's calls, and remembers what the records must have of them."""

    desk: Desk
    calls: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, str] = field(default_factory=dict)
    settled_nusd: int = 0
    tools: int = 0

    @property
    def organisation(self) -> str:
        """Its name."""
        return self.desk.organisation

    async def reserve(self, id_: str, body: bytes = b"") -> Reservation | Refusal:
        """One reservation; remembered if it is granted."""
        event = request_event(id_, self.organisation, request_bytes=len(body))
        answer = await self.desk.ledger.reserve(
            ScopePath(self.organisation),
            "small-1",
            lambda _plan: dollars(RESERVED_NUSD),
            lambda _payloads: (event, body),
            id_,
        )
        if isinstance(answer, Reservation):
            self.calls[f"llm_request {id_}"] += 1
            self._remember(f"{id_} request", body)
        return answer

    async def settle(self, id_: str, charged_nusd: int, body: bytes = b"") -> None:
        """Its ending."""
        event = response_event(
            id_, self.organisation, RESERVED_NUSD, charged_nusd, response_bytes=len(body)
        )
        truth = Truth(charged_nusd, 15)
        code = await self.desk.ledger.settle(self.organisation, id_, truth, event, body)
        assert code == "SETTLED"
        self.calls[f"llm_response {id_}"] += 1
        self.settled_nusd += charged_nusd
        self._remember(f"{id_} response", body)

    def _remember(self, name: str, body: bytes) -> None:
        if body:
            self.bodies[name] = sha256(body).hexdigest()

    async def call(self, number: int) -> bool:
        """One call; each third answers with a tool call, each fourth has no payload, each fifth is
        released. Whether the ledger admitted it: otherwise it said BACKLOG."""
        id_ = self.desk.session.new_id()
        payload = number % 4 != 3
        asked = json.dumps({"messages": [{"role": "user", "content": f"{number} {id_}"}]})
        answer = await self.reserve(id_, asked.encode() if payload else b"")
        if isinstance(answer, Refusal):
            assert answer.code == "BACKLOG", answer
            return False
        if number % 5 == 4:
            code = await self.desk.ledger.release(self.organisation, id_, b"")
            assert code == "RELEASED"
            self.calls[f"llm_response {id_}"] += 1
            return True
        message: dict[str, Any] = {"role": "assistant", "content": f"{number}"}
        if payload and number % 3 == 0:
            message |= {"tool_calls": _TOOLS}
            self.tools += 1
        answered = json.dumps({"choices": [{"message": message}]}).encode()
        await self.settle(id_, 100 + number, answered if payload else b"")
        return True

    async def make(self, count: int) -> None:
        """So many calls, one after another."""
        for number in range(count):
            assert await self.call(number)

    async def waiting(self) -> int:
        """How many events the ledger still has."""
        length = await self.desk.transport.command("XLEN", self.desk.key("outbox"))
        assert isinstance(length, int)
        return length

    async def mark(self) -> dict[str, str]:
        """What the ledger knows of its recorder."""
        flat = await self.desk.transport.command("HGETALL", self.desk.key("recorder"))
        assert isinstance(flat, list)
        words = [each.decode() for each in flat]
        return dict(zip(words[::2], words[1::2], strict=True))

    async def lease_runs_out(self) -> None:
        """What a dead recorder's successor would wait for."""
        await self.desk.transport.command("HSET", self.desk.key("recorder"), "until", "0")

    async def recorded(self, *folders: Path) -> None:
        """Waits until the ledger has nothing left, and no spool either."""
        await until(lambda: self._is_recorded(folders))

    async def _is_recorded(self, folders: tuple[Path, ...]) -> bool:
        return not await self.waiting() and not any(map(spooled, folders))

    async def judge(self, found: Found, *folders: Path) -> None:
        """Everything is there exactly once, and nothing is left on the way. `folders` are those of
        recorders that wrote: what each has signed holds, and one has signed the end."""
        head = await self.desk.head()
        assert found.events == (head.seq, head.seq), "not every event once"
        assert found.first_and_last == (1, head.seq), "a gap"
        assert Counter(found.calls) == self.calls
        assert sorted(found.bodies) == sorted(self.bodies.items()), "payloads"
        assert found.derived == (self.tools, self.tools), "derived rows"
        assert await self.desk.totals() == (self.settled_nusd, 0), "the ledger's own counter"
        assert found.charged_nusd == (self.settled_nusd,) * 3, "sums"
        self._judge_chain(found, folders)
        streams = [
            await self.desk.transport.command("XLEN", self.desk.key(name))
            for name in ("outbox", "bodies")
        ]
        assert (streams, head.bodies_bytes) == ([0, 0], 0)
        assert set(await self.mark()) <= {"owner", "until", "confirmed"}, "a batch or spool is left"
        assert not any(map(spooled, folders))

    def _judge_chain(self, found: Found, folders: tuple[Path, ...]) -> None:
        rows = [line.encode() for line in found.chain]
        signed = []
        for folder in folders:
            key = SigningKey.load_or_create(folder / "signing-key").public_hex
            verdict = verify(rows, read_heads(folder / "heads", self.organisation), key)
            assert verdict.ok, verdict.message
            signed.append(verdict.signed == verdict.end)
        assert any(signed), "nobody has signed the end"


def spooled(folder: Path) -> list[Path]:
    """Files in a recorder's spool, of any kind."""
    return sorted(each for each in (folder / "spool").rglob("*") if each.is_file())


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what nothing tells of."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Running:
    """A recorder in the test's own process: its hooks, its folder, its task."""

    recorder: Recorder
    store: HookedStore
    ledger: HookedTransport
    folder: Path
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.recorder.stop()
        async with asyncio.timeout(WAIT_S_MAX):
            await self.task

    async def kill(self) -> None:
        """As far as a process can without ending itself: nothing more is called, and its lock of
        the folder is free. Nothing where it has ended."""
        if self.task.done():
            return

        async def never(_: Call) -> Any:
            await asyncio.Event().wait()

        self.store.hook = self.ledger.hook = never
        left = {self.task, *self.recorder._tasks.values()}
        while left:  # a task that was just told something may not hear that it is cancelled
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=0.1)
        self.recorder._lock.close()


class Stage:
    """A ledger of its own for one test, with callers and recorders."""

    def __init__(
        self, server: EmbeddedServer, folder: Path, stack: contextlib.AsyncExitStack
    ) -> None:
        self.server = server
        self.folder = folder
        self._stack = stack

    async def transport(self, limits: TransportLimits = PATIENT) -> PipelinedTransport:
        """A connection to the ledger, closed after the test."""
        address = NodeAddress(unix_path=str(self.server.socket_path))
        transport = PipelinedTransport(address, limits)
        self._stack.push_async_callback(transport.close)
        return transport

    async def caller(self, name: str = "", options: LedgerOptions | None = None) -> Caller:
        """A new organisation with a budget."""
        organisation = name or f"rig-{secrets.token_hex(6)}"
        desk = desk_for(organisation, await self.transport(), options)
        await desk.session.open_organisation(organisation, create=True)
        await desk.set_budget(organisation, [{"usd": LIMIT_USD}])
        return Caller(desk)

    async def forget(self, caller: Caller) -> None:
        """Recorders no longer look at it."""
        await caller.desk.transport.command("SREM", ORGANISATIONS_KEY, caller.organisation)

    async def recorder(
        self,
        store: Store,
        name: str = "a",
        options: RecorderOptions = QUICK,
        limits: TransportLimits = PATIENT,
        hook: Hook = happens,
        ledger_hook: Hook = happens,
    ) -> Running:
        """A recorder that runs, on a disk of that name; ended after the test."""
        hooked = HookedStore(store, hook)
        ledger = HookedTransport(await self.transport(limits), ledger_hook)
        folder = self.folder / name
        recorder = Recorder(
            Session(ledger, scripts(), SystemClock(), TRUSTS),
            hooked,
            folder,
            options,
        )
        running = Running(recorder, hooked, ledger, folder, asyncio.create_task(recorder.run()))
        self._stack.push_async_callback(running.kill)
        return running


async def finished(store: Store, caller: Caller, *running: Running) -> None:
    """All is recorded, the recorders stop, and the books agree."""
    folders = [each.folder for each in running]
    await caller.recorded(*folders)
    for each in running:
        await each.stop()
    await caller.judge(await find(store, caller.organisation), *folders)


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What only a person can mend, as the recorders said it."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """A stage with a real valkey-server, on a short path (a unix socket's name is short)."""
    with tempfile.TemporaryDirectory(prefix="ct-rec-") as name:
        server = EmbeddedServer(Path(name))
        server.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                yield Stage(server, Path(name), stack)
        finally:
            server.send(signal.SIGKILL)  # nobody reads its file: it need not take its time
            server.wait()
