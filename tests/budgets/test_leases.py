"""Leases: kept alive by those who live, charged when those who held them died, cut when they may
not go on."""

import asyncio
from dataclasses import dataclass, field

import pytest

from budgets.answers import Ask, Reservation, Truth
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger, LedgerOptions
from budgets.scripts import Script
from budgets.transport import Argument, LedgerSilent, Reply
from tests.budgets.conftest import START_MS, MakeTimedDesk
from tests.budgets.harness import TimedDesk, dollars, granted, refused

LEASE_MS = 60_000
THIRD_MS = LEASE_MS // 3


@dataclass(slots=True)
class Worker:
    """A desk with a keeper, and what the keeper cut."""

    desk: TimedDesk
    keeper: LeaseKeeper
    cuts: list[tuple[str, str]] = field(default_factory=list)

    async def start(self, scope: str = "", nusd: int = 10) -> Reservation:
        """A request that runs from now on."""
        reservation = granted(await self.desk.ask(dollars(nusd), scope))
        self.keeper.hold(reservation, lambda reason: self.cuts.append((reservation.id, reason)))
        return reservation


@pytest.fixture
async def worker(make_timed_desk: MakeTimedDesk) -> Worker:
    """A worker whose organisation may spend a hundred, and opened a lease ago."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    await desk.set_budget(desk.organisation, [{"usd": "0.000000100"}, {"concurrency": 9}])
    await desk.advance(LEASE_MS)
    return Worker(desk, LeaseKeeper(desk.ledger, desk.clock))


async def test_a_lease_that_beats_lives_as_long_as_its_request(worker: Worker) -> None:
    """Extended every third of a lease, a request runs for ten leases and is charged the truth."""
    desk, reservation = worker.desk, await worker.start()
    for _ in range(30):
        await desk.advance(THIRD_MS)
        await worker.keeper.beat()
    assert worker.cuts == []
    worker.keeper.drop(reservation)
    answer = await desk.ledger.settle(desk.organisation, reservation.id, Truth(7, 0), b"", b"")
    assert answer == "SETTLED"
    assert await desk.totals_of("usd") == (7, 0)


async def test_a_dead_workers_lease_is_charged_in_full_and_its_slot_returns(
    worker: Worker,
) -> None:
    """Nobody extends it: another worker's beat charges the whole reservation, with an event."""
    desk = worker.desk
    reservation = granted(await desk.ask(dollars(30)))
    await desk.advance(LEASE_MS - 1)
    await worker.keeper.beat()
    assert await desk.lease_ids() == {reservation.id}
    await desk.advance(1)
    await worker.keeper.beat()
    assert await desk.lease_ids() == set()
    assert await desk.totals_of("usd") == (30, 0)
    assert await desk.totals_of("concurrency") == (0, 0)
    last = (await desk.outbox())[-1]
    assert (last.kind, last.id) == ("reservation_expired", reservation.id)
    assert last.counters[:4] == ("c:1.0:0", 1, 30, 30)


@pytest.mark.parametrize(("truth", "spent"), [(12, 12), (0, 0), (90, 90), (None, 30)])
async def test_a_late_truth_replaces_the_charge_once(
    worker: Worker, truth: int | None, spent: int
) -> None:
    """After the expiry the truth is booked in place of the charge, up or down, in its window; a
    second truth changes nothing; what is unknown stays charged as reserved."""
    desk, org = worker.desk, worker.desk.organisation
    reservation = granted(await desk.ask(dollars(30)))
    await desk.advance(LEASE_MS)
    assert await desk.ledger.sweep(org) == [reservation.id]
    settle = desk.ledger.settle
    assert await settle(org, reservation.id, Truth(truth, 0), b"", b"") == "CORRECTED"
    assert await desk.totals_of("usd") == (spent, 0)
    before = await desk.everything()
    assert await settle(org, reservation.id, Truth(1, 0), b"", b"") == "ALREADY"
    assert await desk.everything() == before


async def test_what_was_never_sent_is_given_back_even_after_its_expiry(worker: Worker) -> None:
    """A release that could not reach the ledger for a lease still finds its reservation charged,
    and gives it back: a provider that was provably not reached costs nothing."""
    desk, org = worker.desk, worker.desk.organisation
    reservation = granted(await desk.ask(dollars(30)))
    await desk.advance(LEASE_MS)
    await desk.ledger.sweep(org)
    await desk.ledger.release(org, reservation.id, b"")
    assert await desk.totals_of("usd") == (0, 0)
    assert await desk.ledger.release(org, reservation.id, b"") == "ALREADY"
    assert await desk.ledger.settle(org, reservation.id, Truth(5, 0), b"", b"") == "ALREADY"


