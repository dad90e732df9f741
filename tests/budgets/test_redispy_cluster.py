"""The ledger on a cluster of three: every key of the product in its slot, slots that move under
calls, and a primary that dies."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from budgets.answers import Refusal, Reservation, Truth
from budgets.keys import Key, KeyRing, digest, new_secret, record_key
from budgets.pipelined import TransportLimits
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.redispy import RedisPyTransport
from budgets.session import ORGANISATIONS_KEY
from budgets.transport import LedgerRejected, LedgerSilent, LedgerUnavailable
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import Desk, SystemClock, desk_for, dollars, granted
from tests.budgets.servers import (
    HOST,
    SLOTS,
    TestCluster,
    TestServer,
    free_port,
    running,
    until,
)

QUICK = TransportLimits(call_timeout_ms=400, durable_timeout_ms=400, reconnect_delay_ms=10)

To = Callable[[str, TransportLimits], RedisPyTransport]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    """One for this file: each test leaves it whole."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        cluster = TestCluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
async def to() -> AsyncIterator[To]:
    """Makes transports, which are closed after the test."""
    made: list[RedisPyTransport] = []

    def make(url: str, limits: TransportLimits = PATIENT) -> RedisPyTransport:
        made.append(RedisPyTransport(url, limits=limits))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


class Events:
    """What the ring writes into the outbox."""

    def minted(self, key: Key) -> bytes:
        """See KeyEvents."""
        return f"minted {key.id}".encode()

    budget_changed = revoked = minted


def named_on(cluster: TestCluster, server: TestServer) -> str:
    """A new organisation whose slot this server has."""
    while True:
        name = f"org-{secrets.token_hex(5)}"
        if cluster.of(f"{{{name}}}:ledger") is server:
            return name


async def opened(transport: RedisPyTransport, organisation: str, usd: str = "1") -> Desk:
    """A worker of an organisation with a budget."""
    desk = desk_for(organisation, transport)
    await desk.session.open_organisation(organisation, create=True)
    await desk.set_budget(organisation, [{"usd": usd}])
    return desk


async def test_organisations_live_on_all_servers(cluster: TestCluster, to: To) -> None:
    """Budgets, reservations, endings and sweeps work wherever the slot is, through one transport;
    all organisations are found, although their list has a slot of its own."""
    transport = to(cluster.url, PATIENT)
    names = [named_on(cluster, server) for server in cluster.servers for _ in range(4)]
    desks = await asyncio.gather(*(opened(transport, name) for name in names))
    grants = await asyncio.gather(*(desk.ask(dollars(30)) for desk in desks for _ in range(5)))
    for desk, grant in zip(desks, grants[::5], strict=True):
        reservation = granted(grant)
        await desk.ledger.settle(desk.organisation, reservation.id, Truth(7, 0), b"settled", b"")
        assert await desk.totals() == (7, 120)
        assert await desk.ledger.sweep(desk.organisation) == []
    assert set(names) <= set(await desks[0].session.all_organisations())
    for server in cluster.servers:
        kept = {key.decode() for key in server.ask("KEYS", "{org-*}:ledger")}
        assert len(kept & {f"{{{name}}}:ledger" for name in names}) == 4


async def test_keys_without_a_hash_tag_are_found(cluster: TestCluster, to: To) -> None:
    """A key's record has the slot of its secret's hash, its index that of its organisation: both
    are written durably, found, rotated, and revoked."""
    transport = to(cluster.url, PATIENT)
    desk = await opened(transport, named_on(cluster, cluster.servers[0]))
    ring = KeyRing(desk.session, desk.administration, Events())
    places = set()
    for number in range(8):
        secret = new_secret()
        key = Key(
            id=f"key-{number}",
            name="k",
            scope=desk.organisation,
            created_at_ms=SystemClock().now_ms(),
            secret_sha256=digest(secret),
        )
        await ring.mint(key, secret, parse_policy([{"usd": "1"}]))
        found = await ring.find(secret.encode())
        assert found is not None
        assert found[0].id == key.id
        places.add(cluster.of(record_key(digest(secret))).port)
        fresh = new_secret()
        rotated = await ring.rotate(key, fresh, 0)
        await ring.revoke(rotated)
        assert await transport.command("GET", record_key(digest(fresh))) is None
    assert len(places) > 1
    assert await transport.command("SISMEMBER", ORGANISATIONS_KEY, desk.organisation) == 1


