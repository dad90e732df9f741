"""`python -m bench.records`: what the records cost and how fast they answer.

Everything runs in this process but the ledger's server, as in the product: the recorder with the
embedded engine. Events are real ones (`bench.traffic`); only the ten million that the questions are
asked of are made in SQL, in the shape of real ones.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from bench.questions import ask_questions
from bench.traffic import ORGANISATION, Traffic, prepare
from budgets.embedded import EmbeddedServer
from budgets.ledger import Ledger, LedgerOptions
from budgets.session import Session
from clickhouse.engine import Engine
from clickhouse.migrate import Layout, migrate
from clickhouse.store import EmbeddedStore
from comptroller.parts import open_session
from comptroller.settings import load_settings
from recorder.batch import Batch
from recorder.heads import SigningKey, read_heads
from recorder.options import RecorderOptions
from recorder.recorder import Recorder
from recorder.verification import verify
from recorder.writer import Writer

SECONDS_MAX = 600
LAG_EVENTS_PER_S = 500
_TIME_FIELD = 3 + 8


@dataclass(slots=True)
class Figures:
    """What is printed: name, value with unit."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        """One more, shown at once."""
        self.rows.append((name, value))
        print(f"{name:58} {value}", flush=True)


def main() -> int:
    """Exit code 0 with figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.records", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file")
    arguments = parser.parse_args()
    figures = Figures()
    scale = 10 if arguments.quick else 1
    figures.add("load of the machine before", " ".join(f"{each:.2f}" for each in os.getloadavg()))
    asyncio.run(asyncio.wait_for(_measure(figures, scale), SECONDS_MAX))
    figures.add("load of the machine after", " ".join(f"{each:.2f}" for each in os.getloadavg()))
    if arguments.json:
        arguments.json.write_text(json.dumps(dict(figures.rows), indent=2), encoding="utf-8")
    return 0


async def _measure(figures: Figures, scale: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with _bench(Path(name)) as bench:
            figures.add("memory, engine open", f"{_rss_mb():.0f} MB")
            await bench.sustained(figures, 1_000, 100_000 // scale)
            await bench.lag(figures, 10 if scale == 1 else 3)
            await bench.sustained(figures, 100_000, 4_000 // scale)
            figures.add("memory of the recorder after that", f"{_rss_mb():.0f} MB")
            await bench.verified(figures)
            await ask_questions(bench.store, figures.add, 10_000_000 // scale)


class _Bench:
    """The parts, and the measurements on them."""

    def __init__(self, session: Session, store: EmbeddedStore, folder: Path) -> None:
        self.session = session
        self.store = store
        self.folder = folder
        self.ledger = Ledger(session, LedgerOptions())

    async def sustained(self, figures: Figures, body_bytes: int, calls: int) -> None:
        """The outbox is filled first, then recorded as fast as it goes."""
        await Traffic(self.ledger, body_bytes).calls(calls)
        before = await self._sizes()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        async with self._recording():
            while await self.session.transport.command("XLEN", f"{{{ORGANISATION}}}:outbox"):
                await asyncio.sleep(0.02)  # the outbox cannot call
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        events = calls * 2
        kilobytes = f"{body_bytes // 1000} KB bodies"
        figures.add(f"recorded, {kilobytes}", f"{events / wall_s:,.0f} events/s")
        figures.add(f"CPU, {kilobytes}", f"{cpu_s / events * 1e6:.1f} us/event")
        await self.store.command("OPTIMIZE TABLE comptroller.events")
        await self.store.command("OPTIMIZE TABLE comptroller.bodies")
        after = await self._sizes()
        for table in ("events", "bodies"):
            size = (after[table] - before[table]) / events
            figures.add(f"on disk in {table}, {kilobytes}", f"{size:,.0f} bytes/event")

    async def lag(self, figures: Figures, seconds: int) -> None:
        """From the ledger's time of an event until it can be asked for, under a steady load."""
        lags: list[float] = []
        traffic = Traffic(self.ledger, 1_000, seed=2)
        async with self._recording(lags):
            ends_s = time.perf_counter() + seconds
            while (now_s := time.perf_counter()) < ends_s:
                await traffic.calls(LAG_EVENTS_PER_S // 50)
                await asyncio.sleep(max(0.0, now_s + 0.04 - time.perf_counter()))  # the rhythm
        cuts = quantiles(lags, n=100)
        figures.add(
            f"lag at {len(lags) / seconds:.0f} events/s",
            f"p50 {median(lags):.0f} ms, p99 {cuts[98]:.0f} ms, most {max(lags):.0f} ms",
        )

    async def verified(self, figures: Figures) -> None:
        """All that is recorded so far, read and verified on one core."""
        from comptroller.verifying import CHAIN  # noqa: PLC0415  # what the command reads

        place: dict[str, str | int] = {"org": ORGANISATION, "epoch": 0, "seq": 0, "limit": 10**6}
        began_s = time.perf_counter()
        lines = (await self.store.select(CHAIN, place)).splitlines()
        read_s = time.perf_counter() - began_s
        folder = self.folder / "recorder"
        heads = read_heads(folder / "heads", ORGANISATION)
        key = SigningKey.load_or_create(folder / "signing-key").public_hex
        began_s = time.perf_counter()
        verdict = verify(lines, heads, key)
        check_s = time.perf_counter() - began_s
        if not verdict.ok:
            raise RuntimeError(verdict.message)
        count = len(lines)
        figures.add("verified, reading included", f"{count / (read_s + check_s):,.0f} events/s")
        figures.add("verified, without reading", f"{count / check_s:,.0f} events/s")

    @contextlib.asynccontextmanager
    async def _recording(self, lags: list[float] | None = None) -> AsyncIterator[None]:
        recorder = Recorder(
            self.session, self.store, self.folder / "recorder", RecorderOptions(linger_ms=100)
        )
        if lags is not None:
            recorder._writer = _TimedWriter(self.store, lags)  # noqa: SLF001  # between its two parts
        running = asyncio.create_task(recorder.run())
        try:
            yield
        finally:
            recorder.stop()
            await running

    async def _sizes(self) -> dict[str, int]:
        query = (
            "SELECT table, sum(bytes_on_disk) FROM system.parts "
            "WHERE database = 'comptroller' AND active GROUP BY table"
        )
        found = dict(json.loads(line) for line in (await self.store.select(query, {})).splitlines())
        return {table: found.get(table, 0) for table in ("events", "bodies")}


class _TimedWriter(Writer):
    """Notes for each event how old it is when its batch is written."""

    def __init__(self, store: EmbeddedStore, lags: list[float]) -> None:
        super().__init__(store)
        self._lags = lags

    async def write(self, batch: Batch, *, doubt: bool) -> None:
        """See Writer."""
        await super().write(batch, doubt=doubt)
        now_ms = time.time_ns() / 1e6
        times = (json.loads(line)[_TIME_FIELD] for line in batch.events.splitlines())
        self._lags += (now_ms - each for each in times)


@contextlib.asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[_Bench]:
    server = EmbeddedServer(folder)
    server.start()
    try:
        url = f"unix://{server.socket_path}"
        session = open_session(load_settings(None, {"COMPTROLLER_REDIS_URL": url}))
        with Engine(folder / "records") as engine:
            store = EmbeddedStore(engine)
            await migrate(store, Layout())
            await prepare(session)
            yield _Bench(session, store, folder)
            await store.close()
        await session.transport.close()
    finally:
        server.stop()


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
