"""`python -m bench.growth`: what keys and scopes cost in the ledger, and how it gets rid of them.

The ledger's server is the product's, and so are its scripts, the recorder's compaction, the engine
and the memory that is asked. The keys are minted as ever; of the million scopes, what a request of
each leaves behind is written in bulk, at the ledger and in the records alike.
"""

import argparse
import asyncio
import os
import string
import struct
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bench.records import Figures
from budgets.administration import Administration
from budgets.embedded import EmbeddedServer
from budgets.keys import Key, KeyRing, digest, record_key
from budgets.ledger import Ledger
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.recording import Recording
from budgets.scripts import Script, load_scripts
from budgets.session import Session, SessionOptions
from budgets.transport import Argument, LedgerTransport, Reply
from clickhouse.chain import GENESIS
from clickhouse.engine import Engine
from clickhouse.migrate import Layout, migrate
from clickhouse.store import EmbeddedStore
from comptroller.parts import ledger_transport
from comptroller.remembering import RecordsMemory
from gateway.clock import SystemClock
from gateway.events import KeyEvents
from recorder.batch import Head
from recorder.compaction import Compaction
from recorder.snapshots import Snapshots

SECONDS_MAX = 600
KEYS, SCOPES, RETURNS = 100_000, 1_000_000, 2_000
AT_ONCE = 1_000
EVENTS_AT_ONCE = 50_000
REST_MS = 3_600_000
KEYS_ORG, RUNS_ORG = "keys", "runs"
SLOW_US = 1_000
_COUNTER = struct.Struct("<3q")
_SCOPE = struct.Struct("<BqqB")
_META = struct.Struct("<6q")


class Hurried:
    """A transport that does not wait for the server's disk: minting waits a second for it."""

    def __init__(self, inner: LedgerTransport) -> None:
        self._inner = inner

    @property
    def generation(self) -> int:
        """See LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        return await self._inner.call(script, keys, args)

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        return await self._inner.command(*args)

    async def close(self) -> None:
        """See LedgerTransport."""
        await self._inner.close()

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        return await self.call(script, keys, args)

    async def command_durably(self, *args: Argument) -> object:
        """See LedgerTransport."""
        return await self.command(*args)


@dataclass(frozen=True, slots=True)
class Growth:
    """The parts, and the measurements on them."""

    session: Session
    store: EmbeddedStore
    figures: Figures
    scale: int

    async def command(self, *args: Argument) -> object:
        """One command at the server."""
        return await self.session.transport.command(*args)

    async def used_bytes(self) -> int:
        """What the server's data takes."""
        info = await self.command("INFO", "memory")
        assert isinstance(info, bytes)
        lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        return int(lines["used_memory"])

    def add(self, name: str, value: str) -> None:
        """A figure."""
        self.figures.add(name, value)

    async def keys(self) -> None:
        """Minted, with a budget each."""
        count = KEYS // self.scale
        await self.session.open_organisation(KEYS_ORG, create=True)
        ring = KeyRing(self.session, Administration(self.session), KeyEvents("bench"))
        budget = parse_policy([{"usd": "1.00"}])
        before, began_s = await self.used_bytes(), time.perf_counter()
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(
                *(ring.mint(*_key(n), budget) for n in range(first, first + AT_ONCE))
            )
            await self._forget_outbox(KEYS_ORG)
        took_s = time.perf_counter() - began_s
        grown = await self.used_bytes() - before
        self.add(f"{count:,} keys minted", f"{count / took_s:,.0f} a second")
        self.add("memory of a key, with its scope and budget", f"{grown / count:,.0f} bytes")
        record = await self.command("MEMORY", "USAGE", record_key(_key(0)[0].secret_sha256))
        self.add("of these, the record by its secret", f"{record} bytes")
        await self.command("FLUSHDB", "SYNC")

    async def _forget_outbox(self, organisation: str) -> None:
        """As if it were recorded; tombstones leave by themselves in two hours."""
        await self.command("DEL", f"{{{organisation}}}:outbox")
        for name in await self._names(f"{{{organisation}}}:done:*"):
            await self.command("DEL", name)

    async def _names(self, pattern: str) -> list[bytes]:
        names = await self.command("KEYS", pattern)
        assert isinstance(names, list)
        return names

    async def scopes(self) -> None:
        """Made, forgotten, and some of them used again."""
        count = SCOPES // self.scale
        limit = await self._begun()
        before = await self.used_bytes()
        head = await self._used(limit, count)
        top = await self.used_bytes()
        self.add("memory before", f"{before / 1e6:,.1f} MB")
        self.add(f"memory with {count:,} children, used once each", f"{top / 1e6:,.1f} MB")
        self.add("memory of a child, with its counter", f"{(top - before) / count:,.0f} bytes")
        compaction = self._compaction()
        began_s = time.perf_counter()
        await compaction.snapshots.take(RUNS_ORG, head)
        self.add("a snapshot of all that", f"{time.perf_counter() - began_s:.1f} s")
        await self.command("CONFIG", "SET", "slowlog-log-slower-than", str(SLOW_US))
        await self.command("SLOWLOG", "RESET")
        began_s, cpu_s = time.perf_counter(), time.process_time()
        gone = await compaction.sweep(RUNS_ORG, head)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        assert gone == 2 * count, gone
        self.add("the pass that forgets them", f"{took_s:.1f} s ({cpu_s:.1f} s of CPU)")
        self.add("its longest call at the server", await self._slowest())
        self.add("memory after", f"{await self.used_bytes() / 1e6:,.1f} MB")
        began_s = time.perf_counter()
        assert not await compaction.sweep(RUNS_ORG, head)
        self.add("a pass that finds nothing", f"{time.perf_counter() - began_s:.3f} s")
        await self._returns(count)

    async def _begun(self) -> str:
        """The organisation with its template; the limit's id."""
        await self.session.open_organisation(RUNS_ORG, create=True)
        template = parse_policy({"per_child": [{"usd": "1.00"}]})
        policy = await Administration(self.session).set_policy(RUNS_ORG, template, b"{}")
        await self._forget_outbox(RUNS_ORG)
        return policy.per_child[0].id

    async def _used(self, limit: str, count: int) -> Head:
        """What a request of each leaves behind, at the ledger and in the records."""
        now_ms = self.session.clock.now_ms()
        head = Head(1, 1 + 2 * count, GENESIS, now_ms - 2 * REST_MS)
        sql = (resources.files("bench") / "rested.sql").read_text(encoding="utf-8")
        place = {"org": RUNS_ORG, "limit": limit, "after_seq": 1, "now_ms": now_ms}
        for first in range(0, count, EVENTS_AT_ONCE):
            some = {"first": first, "count": min(EVENTS_AT_ONCE, count - first)}
            await self.store.command(string.Template(sql).substitute({**place, **some}))
        counter = _COUNTER.pack(70, 0, 0)
        record = _SCOPE.pack(0, 1, 0, 0)
        for first in range(0, count, AT_ONCE):
            flat: list[Argument] = []
            for n in range(first, first + AT_ONCE):
                scope = f"{RUNS_ORG}/run-{n}"
                flat += (f"s:{scope}", record, f"c:{limit}:{scope}:0", counter)
            await self.command("HSET", f"{{{RUNS_ORG}}}:ledger", *flat)
        meta = _META.pack(1, head.seq, now_ms, 0, 0, now_ms)
        await self.command("HSET", f"{{{RUNS_ORG}}}:ledger", "meta", meta)
        slot = await self.session.slot(RUNS_ORG)
        slot.seq = head.seq
        return head

    def _compaction(self) -> Compaction:
        recording = Recording(self.session, "bench")
        return Compaction(recording, self.store, Snapshots(self.store), REST_MS)

    async def _slowest(self) -> str:
        entries = await self.command("SLOWLOG", "GET", "-1")
        assert isinstance(entries, list)
        calls = [(entry[2] / 1000, entry[3][0].decode()) for entry in entries]
        if not calls:
            return f"below {SLOW_US / 1000:.0f} ms"
        worst_ms, name = max(calls)
        return f"{worst_ms:.1f} ms ({name}; {len(calls)} above {SLOW_US / 1000:.0f} ms)"

    async def _returns(self, count: int) -> None:
        """Children that come back find their total; what is new is asked for in vain."""
        ledger = Ledger(self.session)
        for named, first in (("that come back", 0), ("that are new", count)):
            waits: list[float] = []
            for n in range(first, first + 50):
                began_s = time.perf_counter()
                await _spent(ledger, n, 70 if n < count else 0)
                waits.append(time.perf_counter() - began_s)
            waits.sort()
            self.add(
                f"first use of children {named}, one by one",
                f"{waits[25] * 1000:.1f} ms (median), {waits[-1] * 1000:.1f} ms (most)",
            )
            began_s = time.perf_counter()
            some = range(first + 50, first + 50 + RETURNS)
            await asyncio.gather(*(_spent(ledger, n, 70 if n < count else 0) for n in some))
            took_s = time.perf_counter() - began_s
            self.add(f"{RETURNS:,} {named}, at once", f"{RETURNS / took_s:,.0f} a second")


