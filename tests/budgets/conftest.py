"""Workers at a real valkey-server, at the machine's time or at a time that the test sets."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerOptions
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from tests.budgets.harness import Desk, ManualClock, TimedDesk, desk_for, timed_desk_for

# The last minute of a leap day, of a February, of a Tuesday.
START_MS = int(datetime(2028, 2, 29, 23, 59, 10, tzinfo=UTC).timestamp()) * 1000

Connect = Callable[[], PipelinedTransport]
MakeDesk = Callable[..., Awaitable[Desk]]
MakeTimedDesk = Callable[..., Awaitable[TimedDesk]]


@pytest.fixture
def organisation() -> str:
    """A name that no other test has."""
    return f"org-{secrets.token_hex(5)}"


@pytest.fixture
async def connect(valkey: EmbeddedServer) -> AsyncIterator[Connect]:
    """Makes transports to the server; they are closed after the test."""
    made: list[PipelinedTransport] = []

    def make() -> PipelinedTransport:
        address = NodeAddress(unix_path=str(valkey.socket_path))
        # Patient: the machine may be busy, and no test here is about this timeout.
        made.append(PipelinedTransport(address, TransportLimits(call_timeout_ms=30_000)))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture
def make_desk(organisation: str, connect: Connect) -> MakeDesk:
    """Makes workers of the test's organisation at the machine's time, each on its own connection
    and with caches of its own."""

    async def make(options: LedgerOptions | None = None) -> Desk:
        desk = desk_for(organisation, connect(), options)
        await desk.session.open_organisation(organisation, create=True)
        return desk

    return make


@pytest.fixture
async def desk(make_desk: MakeDesk) -> Desk:
    """A worker at the machine's time."""
    return await make_desk()


@pytest.fixture
def make_timed_desk(organisation: str, connect: Connect) -> MakeTimedDesk:
    """Makes workers at the test's time; the first sets it to START_MS."""

    async def make(
        skew_ms: int = 0, options: LedgerOptions | None = None, at_ms: int = START_MS
    ) -> TimedDesk:
        desk = timed_desk_for(organisation, connect(), ManualClock(at_ms, skew_ms), options)
        await desk.set_time(at_ms)
        await desk.session.open_organisation(organisation, create=True)
        return desk

    return make


@pytest.fixture
async def timed(make_timed_desk: MakeTimedDesk) -> TimedDesk:
    """A worker at the test's time."""
    return await make_timed_desk()
