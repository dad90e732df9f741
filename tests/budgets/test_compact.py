"""The ledger forgets counters: only what the records have, and never what still counts."""

import pytest

from budgets.answers import Reservation
from budgets.policy import parse_policy
from budgets.recording import Going, Recording
from budgets.windows import window_bounds
from tests.budgets.conftest import START_MS
from tests.budgets.harness import TimedDesk
from tests.budgets.test_recording import HOUR_S, LEASE_MS, recorder, request, settle


async def compacted(
    one: Recording, desk: TimedDesk, over: list[tuple[str, int, int]]
) -> tuple[int, list[str]]:
    """One pass over counters (field, end in seconds, spent by the records): how many went, and
    those that differ."""
    of_pass = await one.begin_pass(desk.organisation)
    differing = await one.compact(of_pass, 0, [Going((each,)) for each in over])
    return of_pass.counters, differing


async def expired(desk: TimedDesk, nusd: int = 100) -> Reservation:
    """A request whose lease was swept."""
    reservation = await request(desk, nusd)
    await desk.advance(LEASE_MS + 1)
    assert await desk.ledger.sweep(desk.organisation) == [reservation.id]
    return reservation


async def hour_counter(desk: TimedDesk) -> tuple[str, int]:
    """Field and window's end of a limit by the hour."""
    limits = parse_policy([{"usd": "1", "window": "hour"}])
    policy = await desk.administration.set_policy(desk.organisation, limits, b"")
    start_s, end_s = window_bounds("hour", desk.clock.at_ms)
    return f"c:{policy.limits[0].id}:{start_s}", end_s


async def test_a_counter_goes_when_its_window_is_over_and_not_before(timed: TimedDesk) -> None:
    """By the ledger's clock, to the millisecond; the compaction is numbered."""
    field, end_s = await hour_counter(timed)
    await settle(timed, await request(timed), 70)
    one = recorder(timed)
    await timed.set_time(end_s * 1000 - 1)
    before = (await timed.head()).compaction
    assert await compacted(one, timed, [(field, end_s, 70)]) == (0, [])
    assert (await timed.head()).compaction == before
    await timed.set_time(end_s * 1000)
    assert await compacted(one, timed, [(field, end_s, 70)]) == (1, [])
    assert await timed.counters() == {}
    assert (await timed.head()).compaction == before + 1
    assert await compacted(one, timed, [(field, end_s, 70)]) == (0, [])


async def test_a_counter_with_something_reserved_stays(timed: TimedDesk) -> None:
    """A lease that outlives its window holds its counter until it ends."""
    field, end_s = await hour_counter(timed)
    reservation = await request(timed)
    one = recorder(timed)
    await timed.set_time(end_s * 1000)
    assert await compacted(one, timed, [(field, end_s, 0)]) == (0, [])
    assert await timed.counters() == {field: (0, 100, 0)}
    await settle(timed, reservation, 30)
    assert await compacted(one, timed, [(field, end_s, 30)]) == (1, [])


@pytest.mark.parametrize("recorded_nusd", [0, 69, 71, -70, 2**53])
async def test_a_counter_that_differs_from_the_records_stays(
    timed: TimedDesk, recorded_nusd: int
) -> None:
    """By however little; it is named, those that agree go all the same."""
    field, end_s = await hour_counter(timed)
    await settle(timed, await request(timed), 70)
    await timed.set_time(end_s * 1000)
    await settle(timed, await request(timed), 5)
    later = f"{field.rpartition(':')[0]}:{end_s}"
    await timed.set_time((end_s + HOUR_S) * 1000)
    over = [(field, end_s, recorded_nusd), (later, end_s + HOUR_S, 5)]
    assert await compacted(recorder(timed), timed, over) == (1, [field])
    assert await timed.counters() == {field: (70, 0, 0)}


async def test_a_total_is_never_forgotten(timed: TimedDesk) -> None:
    """It has no end."""
    await timed.set_budget(timed.organisation, [{"usd": "1"}])
    await settle(timed, await request(timed), 70)
    ((field, _),) = (await timed.counters()).items()
    await timed.advance(10**10)
    assert await compacted(recorder(timed), timed, [(field, 0, 70)]) == (0, [])
    assert await timed.counters() == {field: (70, 0, 0)}