async def test_a_late_truth_beside_a_correction_leaves_nothing_negative(worker: Worker) -> None:
    """A correction that took from an expired charge and a truth that replaces it do not bring a
    counter below zero."""
    desk, org = worker.desk, worker.desk.organisation
    reservation = granted(await desk.ask(dollars(30)))
    await desk.advance(LEASE_MS)
    await desk.ledger.sweep(org)
    adjustment = desk.session.new_id()
    await desk.administration.adjust(org, adjustment, [("c:1.0:0", 1, -20)], b"")
    await desk.ledger.settle(org, reservation.id, Truth(5, 0), b"", b"")
    spent, reserved = await desk.totals_of("usd")
    assert spent >= 0
    assert reserved == 0
    booked = sum(each.changes().get("c:1.0:0", (0, 0))[0] for each in await desk.outbox())
    assert booked == spent, "the records must sum to the counter"


async def test_nothing_expires_sooner_than_a_lease_after_the_opening(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """Workers could not extend while the ledger was away: everybody gets a lease to do so."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    reservation = granted(await desk.ask(dollars(5)))
    await desk.transport.command("ZADD", desk.key("expiry"), str(START_MS + 1), reservation.id)
    await desk.set_time(START_MS + LEASE_MS - 1)
    assert await desk.ledger.sweep(desk.organisation) == []
    await desk.set_time(START_MS + LEASE_MS)
    assert await desk.ledger.sweep(desk.organisation) == [reservation.id]


async def test_a_lease_that_was_extended_meanwhile_is_not_swept(worker: Worker) -> None:
    """What was due when a sweeper asked, and is not any more when it sweeps, is left alone."""
    desk, reservation = worker.desk, await worker.start()
    slot = await desk.session.slot(desk.organisation)
    keys = (*slot.keys, slot.done_key(reservation.id))
    await desk.set_time(desk.clock.at_ms + LEASE_MS - 1)
    asked = (slot, "sweep", keys, (LEASE_MS,), (reservation.id,))
    assert (await desk.session.run_in_epoch(*asked))[1] == []
    assert await desk.totals_of("usd") == (0, 10)
    await desk.set_time(desk.clock.at_ms + 1)
    assert (await desk.session.run_in_epoch(*asked))[1] == [reservation.id.encode()]


async def test_a_sweep_is_bounded_and_takes_the_oldest(worker: Worker) -> None:
    """One call charges at most so many; a beat goes on until none is due."""
    desk, org = worker.desk, worker.desk.organisation
    ids = []
    for _ in range(5):
        ids.append(granted(await desk.ask(dollars(1))).id)
        await desk.advance(10)
    await desk.advance(LEASE_MS)
    assert await desk.ledger.sweep(org, at_most=2) == ids[:2]
    await worker.keeper.beat()
    assert await desk.lease_ids() == set()
    assert await desk.totals_of("usd") == (5, 0)


async def test_two_sweepers_charge_once(worker: Worker, make_timed_desk: MakeTimedDesk) -> None:
    """Workers sweep at the same time: each lease is charged once and is in one answer."""
    desk, org = worker.desk, worker.desk.organisation
    now_ms = desk.clock.at_ms + LEASE_MS
    ids = {granted(await desk.ask(dollars(1))).id for _ in range(9)}
    others = [await make_timed_desk(at_ms=now_ms) for _ in range(2)]
    await desk.set_time(now_ms)
    swept = await asyncio.gather(*(each.ledger.sweep(org) for each in (desk, *others)))
    assert sorted(id_ for batch in swept for id_ in batch) == sorted(ids)
    assert await desk.totals_of("usd") == (9, 0)


@pytest.mark.parametrize(
    ("action", "reason"), [("freeze", "FROZEN"), ("close", "CLOSED"), ("fence", "FENCED")]
)
async def test_a_stream_is_cut_at_the_next_heartbeat(
    worker: Worker, action: str, reason: str
) -> None:
    """A run that is halted or a key that is revoked ends its streams, once each, and nobody
    else's; the truth is still booked."""
    desk, org = worker.desk, worker.desk.organisation
    run = f"{org}/run"
    stopped = await worker.start(f"{run}/step")
    await worker.start(f"{org}/other")
    await desk.administration.set_state(run, action, action, b"", attempt=1)
    for _ in range(2):
        await desk.advance(THIRD_MS)
        await worker.keeper.beat()
    assert worker.cuts == [(stopped.id, reason)]
    assert await desk.ledger.settle(org, stopped.id, Truth(3, 0), b"", b"") == "SETTLED"


async def test_a_stream_whose_lease_is_gone_is_cut(worker: Worker) -> None:
    """Expired and charged by another while this worker was away: GONE, and it is not revived."""
    desk, org = worker.desk, worker.desk.organisation
    reservation = await worker.start()
    await desk.set_time(desk.clock.at_ms + LEASE_MS, worker_too=False)
    await desk.ledger.sweep(org)
    await worker.keeper.beat()
    assert worker.cuts == [(reservation.id, "GONE")]
    assert await desk.lease_ids() == set()


async def test_a_request_that_ended_is_not_cut(worker: Worker) -> None:
    """Ending while a heartbeat is on its way is no reason to cut."""
    desk, reservation = worker.desk, await worker.start()
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(3, 0), b"", b"")
    beating = asyncio.create_task(worker.keeper.beat())
    await asyncio.sleep(0)
    worker.keeper.drop(reservation)
    await beating
    assert worker.cuts == []