async def test_one_server_names_the_others(cluster: TestCluster, to: To) -> None:
    """One of the cluster is enough to begin with, also beside some that nobody answers at; at
    none of it the call ends in time."""
    last = cluster.servers[2]
    transport = to(f"redis+cluster://127.0.0.1:1,127.0.0.1:{last.port}", PATIENT)
    for server in cluster.servers:
        desk = await opened(transport, named_on(cluster, server))
        granted(await desk.ask(dollars(1)))
    nowhere = to("redis+cluster://127.0.0.1:1,127.0.0.1:2", QUICK)
    async with asyncio.timeout(15):
        with pytest.raises(LedgerUnavailable, match="no server of the cluster answers"):
            await nowhere.command("PING")


async def test_a_cluster_that_is_called_one_server_says_so(cluster: TestCluster, to: To) -> None:
    """MOVED outside of a cluster's URL is an error that names the URL to use."""
    transport = to(f"redis://127.0.0.1:{cluster.servers[0].port}", QUICK)
    with pytest.raises(LedgerRejected, match="redis\\+cluster://"):
        await transport.command("GET", f"{{{named_on(cluster, cluster.servers[1])}}}:x")


async def test_a_slot_moves_while_calls_run(cluster: TestCluster, to: To) -> None:
    """Key by key, as operators move slots: calls wait for it, are sent on, and every one of them
    is counted once. A worker that did not see the move is told by MOVED."""
    source, target = cluster.servers[0], cluster.servers[1]
    name = named_on(cluster, source)
    desk = await opened(to(cluster.url, PATIENT), name)
    late = desk_for(name, to(cluster.url, PATIENT))
    granted(await late.ask(dollars(1)))
    slot = key_slot(f"{{{name}}}:ledger".encode())
    stop = asyncio.Event()

    async def spending() -> int:
        spent = 0
        while not stop.is_set():
            reservation = granted(await desk.ask(dollars(3)))
            await desk.ledger.settle(name, reservation.id, Truth(2, 0), b"settled", b"")
            spent += 2
        return spent

    workers = [asyncio.create_task(spending()) for _ in range(8)]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    await asyncio.sleep(0.1)
    moved = await asyncio.to_thread(cluster.move_keys, slot, source, target)
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    await asyncio.sleep(0.1)
    stop.set()
    spent = sum(await asyncio.gather(*workers))
    granted(await late.ask(dollars(1)))
    assert moved > 3
    assert spent > 100
    assert cluster.of(f"{{{name}}}:ledger") is target
    assert await desk.totals() == (spent, 2)


async def test_a_key_that_has_moved_already_is_asked_for(cluster: TestCluster, to: To) -> None:
    """ASK: between the move of a key and that of its slot, the key is found at the other server,
    and the slot is not taken to have moved."""
    source, target = cluster.servers[1], cluster.servers[2]
    transport = to(cluster.url, PATIENT)
    name = named_on(cluster, source)
    key, slot = f"{{{name}}}:text", key_slot(f"{{{name}}}:text".encode())
    await transport.command("SET", key, "here")
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    assert await asyncio.to_thread(cluster.move_keys, slot, source, target) == 1
    for _ in range(3):
        assert await transport.command("GET", key) == b"here"
        assert await transport.command("SET", key, "here") == b"OK"
    assert source.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    assert await transport.command("GET", key) == b"here"


async def test_a_slot_moves_at_once_while_calls_run(cluster: TestCluster, to: To) -> None:
    """The same with the servers' own atomic move."""
    source, target = cluster.servers[2], cluster.servers[0]
    name = named_on(cluster, source)
    desk = await opened(to(cluster.url, PATIENT), name)
    slot = key_slot(f"{{{name}}}:ledger".encode())
    grants = [asyncio.create_task(desk.ask(dollars(1))) for _ in range(100)]
    mine = target.ask("CLUSTER", "MYID").decode()
    source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", mine)
    while cluster.of(f"{{{name}}}:ledger") is source:
        grants += [asyncio.create_task(desk.ask(dollars(1))) for _ in range(10)]
        await asyncio.sleep(0.01)
    grants += [asyncio.create_task(desk.ask(dollars(1))) for _ in range(100)]
    assert all(granted(each) for each in await asyncio.gather(*grants))
    assert await desk.totals() == (0, len(grants))
    until(cluster.is_whole)


