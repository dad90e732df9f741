"""The ledger behind a sentinel: a primary that dies, one that is only cut off, and a new primary
that has lost the last writes."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from budgets.answers import Refusal, Reservation, Truth
from budgets.pipelined import TransportLimits
from budgets.redispy import RedisPyTransport
from budgets.redisroutes import PRIMARY_BELIEVED_MS
from budgets.transport import LedgerUnavailable
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import Desk, desk_for, dollars, granted
from tests.budgets.servers import HOST, TestSentinel, TestServer, running, until

SERVICE = "ledger"
QUICK = TransportLimits(call_timeout_ms=300, durable_timeout_ms=300, reconnect_delay_ms=10)
OPTIONS = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")


class Watched:
    """A primary, its replica, and who watches them."""

    def __init__(self, folder: Path) -> None:
        self.primary = TestServer(folder, *OPTIONS)
        replicaof = ("--replicaof", f"{HOST} {self.primary.port}")
        self.replica = TestServer(folder, *OPTIONS, *replicaof)
        self.sentinel = TestSentinel(folder).watching(SERVICE, self.primary)

    @property
    def url(self) -> str:
        """The first of the sentinels is away."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/{SERVICE}/0"

    def is_ready(self) -> bool:
        """Whether the sentinel could replace the primary."""
        known = self.sentinel.said("sentinel").get("master0", "")
        return "slaves=1" in known and "status=ok" in known and self.has_all()

    def has_all(self) -> bool:
        """Whether the replica has what the primary has."""
        of_replica = self.replica.said("replication")
        offset = self.primary.said("replication")["master_repl_offset"]
        return (
            of_replica.get("master_link_status") == "up"
            and of_replica["slave_repl_offset"] == offset
        )

    def stop_copying(self) -> None:
        """From now on the replica misses what is written."""
        self.primary.ask("ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
        self.primary.ask("CLIENT", "KILL", "TYPE", "replica")
        until(lambda: self.replica.said("replication")["master_link_status"] == "down")

    def is_replaced(self) -> bool:
        """Whether the replica leads, and the sentinel says so."""
        host, port = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return (host.decode() if isinstance(host, bytes) else host, int(port)) == (
            self.replica.address
        ) and self.replica.said("replication")["role"] == "master"


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Fresh: who leads changes."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        watched = Watched(Path(folder))
        with running(watched.primary, watched.replica, watched.sentinel):
            until(watched.is_ready)
            yield watched


@pytest.fixture
async def patient(watched: Watched) -> AsyncIterator[RedisPyTransport]:
    """A transport that waits for a failover."""
    transport = RedisPyTransport(watched.url, limits=PATIENT)
    yield transport
    await transport.close()


@pytest.fixture
async def quick(watched: Watched) -> AsyncIterator[RedisPyTransport]:
    """A transport that gives up soon."""
    transport = RedisPyTransport(watched.url, limits=QUICK)
    yield transport
    await transport.close()


async def opened(transport: RedisPyTransport, organisation: str) -> Desk:
    """A worker with a budget of a dollar."""
    desk = desk_for(organisation, transport)
    await desk.session.open_organisation(organisation, create=True)
    await desk.set_budget(organisation, [{"usd": "1"}])
    return desk


async def test_calls_go_on_at_the_new_primary(
    watched: Watched, patient: RedisPyTransport, organisation: str
) -> None:
    """What was granted before is there, what is asked while nobody leads is granted afterwards,
    and all of it is counted once."""
    desk = await opened(patient, organisation)
    before = [granted(await desk.ask(dollars(1))) for _ in range(10)]
    await asyncio.to_thread(until, watched.has_all)
    watched.primary.kill()
    asking = [asyncio.create_task(desk.ask(dollars(1))) for _ in range(100)]
    answers = await asyncio.gather(*asking)
    assert watched.is_replaced()
    assert len({granted(each).seq for each in answers}) == 100
    for each in before:
        assert await desk.ledger.settle(organisation, each.id, Truth(1, 0), b"", b"") == "SETTLED"
    await desk.set_budget(organisation, [{"usd": "2"}])
    assert await desk.totals() == (10, 100)


async def test_nothing_is_decided_on_what_a_new_primary_has_lost(
    watched: Watched, quick: RedisPyTransport, organisation: str
) -> None:
    """The replica leads without the last five grants: the worker that knows of them is granted
    nothing more, settles nothing, and changes nothing there."""
    desk = await opened(quick, organisation)
    kept = [granted(await desk.ask(dollars(1))) for _ in range(3)]
    until(watched.has_all)
    watched.stop_copying()
    lost = [granted(await desk.ask(dollars(1))) for _ in range(5)]
    watched.primary.kill()
    await asyncio.to_thread(until, watched.is_replaced)
    head = await desk.head()
    assert head.seq == kept[-1].seq < lost[0].seq
    for _ in range(3):
        assert await _refusal(desk) == "RECOVERING"
    for each in (*kept, *lost):
        with pytest.raises(LedgerUnavailable, match="recovering"):
            await desk.ledger.settle(organisation, each.id, Truth(1, 0), b"", b"")
    with pytest.raises(LedgerUnavailable, match="recovering"):
        await desk.set_budget(organisation, [{"usd": "5"}])
    assert await desk.head() == head


async def _refusal(desk: Desk) -> str:
    answer = await desk.ask(dollars(1))
    assert isinstance(answer, Refusal), answer
    return answer.code


async def test_a_primary_that_was_cut_off_is_left(
    watched: Watched, quick: RedisPyTransport, patient: RedisPyTransport, organisation: str
) -> None:
    """It is paused, replaced, and wakes up as if nothing had happened: although it takes itself
    for the primary, nothing is granted by it, neither to a worker that saw the failover nor to
    one that did not."""
    desk, idle = await opened(quick, organisation), desk_for(organisation, patient)
    granted(await desk.ask(dollars(1)))
    granted(await idle.ask(dollars(1)))
    until(watched.has_all)
    watched.primary.pause()
    stuck = await asyncio.gather(*(desk.ask(dollars(1)) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(each, LedgerUnavailable) for each in stuck)
    await asyncio.to_thread(until, watched.is_replaced)
    after = [await _granted_in_the_end(desk)]
    await asyncio.sleep(PRIMARY_BELIEVED_MS / 1000)
    watched.primary.signal(signal.SIGCONT)
    for each in [desk, idle] * 20:
        calls = (each.ask(dollars(1)) for _ in range(10))
        after += [granted(answer) for answer in await asyncio.gather(*calls)]
    assert watched.primary.said("replication")["role"] == "master"
    assert await desk.totals() == (0, 2 + len(after))
    assert watched.replica.ask("HLEN", desk.key("leases")) == 2 + len(after)


async def _granted_in_the_end(desk: Desk) -> Reservation:
    async with asyncio.timeout(10):
        while True:
            try:
                return granted(await desk.ask(dollars(1)))
            except LedgerUnavailable:
                await asyncio.sleep(0.02)


async def test_an_unknown_service_is_named(watched: Watched) -> None:
    """A sentinel that knows no such service: an error in time that says so."""
    url = watched.url.replace(f"/{SERVICE}/", "/other/")
    transport = RedisPyTransport(url, limits=QUICK)
    with pytest.raises(LedgerUnavailable, match="knows 'other'"):
        await transport.command("PING")
    await transport.close()