async def test_more_leases_than_one_call_takes_are_all_extended(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """Twelve hundred streams of one worker are extended in a few calls."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    worker = Worker(desk, LeaseKeeper(desk.ledger, desk.clock))
    await asyncio.gather(*(worker.start() for _ in range(1200)))
    for _ in range(4):
        await desk.advance(THIRD_MS)
        await worker.keeper.beat()
    assert worker.cuts == []
    assert len(await desk.lease_ids()) == 1200


async def test_the_loop_beats_until_cancelled(worker: Worker) -> None:
    """`run` beats by itself every third of a lease."""
    desk = worker.desk
    keeper = LeaseKeeper(Ledger(desk.session, LedgerOptions(lease_ms=30)), desk.clock)
    cut = asyncio.Event()
    keeper.hold(granted(await desk.ask(dollars(1))), lambda _reason: cut.set())
    await desk.administration.set_state(desk.organisation, "close", "close", b"")
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(20):
        await cut.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class DeafTransport:
    """Does not answer for as long as `silent_ms` of the worker's clock is positive; answers to
    a heartbeat arrive `late_ms` of that clock after they were given."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._inner = worker.desk.transport
        self.silent_ms = 2000
        self.late_ms = 0

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """Times out as a transport does."""
        if self.silent_ms:
            self._worker.desk.clock.at_ms += self.silent_ms
            raise LedgerSilent("no answer")
        reply = await self._inner.call(script, keys, args)
        if script.name == "extend":
            self._worker.desk.clock.at_ms += self.late_ms
        return reply

    call_durably = call

    async def command(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command(*args)

    async def command_durably(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command_durably(*args)

    async def close(self) -> None:
        """Nothing of its own."""


async def test_a_stream_that_could_not_be_extended_is_cut(worker: Worker) -> None:
    """Without an answer for a lease there is no cover: the worker cuts by its own clock, not
    before, and a short silence cuts nothing."""
    desk, reservation = worker.desk, await worker.start()
    began_ms = desk.clock.at_ms
    deaf = DeafTransport(worker)
    desk.session.transport = deaf
    desk.clock.at_ms += THIRD_MS
    await worker.keeper.beat()
    deaf.silent_ms = 0
    await worker.keeper.beat()
    extended_ms = desk.clock.at_ms
    assert extended_ms > began_ms + THIRD_MS
    deaf.silent_ms = 2000
    for _ in range(2):
        desk.clock.at_ms = min(desk.clock.at_ms + THIRD_MS, extended_ms + LEASE_MS - 2001)
        await worker.keeper.beat()
        assert worker.cuts == []
    desk.clock.at_ms = extended_ms + LEASE_MS
    await worker.keeper.beat()
    assert worker.cuts == [(reservation.id, "EXPIRED")]


async def test_an_extension_counts_from_when_it_was_asked_for(worker: Worker) -> None:
    """An answer that was long on its way covers no longer than the ledger's lease does."""
    desk, reservation = worker.desk, await worker.start()
    slow = DeafTransport(worker)
    slow.silent_ms, slow.late_ms = 0, THIRD_MS
    desk.session.transport = slow
    asked_ms = desk.clock.at_ms
    await worker.keeper.beat()
    assert desk.clock.at_ms == asked_ms + THIRD_MS
    assert worker.cuts == []
    slow.silent_ms = 1
    desk.clock.at_ms = asked_ms + LEASE_MS
    await worker.keeper.beat()
    assert worker.cuts == [(reservation.id, "EXPIRED")]


async def test_held_budgets_come_back_by_expiry(worker: Worker) -> None:
    """A crashed attempt holds the step's budget until its lease expires; then it is charged."""
    desk, org = worker.desk, worker.desk.organisation
    granted(await desk.ask(Ask(60, 0, 0, 0, 0, 0)))
    answer = refused(await desk.ask(dollars(60)), "HELD")
    assert answer.until_ms == desk.clock.at_ms + LEASE_MS
    await desk.set_time(answer.until_ms)
    await desk.ledger.sweep(org)
    refused(await desk.ask(dollars(60)), "EXHAUSTED")
    granted(await desk.ask(dollars(40)))
