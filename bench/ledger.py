"""`python -m bench.ledger`: what a script costs the server, and how long a recovery takes.

Microseconds are the server's own (INFO commandstats), for paths of one, five and ten scopes with
two limits each, with nothing open and with 100,000 leases open. Then the server comes back, once as
it was and once with an empty disk, and the recorder compares it with the records.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.records import Figures
from budgets.administration import Administration
from budgets.answers import Ask, Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.ledger import Ledger
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from budgets.transport import LedgerUnavailable
from clickhouse.engine import Engine
from clickhouse.migrate import Layout, migrate
from clickhouse.store import EmbeddedStore, Store
from gateway.clock import SystemClock
from gateway.events import RequestEvent, ResponseEvent, encode
from recorder.options import RecorderOptions
from recorder.recorder import Recorder

ORGANISATION = "bench"
DEPTHS = (1, 5, 10)
CALLS = 2_000
LEASES = 100_000
AT_ONCE = 100
SECONDS_MAX = 420
PATIENT = TransportLimits(call_timeout_ms=30_000)
ASK = Ask(1_000, 1_000, 100, 1, 100, 100)


def scope_of(depth: int) -> str:
    """A path of so many scopes."""
    return "/".join([ORGANISATION, *(f"level-{n}" for n in range(2, depth + 1))])


class Caller:
    """One worker's calls."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.ledger = Ledger(session)

    async def prepare(self) -> None:
        """Two limits on every scope."""
        administration = Administration(self.session)
        await self.session.open_organisation(ORGANISATION, create=True)
        deepest = ScopePath(scope_of(max(DEPTHS)))
        for scope in deepest.nodes():
            policy = parse_policy([{"usd": "1000000"}, {"tokens": 10**12, "window": "month"}])
            await administration.set_policy(scope, policy, encode({"scope": scope, "by": "bench"}))

    async def reserve(self, depth: int) -> Reservation:
        """One grant."""
        id_, scope = self.ledger.new_id(), scope_of(depth)
        event = encode(
            RequestEvent(
                request_id=id_,
                scope=scope,
                key_id="key-1",
                agent="bench",
                endpoint="/v1/chat/completions",
                provider="openai",
                model_requested="small",
                model="small",
                streamed=False,
                input_tokens_max=100,
                output_cap_asked=100,
                price_version="1",
                request_bytes=1_000,
                payload_state="off",
            )
        )
        answer = await self.ledger.reserve(
            ScopePath(scope), "small", lambda _: ASK, lambda _: (event, b""), id_
        )
        assert isinstance(answer, Reservation), answer
        return answer

    async def settle(self, reservation: Reservation) -> None:
        """Its end."""
        event = encode(
            ResponseEvent(
                request_id=reservation.id,
                scope=reservation.path.scope,
                key_id="key-1",
                agent="bench",
                endpoint="/v1/chat/completions",
                provider="openai",
                model_requested="small",
                model="small",
                streamed=False,
                status=200,
                usage_source="provider",
                reserved_nusd=reservation.reserved_nusd,
                charged_nusd=900,
                price_version="1",
                response_bytes=1_000,
                payload_state="off",
            )
        )
        await self.ledger.settle(ORGANISATION, reservation.id, Truth(900, 90), event, b"")

    async def many(self, count: int, depth: int) -> list[Reservation]:
        """So many grants, some at once."""
        made: list[Reservation] = []
        for first in range(0, count, AT_ONCE):
            wanted = min(AT_ONCE, count - first)
            made += await asyncio.gather(*(self.reserve(depth) for _ in range(wanted)))
        return made


class Meter:
    """The server's own time for the scripts that ran meanwhile."""

    def __init__(self, session: Session) -> None:
        self._command = session.transport.command

    async def start(self) -> None:
        """From here."""
        await self._command("CONFIG", "RESETSTAT")

    async def us_a_call(self) -> float:
        """Microseconds a call, since then."""
        info = await self._command("INFO", "commandstats")
        assert isinstance(info, bytes)
        (line,) = (
            each for each in info.decode().splitlines() if each.startswith("cmdstat_evalsha:")
        )
        stated = dict(pair.split("=") for pair in line.split(":")[1].split(","))
        return float(stated["usec_per_call"])