@pytest.mark.parametrize(("truth", "delta"), [(30, -70), (100, 0), (250, 150)])
async def test_a_late_truth_for_a_forgotten_counter_is_an_event_only(
    timed: TimedDesk, truth: int, delta: int
) -> None:
    """The ledger does not make the counter again; records plus event are the truth. A counter that
    is still there is corrected as ever."""
    policy = await timed.administration.set_policy(
        timed.organisation,
        parse_policy([{"usd": "1", "window": "minute"}, {"usd": "1"}]),
        b"",
    )
    reservation = await expired(timed)
    start_s, end_s = window_bounds("minute", START_MS)
    minute, total = f"c:{policy.limits[0].id}:{start_s}", f"c:{policy.limits[1].id}:0"
    assert await compacted(recorder(timed), timed, [(minute, end_s, 100)]) == (1, [])
    assert await settle(timed, reservation, truth) == "CORRECTED"
    assert await timed.counters() == {total: (truth, 0, 0)}
    last = (await timed.outbox())[-1]
    assert (last.kind, last.counters) == ("correction", (minute, 1, 0, delta, total, 1, 0, delta))


@pytest.mark.parametrize("event", [b"", b"{}"])
async def test_a_late_release_for_a_forgotten_counter_is_an_event_only(
    timed: TimedDesk, event: bytes
) -> None:
    """The whole charge comes off the balance by the event."""
    field, end_s = await hour_counter(timed)
    reservation = await expired(timed)
    await timed.set_time(end_s * 1000)
    assert await compacted(recorder(timed), timed, [(field, end_s, 100)]) == (1, [])
    assert await timed.ledger.release(timed.organisation, reservation.id, event) == "RELEASED"
    assert await timed.counters() == {}
    assert (await timed.outbox())[-1].counters == (field, 1, 0, -100)


@pytest.mark.parametrize("truth", [0, 5])
async def test_an_ending_does_not_bring_a_forgotten_counter_back(
    timed: TimedDesk, truth: int
) -> None:
    """A request that reserved no money (its model costs nothing) holds no counter: one that went
    while it ran stays gone, or it would be there again without what the records have of it."""
    field, end_s = await hour_counter(timed)
    await settle(timed, await request(timed), 70)
    free = await request(timed, 0)
    await timed.set_time(end_s * 1000)
    one = recorder(timed)
    assert await compacted(one, timed, [(field, end_s, 70)]) == (1, [])
    assert await settle(timed, free, truth) == "SETTLED"
    assert (await timed.outbox())[-1].counters == (field, 1, 0, truth)
    assert await one.counters(timed.organisation) == {}
    assert await compacted(one, timed, [(field, end_s, 70 + truth)]) == (0, [])


async def test_an_adjustment_of_a_forgotten_counter_is_an_event_only(timed: TimedDesk) -> None:
    """Up and down, also below what a counter could bear: the balance is in the records."""
    field, end_s = await hour_counter(timed)
    await settle(timed, await request(timed), 70)
    await timed.set_time(end_s * 1000)
    await compacted(recorder(timed), timed, [(field, end_s, 70)])
    id_ = timed.session.new_id()
    adjust = timed.administration.adjust
    assert await adjust(timed.organisation, id_, [(field, 1, -60)], b"{}") == "DONE"
    assert await timed.counters() == {}
    assert (await timed.outbox())[-1].counters == (field, 1, 0, -60)


async def test_an_adjustment_of_a_counter_that_nothing_has_touched_counts(timed: TimedDesk) -> None:
    """A limit whose window goes on and that no request has met yet is not a forgotten one: what is
    booked on it must bind, or the records say more than the ledger."""
    policy = await timed.administration.set_policy(
        timed.organisation, parse_policy([{"usd": "0.000001000"}]), b""
    )
    field = f"c:{policy.limits[0].id}:0"
    adjusting = timed.administration.adjust(
        timed.organisation, timed.session.new_id(), [(field, 1, 380)], b"{}"
    )
    assert await adjusting == "DONE"
    assert (await timed.outbox())[-1].counters == (field, 1, 0, 380)
    assert await timed.counters() == {field: (380, 0, 0)}


async def test_counters_that_are_not_there_are_no_difference(timed: TimedDesk) -> None:
    """A field that another recorder forgot, or that never was, is neither counted nor named."""
    assert await compacted(recorder(timed), timed, [("c:9.0:60", 120, 5)]) == (0, [])
    assert await compacted(recorder(timed), timed, []) == (0, [])