async def test_a_primary_that_dies_holds_up_its_own_slots_only(
    cluster: TestCluster, to: To
) -> None:
    """Calls to the others go on; those to its slots are unavailable in time; when it is back, what
    it had granted and what was asked meanwhile under the same ids is counted once."""
    dying, other = cluster.servers[0], cluster.servers[1]
    limits = TransportLimits(call_timeout_ms=3_000, durable_timeout_ms=3_000, reconnect_delay_ms=10)
    transport = to(cluster.url, limits)
    hit = await opened(transport, named_on(cluster, dying))
    spared = await opened(transport, named_on(cluster, other))
    granted(await hit.ask(dollars(10)))
    ids = [hit.session.new_id() for _ in range(20)]
    flying = [asyncio.create_task(hit.ask(dollars(1), id_=each)) for each in ids]
    await asyncio.sleep(0.002)
    dying.kill()
    try:
        answers = await asyncio.gather(*flying, return_exceptions=True)
        waiting = [asyncio.create_task(hit.ask(dollars(1), id_=each)) for each in ids]
        for _ in range(50):
            granted(await spared.ask(dollars(1)))
            assert await transport.command("PING") == b"PONG"
        assert not any(each.done() for each in waiting), "nobody waits for these"
        refusals = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, LedgerUnavailable) for each in refusals)
        assert not any(isinstance(each, LedgerSilent) for each in refusals), "nothing was sent"
        assert all(
            isinstance(each, Reservation | LedgerUnavailable | Refusal) for each in answers
        ), answers
    finally:
        dying.start()  # not in a thread: the kernel ends it with the thread that made it
        until(cluster.is_whole)
    for each in ids:
        granted(await _in_the_end(hit, each))
    assert await hit.totals() == (0, 30)
    (standing,) = (await spared.ledger.check(ScopePath(spared.organisation))).standings
    assert standing.reserved == 50


async def _in_the_end(desk: Desk, id_: str) -> Reservation | Refusal:
    async with asyncio.timeout(10):
        while True:
            try:
                return await desk.ask(dollars(1), id_=id_)
            except LedgerUnavailable:
                await asyncio.sleep(0.05)


async def test_every_slot_has_an_owner_in_the_end(cluster: TestCluster) -> None:
    """What the tests before have moved and killed is whole: else they have shown nothing."""
    covered = sum(last - first + 1 for first, last, *_ in cluster._slots())
    assert covered == SLOTS


async def test_a_replica_takes_over(cluster: TestCluster, to: To, folder: Path) -> None:
    """A primary with a replica dies: its slots are found at the replica, with what it had copied.
    The last test of this file: who leads has changed."""
    dying = cluster.servers[2]
    desk = await opened(to(cluster.url, PATIENT), named_on(cluster, dying))
    granted(await desk.ask(dollars(5)))
    replica = TestServer(folder, *dying._options[:-1], str(free_port()))
    with running(replica):
        replica.ask("CLUSTER", "MEET", HOST, dying.port, int(dying._options[-1]))
        mine = dying.ask("CLUSTER", "MYID").decode()
        until(lambda: mine in _text(replica.ask("CLUSTER", "NODES")))
        until(lambda: replica.said("cluster")["cluster_state"] == "ok")
        replica.ask("CLUSTER", "REPLICATE", mine)
        offset = dying.said("replication")["master_repl_offset"]
        until(lambda: replica.said("replication").get("slave_repl_offset", "") >= offset)
        dying.kill()
        asking = [asyncio.create_task(desk.ask(dollars(1))) for _ in range(50)]
        assert all(granted(each) for each in await asyncio.gather(*asking))
        assert replica.said("replication")["role"] == "master"
        assert await desk.totals() == (0, 55)


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)