async def scripts(caller: Caller, figures: Figures, beside: str) -> None:
    """Reserve, extend and settle at each depth."""
    meter = Meter(caller.session)
    for depth in DEPTHS:
        await caller.many(AT_ONCE, depth)  # its scripts and plans are there
        await meter.start()
        made = await caller.many(CALLS, depth)
        reserve_us = await meter.us_a_call()
        await meter.start()
        for first in range(0, CALLS, AT_ONCE):
            await asyncio.gather(*(caller.settle(each) for each in made[first : first + AT_ONCE]))
        settle_us = await meter.us_a_call()
        figures.add(
            f"{depth} scopes, {beside}: reserve / settle",
            f"{reserve_us:.0f} / {settle_us:.0f} us",
        )


async def recovery(
    caller: Caller, server: EmbeddedServer, store: Store, folder: Path, figures: Figures
) -> None:
    """The server loses its disk; how long until a worker is granted something again."""
    options = RecorderOptions(linger_ms=20)
    looks = SessionOptions(reopen_ms=0)
    async with session_at(server, looks) as session:
        recorder = Recorder(session, store, folder / "recorder", options)
        running = asyncio.create_task(recorder.run())
        began_s = time.monotonic()
        while await caller.session.transport.command("XLEN", f"{{{ORGANISATION}}}:outbox"):
            await asyncio.sleep(0.1)  # the outbox does not call when it is empty
        figures.add("recorded meanwhile", f"{time.monotonic() - began_s:.1f} s")
        for name, loses in (("restarted", False), ("with an empty disk", True)):
            await asyncio.to_thread(server.stop)
            if loses:
                shutil.rmtree(server.folder / "appendonlydir")
            await asyncio.to_thread(server.start)
            began_s = time.monotonic()
            async with session_at(server, SessionOptions(reopen_ms=0)) as asking:
                while not await _is_open(asking):
                    await asyncio.sleep(0.01)  # as a worker looks
            figures.add(
                f"{name}: open again with {LEASES:,} leases after",
                f"{time.monotonic() - began_s:.2f} s",
            )
        recorder.stop()
        await running
    held = await caller.session.transport.command("HLEN", f"{{{ORGANISATION}}}:leases")
    figures.add("leases there afterwards", f"{held:,}")


async def _is_open(session: Session) -> bool:
    try:
        await session.open_organisation(ORGANISATION)
    except LedgerUnavailable:  # closed, unknown or away: not yet
        return False
    return True


@asynccontextmanager
async def session_at(server: EmbeddedServer, options: SessionOptions) -> AsyncIterator[Session]:
    """A process's session."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(server.socket_path)), PATIENT)
    yield Session(transport, load_scripts(), SystemClock(), options)
    await transport.close()


async def _run(folder: Path, figures: Figures) -> None:
    server = EmbeddedServer(folder)
    server.start()
    try:
        with Engine(folder / "records") as engine:
            store = EmbeddedStore(engine)
            await migrate(store, Layout())
            async with session_at(server, SessionOptions(reopen_ms=60_000)) as session:
                caller = Caller(session)
                await caller.prepare()
                await scripts(caller, figures, "nothing open")
                began_s = time.monotonic()
                await caller.many(LEASES, 5)
                figures.add(f"{LEASES:,} leases made in", f"{time.monotonic() - began_s:.1f} s")
                await scripts(caller, figures, f"{LEASES:,} leases open")
                await recovery(caller, server, store, folder, figures)
            await store.close()
    finally:
        server.stop()


def main() -> None:
    """Prints the figures."""
    argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__).parse_args()
    figures = Figures()
    figures.add("load of the machine, before", f"{os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        asyncio.run(asyncio.wait_for(_run(Path(name), figures), SECONDS_MAX))
    figures.add("load of the machine, after", f"{os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
