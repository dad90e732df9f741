"""Workers at a real valkey-server, at the machine's time or at a time that the test sets."""

import asyncio
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from budgets.answers import Ask, Reservation
from budgets.embedded import EmbeddedServer
from budgets.endingdisk import EndingsOptions
from budgets.ledger import LedgerOptions
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.policy import Limit, Policy
from budgets.redispy import RedisPyTransport
from budgets.transport import LedgerTransport
from tests.budgets.harness import Desk, ManualClock, TimedDesk, desk_for, timed_desk_for
from tests.budgets.hired import LEASE_MS, Hire, Worker
from tests.budgets.transports import TransportTo

# The last minute of a leap day, of a February, of a Tuesday.
START_MS = int(datetime(2028, 2, 29, 23, 59, 10, tzinfo=UTC).timestamp()) * 1000
# The machine may be busy, and no test with these fixtures is about this timeout.
PATIENT = TransportLimits(call_timeout_ms=30_000)

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
        made.append(PipelinedTransport(address, PATIENT))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture
async def transport_to() -> AsyncIterator[TransportTo]:
    """Makes either transport to a server on a socket; they are closed after the test."""
    made: list[LedgerTransport] = []

    def make(kind: str, path: Path, limits: TransportLimits) -> LedgerTransport:
        if kind == "pipelined":
            made.append(PipelinedTransport(NodeAddress(unix_path=str(path)), limits))
        else:
            made.append(RedisPyTransport(f"unix://{path}", limits=limits))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that a test may stop, kill and pause."""
    with tempfile.TemporaryDirectory(prefix="comptroller-test-") as folder:
        server = EmbeddedServer(Path(folder), append_fsync="always")
        server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            server.stop()


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


@pytest.fixture
def kept_in(tmp_path: Path) -> Path:
    """Where the files of endings are."""
    return tmp_path / "endings"


@pytest.fixture
async def hired(make_desk: MakeDesk, kept_in: Path) -> AsyncIterator[Hire]:
    """Makes workers that share a folder; all are closed after the test."""
    workers: list[Worker] = []

    async def hire(**options: object) -> Worker:
        desk = await make_desk(LedgerOptions(lease_ms=LEASE_MS))
        await desk.set_budget(desk.organisation, [{"usd": "1"}])
        worker = Worker(desk, EndingsOptions(folder=kept_in, **options))  # type: ignore[arg-type]
        workers.append(worker)
        return worker

    yield hire
    for worker in workers:
        await worker.endings.drain(0)
        await worker.endings.close()


class LoneGrants:
    """Grants to requests that meet an untouched limit, for tests that are not coroutines."""

    def __init__(self, socket_path: str) -> None:
        self._runner = asyncio.Runner()
        self._transport = self._runner.run(_connected(socket_path))

    def output(self, asked: Ask, limit_nusd: int) -> int | None:
        """The output that a limit of this many nano-dollars grants; None for a refusal."""
        return self._runner.run(self._output(asked, limit_nusd))

    async def _output(self, asked: Ask, limit_nusd: int) -> int | None:
        desk = desk_for(f"lone-{secrets.token_hex(6)}", self._transport)
        await desk.session.open_organisation(desk.organisation, create=True)
        limit = Limit("@.0", "usd", "total", str(limit_nusd))
        await desk.administration.set_policy(desk.organisation, Policy(limits=(limit,)), b"")
        answer = await desk.ask(asked)
        return answer.output_tokens if isinstance(answer, Reservation) else None

    def close(self) -> None:
        """Lets go of the server."""
        self._runner.run(self._transport.close())
        self._runner.close()


async def _connected(socket_path: str) -> PipelinedTransport:
    return PipelinedTransport(NodeAddress(unix_path=socket_path), PATIENT)


@pytest.fixture(scope="module")
def lone_grants(valkey: EmbeddedServer) -> Iterator[LoneGrants]:
    """See LoneGrants."""
    grants = LoneGrants(str(valkey.socket_path))
    yield grants
    grants.close()
