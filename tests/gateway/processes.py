"""`comptroller up` as people run it: real processes, started by the installed command.

Ready when `GET /readyz` says 200, ended by SIGTERM, and the exit code must be 0. Nothing of the
machine's environment reaches it but where programs and modules are.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from tests.gateway.ledger_view import LedgerView
from tests.gateway.provider import Provider

PASSED_ON = ("PATH", "PYTHONPATH")  # the latter where the code under test is not what is installed
OWN_PORTS = range(12_000, 30_000)  # below Linux's own, from 32768 on (ip_local_port_range)
READY_S_MAX = 60
STOPPED_S_MAX = 60
LEFT_S_MAX = 20


@dataclass(slots=True)
class Running:
    """A started stack. `output` is all that it and those before it in its folder printed."""

    process: asyncio.subprocess.Process
    data_dir: Path
    port: int
    output_file: Path
    printed_before: int = 0
    views: list[LedgerView] = field(default_factory=list)

    @property
    def output(self) -> str:
        """What it printed so far, stdout and stderr."""
        return self.output_file.read_text(encoding="utf-8")

    def view(self, organisation: str) -> LedgerView:
        """Eyes into its ledger, which are closed with it at the latest."""
        view = LedgerView(self.data_dir / "ledger.sock", organisation)
        self.views.append(view)
        return view

    async def close_views(self) -> None:
        """Also those that a test which failed has left open: an open connection would be found
        much later, and blamed on a test that has nothing to do with it."""
        while self.views:
            await self.views.pop().close()

    def parts(self, named: str) -> set[int]:
        """Process ids of the parts with this in their command line."""
        return {pid for pid in children(self.process.pid) if named in command_line(pid)}

    def recorder(self) -> int:
        """Process id of the recorder."""
        (pid,) = self.parts("comptroller.record")
        return pid

    def workers(self) -> set[int]:
        """Process ids of the gateway workers."""
        return self.parts("comptroller.work")

    def ledger(self) -> int:
        """Process id of the embedded ledger."""
        (pid,) = self.parts("valkey-server")
        return pid

    async def until_ready(self, within_s: float = READY_S_MAX) -> None:
        """Waits for /readyz: nothing but asking tells."""
        async with asyncio.timeout(within_s), _client(self.port) as client:
            while not await _is_ready(client):
                assert self.process.returncode is None, self.output
                await asyncio.sleep(0.05)

    async def until_greeted(self) -> None:
        """Waits until it has said that all of its parts serve."""
        async with asyncio.timeout(READY_S_MAX):
            while "base URL" not in self.output[self.printed_before :]:
                assert self.process.returncode is None, self.output
                await asyncio.sleep(0.05)

    async def until_replaced(self, gone: set[int], count: int) -> None:
        """Waits until there are as many workers again, none of them of those gone."""
        async with asyncio.timeout(READY_S_MAX):
            while len(self.workers() - gone) < count:  # noqa: ASYNC110  # nothing tells of a process
                await asyncio.sleep(0.05)

    def terminate(self) -> None:
        """SIGTERM, as a supervisor sends it."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, within_s: float = STOPPED_S_MAX) -> int:
        """Waits for the exit code."""
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def kill_all(self) -> None:
        """For a test that has failed: nothing may be left running, or open."""
        await self.close_views()
        family = [*descendants(self.process.pid), self.process.pid]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()


@contextlib.asynccontextmanager
async def comptroller_up(
    folder: Path,
    *,
    config: object = None,
    workers: int = 1,
    port: int | None = None,
    record: bool = False,
    admin: bool = False,
    environment: Mapping[str, str] | None = None,
    ready_s_max: float = READY_S_MAX,
) -> AsyncIterator[Running]:
    """Starts it, and ends it with SIGTERM unless the test has; the exit code must be 0 and no
    process of its may be left."""
    running = await started(
        folder,
        config=config,
        workers=workers,
        port=port,
        record=record,
        admin=admin,
        environment=environment,
    )
    try:
        await running.until_ready(ready_s_max)
        await running.until_greeted()
        yield running
        family = descendants(running.process.pid)
        if running.process.returncode is None:
            running.terminate()
        assert await running.ended() == 0, running.output
        await all_gone(family)
    finally:
        await running.close_views()
        if running.process.returncode is None:
            await running.kill_all()


