"""`python -m bench.workflows`: what running a step costs beside what the step itself does.

The executor is the product's process, its ledger the embedded server; every step is a prompt that a
server which only says one thing answers at once, so that what is left is ours: dispatch, a key of
its own, its events, its end. CPU is the executor's alone; the ledger's is beside it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from operator import methodcaller
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.meter import Group, read_group
from bench.records import Figures
from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from gateway.clock import SystemClock
from orchestrator.bundle import Bundle, read_bundle
from orchestrator.running.database import Database, migrate
from orchestrator.running.journal import Doing, Journal
from orchestrator.running.postgres import PostgresDatabase
from orchestrator.running.sqlite import SqliteDatabase
from orchestrator.running.submitting import Submission, Submit

ORGANISATION = "bench"
SECONDS_MAX = 300
LAYERS, WIDTH = 5, 6
CHAIN = 300
RUNS = 20
FAN = 1_000
WAITING = 10_000
_SAID = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
PROMPT = {"text": "x", "model": "m", "max_tokens": 1}
WORDS = 50
WORDS_EVERY_S = 0.02
TALKS = {"text": "x", "model": "talks", "max_tokens": WORDS}


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs are kept: `url` of PostgreSQL, empty for SQLite."""

    name: str
    url: str


class Bench:
    """One database, one ledger, and executors that come and go."""

    def __init__(self, place: Place, folder: Path, ledger: EmbeddedServer, port: int) -> None:
        self._place = place
        self._folder = folder
        self._ledger = ledger
        self._port = port
        self._ledger_group = Group(ledger.pid)
        self.desk = Journal(self._connect)

    def _connect(self) -> Database:
        database: Database
        if self._place.url:
            database = PostgresDatabase(self._place.url)
        else:
            database = SqliteDatabase(self._folder / "runs.sqlite")
        migrate(database)
        return database

    @contextlib.asynccontextmanager
    async def executor(self) -> AsyncIterator[tuple[int, float]]:
        """Its process id, and how long it took to serve."""
        began_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "comptroller.orchestrate"),
            env={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "COMPTROLLER_REDIS_URL": f"unix://{self._ledger.socket_path}",
                "COMPTROLLER_DATA_DIR": str(self._folder),
                "COMPTROLLER_DATABASE_URL": self._place.url,
                "COMPTROLLER_RECORD": "false",
                "COMPTROLLER_TRUST_LEDGER": "true",
                "COMPTROLLER_GATEWAY_URL": f"http://127.0.0.1:{self._port}/v1",
            },
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        try:
            yield process.pid, time.perf_counter() - began_s
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()

    async def submit(self, *steps: dict[str, Any], **more: object) -> str:
        """A run of these steps."""
        submission = Submission(
            ORGANISATION, f"{ORGANISATION}/p", bundle(*steps, **more), {}, "bench"
        )
        return (await self.desk.write(Submit(submission))).run

    async def until_none(self, statuses: str = "'queued', 'running'") -> None:
        """Until no run has one of these states, and all that is over is told."""
        waits = f"select id from runs where status in ({statuses}) limit 1"
        open_ = "select id from runs where scope_open = 1 and ended_ms is not null limit 1"
        untold = "select id from tellings limit 1"
        async with asyncio.timeout(SECONDS_MAX):
            for statement in (waits, open_, untold):
                asked = methodcaller("rows", statement)
                while await self.desk.read(asked):
                    await asyncio.sleep(0.02)  # rows have no event to wait for

    async def stepping(self, figures: Figures, name: str, steps: int) -> None:
        """From now until all runs have ended."""
        async with self.executor() as (pid, _):
            await asyncio.sleep(0.3)  # it has begun, and its start is not of the figure
            before = read_group(Group(pid)).cpu_ns, read_group(self._ledger_group).cpu_ns
            began_s = time.perf_counter()
            await self._release()
            await self.until_none()
            wall_s = time.perf_counter() - began_s
            after = read_group(Group(pid)).cpu_ns, read_group(self._ledger_group).cpu_ns
        own, ledger = (
            (end - start) / 1e6 / steps for start, end in zip(before, after, strict=True)
        )
        figures.add(
            f"{self._place.name}: {name}",
            f"{steps / wall_s:,.0f} steps/s, {own:.2f} ms CPU a step (+ ledger {ledger:.2f})",
        )

    async def hold(self) -> None:
        """What is submitted waits for `_release`."""
        await self.desk.write(Doing(_held))

    async def _release(self) -> None:
        await self.desk.write(Doing(_released))

    async def latencies(self, figures: Figures) -> None:
        """From the end of a step until its successor has begun, on the disk both, in a chain."""
        rows = await self.desk.read(
            lambda database: database.rows(
                "select run, started_ms, ended_ms from attempts where status = 'done' "
                "order by run, started_ms"
            )
        )
        gaps = [
            int(str(after[1])) - int(str(before[2]))
            for before, after in pairwise(rows)
            if before[0] == after[0]
        ]
        cuts = quantiles(gaps, n=100)
        figures.add(
            f"{self._place.name}: from a step's end to the next one's beginning",
            f"p50 {median(gaps):.0f} ms, p99 {cuts[98]:.0f} ms",
        )

    async def waiting(self, figures: Figures) -> None:
        """Runs that wait for a person: what they cost an executor that starts."""
        async with self.executor():
            for _ in range(WAITING // 500):
                await asyncio.gather(
                    *(self.submit({"id": "ask", "approval": "well?"}) for _ in range(500))
                )
            await self.until_none()
        async with self.executor() as (pid, ready_s):
            group = Group(pid)
            began = read_group(group)
            await asyncio.sleep(5)  # of rest: that is what is measured
            now = read_group(group)
        idle = (now.cpu_ns - began.cpu_ns) / 5e9 * 100
        figures.add(
            f"{self._place.name}: {WAITING:,} waiting runs",
            f"starts in {ready_s:.2f} s, {now.rss_bytes / 1e6:.0f} MB, idle {idle:.1f} % of a core",
        )


def _held(database: Database, now_ms: int) -> None:
    del now_ms
    database.execute("update runs set status = 'paused' where status = 'queued'")


def _released(database: Database, now_ms: int) -> None:
    del now_ms
    database.execute("update runs set status = 'queued' where status = 'paused'")


def bundle(*steps: dict[str, Any], **more: object) -> Bundle:
    """A workflow of these steps."""
    workflow = {"name": "w", "budget": [{"usd": "100.00"}], "steps": list(steps), **more}
    return read_bundle({"workflow": workflow})


def layered() -> list[dict[str, Any]]:
    """Layers of prompts, each needing all of the layer above."""
    return [
        {
            "id": f"s{layer}_{n}",
            "prompt": PROMPT,
            "needs": [f"s{layer - 1}_{each}" for each in range(WIDTH)] if layer else [],
        }
        for layer in range(LAYERS)
        for n in range(WIDTH)
    ]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says the same to everybody."""
    body = json.dumps(_SAID).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    answer = head % len(body) + body
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in request.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            if b'"talks"' in await reader.readexactly(length):
                await _talk(writer)
            else:
                writer.write(answer)
    writer.close()


async def _talk(writer: asyncio.StreamWriter) -> None:
    """As a model does, word by word."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(WORDS):
        writer.write(_event(b'{"choices": [{"index": 0, "delta": {"content": "word "}}]}'))
        await asyncio.sleep(WORDS_EVERY_S)
    writer.write(_event(b"[DONE]") + b"0\r\n\r\n")


def _event(data: bytes) -> bytes:
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


async def _measure(place: Place, folder: Path, figures: Figures, *, quick: bool) -> None:
    """All figures of one kind of database."""
    folder.mkdir()
    server = EmbeddedServer(folder)
    server.start()
    listening = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = int(listening.sockets[0].getsockname()[1])
    try:
        transport = PipelinedTransport(NodeAddress(unix_path=str(server.socket_path)))
        session = Session(transport, load_scripts(), SystemClock(), SessionOptions(trusts=True))
        await session.begin_organisation(ORGANISATION)
        await transport.close()
        bench = Bench(place, folder, server, port)
        await bench.desk.opened()
        share = 4 if quick else 1
        await bench.submit(*_chain(CHAIN // share))
        await bench.hold()
        await bench.stepping(figures, f"a chain of {CHAIN // share}", CHAIN // share)
        await bench.latencies(figures)
        for _ in range(RUNS // share):
            await bench.submit(*layered())
        await bench.hold()
        steps = RUNS // share * LAYERS * WIDTH
        await bench.stepping(figures, f"{RUNS // share} runs of {LAYERS} x {WIDTH}", steps)
        fan = {"items": [*range(FAN // share)], "concurrency": 100}
        await bench.submit({"id": "a", "foreach": fan, "prompt": PROMPT}, concurrency=100)
        await bench.hold()
        await bench.stepping(figures, f"a fan-out of {FAN // share:,}", FAN // share)
        await bench.submit({"id": "a", "foreach": fan, "prompt": TALKS}, concurrency=100)
        await bench.hold()
        await bench.stepping(figures, f"the same, each streams {WORDS} words", FAN // share)
        if not quick:
            await bench.waiting(figures)
        await bench.desk.close()
    finally:
        listening.close()
        server.stop()


def _chain(length: int) -> list[dict[str, Any]]:
    return [
        {"id": f"s{n}", "prompt": PROMPT, "needs": [f"s{n - 1}"] if n else []}
        for n in range(length)
    ]


async def main(url: str, *, quick: bool) -> None:
    """Prints the figures. `url`: of a PostgreSQL in whose databases it may make its own tables;
    empty: SQLite alone."""
    figures = Figures()
    figures.add("load of the machine before", " ".join(f"{each:.2f}" for each in os.getloadavg()))
    places = [Place("SQLite", "")] + ([Place("PostgreSQL", url)] if url else [])
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        for place in places:
            await _measure(place, Path(folder) / secrets.token_hex(4), figures, quick=quick)
    figures.add("load of the machine after", " ".join(f"{each:.2f}" for each in os.getloadavg()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", default="", help="URL of an empty database")
    parser.add_argument("--quick", action="store_true", help="a quarter of it")
    asked = parser.parse_args()
    asyncio.run(main(asked.postgres, quick=asked.quick))
