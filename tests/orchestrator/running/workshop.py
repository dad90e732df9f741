"""An executor in the test's own loop, at a real ledger, a real gateway and a real database; the
provider alone is a fake."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comptroller.wired import PooledWire
from gateway.upstream import PooledUpstream
from orchestrator.progress import ENDED
from orchestrator.running.callbacks import Callbacks
from orchestrator.running.calls import GatewayCalls
from orchestrator.running.clocks import SharedClock
from orchestrator.running.database import Database, Value
from orchestrator.running.executor import Executor
from orchestrator.running.journal import Doing, Journal
from orchestrator.running.kit import ExecutorOptions, Kit
from orchestrator.running.live import Live
from orchestrator.running.programs import Programs
from orchestrator.running.purse import Purse
from orchestrator.running.sends import Sends
from orchestrator.running.submitting import Submission, Submit
from orchestrator.running.tools import Toolbox
from orchestrator.running.watching import Watch
from tests.budgets.harness import Entry
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.written_runs import submission

MASTER = b"m" * 32
WAIT_S_MAX = 20
QUICK = ExecutorOptions(lease_ms=30_000, poll_ms=10)
"""Its lease is longer than any wait: who dies in a test is a process, and has another."""


@dataclass(slots=True)
class Workshop:
    """One organisation's runs. `desk`: where people decide, in another process as a rule."""

    stack: Stack
    connect: Connect
    folder: Path
    desk: Journal
    options: ExecutorOptions = QUICK
    executors: list[Executor] = field(default_factory=list)
    closing: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def executor(self) -> Executor:
        """One more, that has begun."""
        session = self.stack.parts.ledger._session
        clock = SharedClock(session.clock)
        journal = Journal(self.connect, clock.heard)
        await journal.opened()
        calls, sends, programs = GatewayCalls(wire()), Sends(MASTER), Programs()
        live = Live(session.transport)
        tools = Toolbox(
            journal=journal,
            calls=calls,
            sends=sends,
            programs=programs,
            clock=clock,
            gateway_url=self.stack.base_url,
            programs_folder=self.folder,
            callbacks=Callbacks("http://127.0.0.1:1", MASTER),
            live=live,
        )
        purse = Purse(session, self.stack.administration, MASTER)
        executor = Executor(
            Kit(
                executor=secrets.token_hex(4),
                journal=journal,
                purse=purse,
                tools=tools,
                clock=clock,
                options=self.options,
                gate=asyncio.Semaphore(self.options.attempts_max),
                watch=Watch(purse),
            )
        )
        self.closing.push_async_callback(journal.close)
        self.closing.push_async_callback(live.close)
        self.closing.push_async_callback(calls.close)
        self.closing.push_async_callback(sends.close)
        self.closing.callback(programs.close)
        self.closing.push_async_callback(self.stop, executor)
        await executor.start()
        self.executors.append(executor)
        return executor

    async def stop(self, executor: Executor) -> None:
        """As at SIGTERM, once."""
        if executor in self.executors:
            self.executors.remove(executor)
            await executor.stop()

    async def submit(self, *steps: dict[str, Any], **more: Any) -> str:
        """The id of a new run of a workflow with these steps."""
        scope = self.stack.scope("p")
        return await self.submitted(
            submission(*steps, scope=scope, folder=str(self.folder), **more)
        )

    async def submitted(self, wanted: Submission) -> str:
        """The id of the run."""
        return (await self.desk.write(Submit(wanted))).run

    async def decide(self, act: Any) -> Any:
        """What a person decides."""
        return await self.desk.write(act)

    async def rows(self, statement: str, *values: Value) -> list[tuple[Value, ...]]:
        """Of the database."""
        return await self.desk.read(lambda database: database.rows(statement, values))

    async def execute(self, statement: str, *values: Value) -> None:
        """Changes rows, as nobody does."""

        def work(database: Database, _: int) -> None:
            database.execute(statement, values)

        await self.desk.write(Doing(work))

    async def status(self, run: str) -> str:
        """Of a run."""
        return str((await self.rows("select status from runs where id = ?", run))[0][0])

    async def until(self, run: str, *statuses: str) -> str:
        """Waits until a run has one of these states: which, when it is told to the ledger, too."""
        async with self._patience():
            while True:
                ((status, is_open),) = await self.rows(
                    "select status, scope_open from runs where id = ?", run
                )
                if status in statuses and not (status in ENDED and is_open):
                    return str(status)
                await asyncio.sleep(0.01)  # rows have no event to wait for

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                yield
        except TimeoutError:
            runs = await self.rows(
                "select id, status, executor, epoch, wake_at_ms, error from runs"
            )
            tasks = await self.rows("select run, step, entry, status, attempt, error from tasks")
            raise AssertionError(f"it did not happen: {runs} {tasks}") from None

    async def ended(self, run: str) -> str:
        """How a run ended."""
        return await self.until(run, *ENDED)

    async def output(self, run: str) -> Any:
        """What a run said."""
        ((output, error),) = await self.rows("select output, error from runs where id = ?", run)
        assert not error, error
        return None if output is None else json.loads(str(output))

    async def error(self, run: str) -> str:
        """Why a run failed."""
        return str((await self.rows("select error from runs where id = ?", run))[0][0])

    async def task(self, run: str, step: str, entry: int = -1) -> dict[str, Any]:
        """A task's row."""
        names = "status, attempt, failures, round, output, error, wake_at_ms"
        statement = f"select {names} from tasks where run = ? and step = ? and entry = ?"
        (row,) = await self.rows(statement, run, step, entry)
        found = dict(zip(names.split(", "), row, strict=True))
        return {**found, "output": json.loads(str(found["output"] or "null"))}

    async def until_task(
        self, run: str, step: str, *statuses: str, entry: int = -1
    ) -> dict[str, Any]:
        """Waits until a task has one of these states."""
        async with self._patience():
            while True:
                rows = await self.rows(
                    "select status from tasks where run = ? and step = ? and entry = ?",
                    *(run, step, entry),
                )
                if rows and rows[0][0] in statuses:
                    task = await self.task(run, step, entry)
                    if task["status"] in statuses:  # it may have gone on since
                        return task
                await asyncio.sleep(0.01)  # rows have no event to wait for

    async def until_asked(self, run: str, step: str, attempt: int) -> None:
        """Waits until this attempt at a step waits for somebody."""
        async with self._patience():
            while (await self.until_task(run, step, "waiting"))["attempt"] != attempt:
                await asyncio.sleep(0.01)  # rows have no event to wait for

    async def until_scheduled(self, name: str) -> str:
        """Waits until a schedule has submitted a run: which."""
        async with self._patience():
            while True:
                statement = "select last_run from schedules where name = ?"
                ((run,),) = await self.rows(statement, name)
                if run is not None:
                    return str(run)
                await asyncio.sleep(0.01)  # rows have no event to wait for

    async def until_rows(self, count: int, statement: str, *values: Value) -> None:
        """Waits until a query has so many."""
        async with self._patience():
            while True:
                if len(await self.rows(statement, *values)) == count:
                    return
                await asyncio.sleep(0.01)  # rows have no event to wait for

    async def told(self, run: str) -> list[tuple[str, dict[str, Any]]]:
        """Events of a run that the ledger has, in their order: type and what was written."""
        async with asyncio.timeout(WAIT_S_MAX):
            while await self.rows("select id from tellings limit 1"):
                await asyncio.sleep(0.01)  # rows have no event to wait for
        return [
            (entry.kind, event)
            for entry in await self.stack.ledger.outbox()
            for event in [_event(entry)]
            if event.get("run_id") == run
        ]

    def program(self, name: str, *lines: str) -> list[str]:
        """A Python program in the workflow's folder: its arguments."""
        file = self.folder / name
        file.write_text("\n".join(lines), encoding="utf-8")
        return ["python", str(file)]


def wire() -> PooledWire:
    """To gateways on this machine: it knows no authorities, which would take long to load."""
    return PooledWire(PooledUpstream(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))


async def until(is_so: Callable[[], bool]) -> None:
    """What has no event to wait for: files, lists."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not is_so():
            await asyncio.sleep(0.01)


async def written(file: Path) -> str:
    """What is in a file, as soon as anything is."""
    await until(lambda: file.exists() and bool(file.read_text()))
    return file.read_text()  # a few bytes


def _event(entry: Entry) -> dict[str, Any]:
    return json.loads(entry.event) if entry.event else {}


@contextlib.asynccontextmanager
async def workshop(
    stack: Stack, connect: Connect, folder: Path, **options: Any
) -> AsyncIterator[Workshop]:
    """With one executor that has begun."""
    desk = Journal(connect)
    await desk.opened()
    made = Workshop(stack, connect, folder, desk, dataclasses.replace(QUICK, **options))
    made.closing.push_async_callback(desk.close)
    async with made.closing:
        await made.executor()
        yield made