async def started(
    folder: Path,
    *,
    config: object = None,
    workers: int = 1,
    port: int | None = None,
    record: bool = False,
    admin: bool = False,
    environment: Mapping[str, str] | None = None,
    more: tuple[str, ...] = (),
) -> Running:
    """The process, not yet ready. Without `record` its events stay where a test can see them;
    without `admin` it starts sooner; it executes no runs. `environment` and the arguments `more`
    win over all that."""
    port = port or free_port()
    arguments = ["up", "--data-dir", str(folder / "data"), "--port", str(port)]
    arguments += ["--workers", str(workers), *more]
    if config is not None:
        path = folder / "comptroller.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        arguments += ["--config", str(path)]
    output_file = folder / "output.txt"
    with output_file.open("ab") as output:
        printed_before = output.tell()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "comptroller"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
                "COMPTROLLER_RECORD": str(record).lower(),
                "COMPTROLLER_CLICKHOUSE_PORT": "0",
                "COMPTROLLER_ADMIN": str(admin).lower(),
                "COMPTROLLER_ADMIN_PORT": "0",
                "COMPTROLLER_ORCHESTRATE": "false",
                **(environment or {}),
            },
            cwd=folder,
        )
    return Running(process, folder / "data", port, output_file, printed_before)


def fake_config(provider: Provider, **more: object) -> dict[str, object]:
    """A configuration with one model of the fake provider, `plain` at $1 and $2 per million."""
    entry = {
        "model_name": "plain",
        "litellm_params": {
            "model": "openai/upstream-model",
            "api_base": f"http://127.0.0.1:{provider.port}/v1",
            "api_key": "sk-provider-secret-0123456789",
        },
        "model_info": {
            "input_cost_per_token": 0.000001,
            "output_cost_per_token": 0.000002,
            "max_input_tokens": 128_000,
            "max_output_tokens": 16_384,
            "supports_reasoning": False,
        },
    }
    return {"model_list": [entry], **more}


def free_port() -> int:
    """A port on which nobody listens now. Not one that the kernel gives away by itself, which any
    connection of the machine may have got before whoever is told to listen there does."""
    while True:
        port = secrets.choice(OWN_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def children(pid: int) -> list[int]:
    """Direct children of a process, of all of its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on."""
    below = children(pid)
    return below + [each for child in below for each in descendants(child)]


def command_line(pid: int) -> str:
    """Its arguments; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether it runs (a zombie does not)."""
    return command_line(pid) != ""


def processes_of(folder: Path) -> list[int]:
    """All processes that were started in or with this folder, orphans too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                inside = (entry / "cwd").readlink().is_relative_to(folder.resolve())
                if inside or str(folder) in command_line(int(entry.name)):
                    found.append(int(entry.name))
    return found


def ledgers_of(folder: Path) -> list[int]:
    """The valkey-servers on this folder."""
    return [pid for pid in processes_of(folder) if "valkey-server" in command_line(pid)]


async def all_gone(pids: list[int], within_s: float = LEFT_S_MAX) -> None:
    """Fails where a process is left; helpers of Python's may end a moment after their parent."""
    try:
        async with asyncio.timeout(within_s):
            while any(map(is_alive, pids)):  # noqa: ASYNC110  # nothing tells of an orphan
                await asyncio.sleep(0.05)
    except TimeoutError:
        left = [command_line(pid) for pid in pids if is_alive(pid)]
        raise AssertionError(f"left behind: {left}") from None


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False, timeout=10
    )


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