async def _spent(ledger: Ledger, number: int, nusd: int) -> None:
    checked = await ledger.check(ScopePath(f"{RUNS_ORG}/run-{number}"))
    assert [each.spent for each in checked.standings] == [nusd]


def _key(number: int) -> tuple[Key, str]:
    secret = f"ck-{number:040d}"
    return (
        Key(
            id=f"key-{number:012x}",
            name=f"key {number}",
            scope=f"{KEYS_ORG}/team",
            created_at_ms=0,
            agent="writer",
            secret_sha256=digest(secret),
        ),
        secret,
    )


def main() -> int:
    """Exit code 0 with figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    figures = Figures()
    scale = 10 if parser.parse_args().quick else 1
    figures.add("load of the machine before", " ".join(f"{each:.2f}" for each in os.getloadavg()))
    asyncio.run(asyncio.wait_for(_measure(figures, scale), SECONDS_MAX))
    figures.add("load of the machine after", " ".join(f"{each:.2f}" for each in os.getloadavg()))
    return 0


async def _measure(figures: Figures, scale: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with _growth(Path(name), figures, scale) as growth:
            await growth.keys()
            await growth.scopes()


@asynccontextmanager
async def _growth(folder: Path, figures: Figures, scale: int) -> AsyncIterator[Growth]:
    server = EmbeddedServer(folder)
    server.start()
    try:
        with Engine(folder / "records") as engine:
            store = EmbeddedStore(engine)
            await migrate(store, Layout(fsync=False))
            transport = Hurried(ledger_transport(f"unix://{server.socket_path}"))
            memory = RecordsMemory(store.select)
            options = SessionOptions(trusts=True)
            session = Session(transport, load_scripts(), SystemClock(), options, memory)
            yield Growth(session, store, figures, scale)
            await transport.close()
            await store.close()
    finally:
        server.stop()


if __name__ == "__main__":
    raise SystemExit(main())
