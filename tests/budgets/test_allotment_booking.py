"""What is spent of moved money changes what it costs the scopes above, in the same script, whoever
books it, up and down, through every allotment above."""

import struct

import msgspec
import pytest

from budgets.answers import Truth
from budgets.recording import Recording
from budgets.windows import window_bounds
from tests.budgets.allotting import DAY_MS, Tree
from tests.budgets.harness import TimedDesk, dollars, granted, refused
from tests.budgets.test_compact import compacted

LEASE_MS = 60_000


@pytest.fixture
async def tree(timed: TimedDesk) -> Tree:
    """A tree at the test's time."""
    return await Tree(timed).planted()


def field(id_: str) -> str:
    """The counter of what an allotment moves in dollars."""
    return f"c:{id_}.1:0"


async def test_within_the_amount_nothing_changes_above(tree: Tree) -> None:
    """An open allotment costs what was moved, and its endings say nothing of the scopes above."""
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 300, truth=299)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    ended = (await tree.desk.outbox())[-1]
    assert ended.counters == (field(allotment.id), 1, 300, 299)


async def test_an_overrun_goes_up_as_it_is_booked(tree: Tree) -> None:
    """What a provider billed above the amount is missing above at once."""
    await tree.allot(tree.run, 300)
    late = await tree.lease(tree.step, 5)
    await tree.spend(tree.step, 200, truth=450)
    assert await tree.above() == ((0, 0, 450), (0, 0, 450))
    refused(await tree.desk.ask(dollars(351), tree.team), "HELD")
    await tree.settle(late, 10)
    assert await tree.above() == ((0, 0, 460), (0, 0, 460))
    await tree.recorded()


async def test_what_an_overrun_took_comes_back_with_its_correction(tree: Tree) -> None:
    """Down to the amount, and not below it."""
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 200, truth=450)
    for delta, cost in ((-100, 350), (-100, 300), (-250, 300), (350, 350)):
        id_ = tree.desk.session.new_id()
        adjusting = tree.desk.administration.adjust(
            tree.org, id_, [(field(allotment.id), 1, delta)], b"{}"
        )
        assert await adjusting == "DONE"
        assert await tree.above() == ((0, 0, cost), (0, 0, cost))
    await tree.recorded()


async def test_a_swept_lease_is_charged_to_the_allotment_and_trued_up_once(tree: Tree) -> None:
    """In full first, its overrun in the truth's step; a second truth changes nothing."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 300)
    await tree.desk.advance(LEASE_MS)
    assert await tree.desk.ledger.sweep(tree.org) == [lease.id]
    assert (await tree.standing(tree.run))["/team/run allotted"] == (300, 0, 0)
    assert await tree.settle(lease, 500) == "CORRECTED"
    assert await tree.above() == ((0, 0, 500), (0, 0, 500))
    assert await tree.settle(lease, 900) == "ALREADY"
    assert await tree.above() == ((0, 0, 500), (0, 0, 500))
    await tree.recorded()


@pytest.mark.parametrize("truth", [0, 70, 100, 450, 700])
async def test_late_truth_after_closing_corrects_the_scopes_above(tree: Tree, truth: int) -> None:
    """Their `spent`, by the difference, in the correction's own event; the tombstone knows only
    what the lease was charged, so nothing is corrected twice."""
    allotment = await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 100)
    await tree.spend(tree.step, 20)
    await tree.desk.advance(LEASE_MS)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.above() == ((120, 0, 0), (120, 0, 0))
    assert await tree.settle(lease, truth) == "CORRECTED"
    assert await tree.above() == ((20 + truth, 0, 0), (20 + truth, 0, 0))
    counters = (await tree.desk.outbox())[-1].counters
    assert counters[:4] == (field(allotment.id), 1, 0, truth - 100)
    if truth != 100:
        assert counters[6:8] == counters[10:12] == (0, truth - 100)
    await tree.recorded()


@pytest.mark.parametrize("closed", [False, True])
async def test_a_release_after_an_expiry_gives_the_charge_back(tree: Tree, closed: bool) -> None:
    """Before and after closing, to the scopes above as well."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 100)
    await tree.desk.advance(LEASE_MS)
    await tree.desk.ledger.sweep(tree.org)
    if closed:
        assert await tree.close(tree.run) == "CLOSED"
    assert await tree.desk.ledger.release(tree.org, lease.id, b"released") == "RELEASED"
    rest = 0 if closed else 300
    assert await tree.above() == ((0, 0, rest), (0, 0, rest))
    await tree.recorded()


async def test_an_adjustment_after_closing_goes_up_all_or_none(tree: Tree) -> None:
    """Where a scope above would fall below zero, nothing is booked anywhere."""
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 200)
    await tree.close(tree.run)
    adjust = tree.desk.administration.adjust
    deltas = [(field(allotment.id), 1, -50)]
    assert await adjust(tree.org, tree.desk.session.new_id(), deltas, b"{}") == "DONE"
    assert await tree.above() == ((150, 0, 0), (150, 0, 0))
    (team_field,) = [
        each for each, value in (await tree.desk.counters()).items() if each.startswith("c:2.")
    ]
    taken = [(team_field, 1, -149)]
    assert await adjust(tree.org, tree.desk.session.new_id(), taken, b"{}") == "DONE"
    before = await tree.desk.everything()
    assert await adjust(tree.org, tree.desk.session.new_id(), deltas, b"{}") == "NEGATIVE"
    assert await tree.desk.everything() == before
    await tree.recorded()


async def test_late_truth_never_makes_a_scope_above_negative(tree: Tree) -> None:
    """What a correction has taken there already is not taken twice; the event says what was."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 100)
    await tree.desk.advance(LEASE_MS)
    await tree.desk.ledger.sweep(tree.org)
    await tree.close(tree.run)
    adjust = tree.desk.administration.adjust
    assert await adjust(tree.org, tree.desk.session.new_id(), [("c:2.0:0", 1, -80)], b"") == "DONE"
    assert await tree.settle(lease, 10) == "CORRECTED"
    assert await tree.above() == ((10, 0, 0), (0, 0, 0))
    await tree.recorded()


async def test_an_inner_allotment_is_taken_from_the_outer_one_alone(tree: Tree) -> None:
    """Whose own bound must fit; the scopes above it have set it aside already."""
    outer = await tree.allot(tree.run, 300)
    inner = await tree.allot(tree.step, 200)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    counters = await tree.desk.counters()
    assert counters[field(outer.id)] == (0, 0, 200)
    answer = await tree.try_to_allot(f"{tree.run}/other", 101)
    assert answer.code == "HELD"  # type: ignore[union-attr]
    refused(await tree.desk.ask(dollars(101), tree.run), "HELD")
    await tree.spend(f"{tree.step}/deep", 150)
    assert (await tree.desk.counters())[field(inner.id)] == (150, 0, 0)
    assert (await tree.desk.counters())[field(outer.id)] == (0, 0, 200)
    await tree.spend(tree.run, 100)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))


async def test_another_dimension_is_taken_from_above_the_outer_one(timed: TimedDesk) -> None:
    """The nearest allotment is the nearest of that dimension."""
    tree = Tree(timed)
    await timed.set_budget(tree.org, [{"tokens": 1000}])
    await tree.allot(tree.team, 300)
    await tree.allot(tree.run, 200, "tokens")
    counters = await timed.counters()
    assert sorted(counters.values()) == [(0, 0, 200)]


async def test_spending_below_closed_allotments_reaches_the_top_once(tree: Tree) -> None:
    """Inner closed: the outer one has spent it. Outer closed: the scopes above have. Late truth of
    the inner one then goes all the way, in one script."""
    outer = await tree.allot(tree.run, 300)
    await tree.allot(tree.step, 200)
    lease = await tree.lease(tree.step, 100)
    await tree.desk.advance(LEASE_MS)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.close(tree.step) == "CLOSED"
    assert (await tree.desk.counters())[field(outer.id)] == (100, 0, 0)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.above() == ((100, 0, 0), (100, 0, 0))
    assert await tree.settle(lease, 350) == "CORRECTED"
    assert (await tree.desk.counters())[field(outer.id)] == (350, 0, 0)
    assert await tree.above() == ((350, 0, 0), (350, 0, 0))
    await tree.recorded()


async def test_an_inner_overrun_reaches_the_top_when_the_outer_one_has_spent_it(
    tree: Tree,
) -> None:
    """Until the inner one is closed it is the outer one's to bear; then its share above the outer
    amount is missing above."""
    outer = await tree.allot(tree.run, 300)
    await tree.allot(tree.step, 200)
    await tree.spend(tree.step, 200, truth=500)
    assert (await tree.desk.counters())[field(outer.id)] == (0, 0, 500)
    refused(await tree.desk.ask(dollars(1), tree.run), "HELD")
    assert await tree.close(tree.step) == "CLOSED"
    assert (await tree.desk.counters())[field(outer.id)] == (500, 0, 0)
    assert await tree.above() == ((0, 0, 500), (0, 0, 500))
    await tree.recorded()


async def test_it_stays_in_the_windows_of_its_opening(timed: TimedDesk) -> None:
    """Spent the day after, it is the day's in which it was moved; once that counter is compacted,
    late truth is an event only."""
    tree = Tree(timed)
    await timed.set_budget(tree.org, [{"usd": "0.000001000", "window": "day"}])
    await tree.allot(tree.team, 300, for_ms=9 * DAY_MS)
    ((day, value),) = (await timed.counters()).items()
    assert value == (0, 0, 300)
    await timed.advance(DAY_MS)
    lease = await tree.lease(tree.team, 300)
    await timed.advance(LEASE_MS)
    await timed.ledger.sweep(tree.org)
    recording = Recording(timed.session, "one")
    end_s = window_bounds("day", int(day.rpartition(":")[2]) * 1000)[1]
    assert await compacted(recording, timed, [(day, end_s, 0)]) == (0, [])
    assert await tree.close(tree.team) == "CLOSED"
    assert (await timed.counters())[day] == (300, 0, 0)
    assert await compacted(recording, timed, [(day, end_s, 300)]) == (1, [])
    ledger = timed.key("ledger")
    await timed.transport.command("HSET", ledger, "past", struct.pack("<2q", 1, 0))
    assert await tree.settle(lease, 40) == "CORRECTED"
    seq = (await timed.head()).seq
    past = await timed.transport.command("HGET", ledger, "past")
    assert past == struct.pack("<2q", seq, seq), "whoever fetches the counter finds this event"
    assert day not in await timed.counters()
    assert (await timed.outbox())[-1].counters[4:] == (day, 1, 0, -260)
    granted(await timed.ask(dollars(1000), tree.team))


async def test_amounts_at_the_upper_end_are_exact(timed: TimedDesk) -> None:
    """To the nano-dollar, where JSON's numbers in Lua have lost digits."""
    tree = Tree(timed)
    most = 8 * 10**15
    await timed.set_budget(tree.org, [{"usd": "8000000"}])
    allotment = await tree.allot(tree.team, most - 3)
    assert sorted((await timed.counters()).values()) == [(0, 0, most - 3)]
    assert (await timed.session.load([tree.team]))[tree.team].allotment == allotment.__class__(
        allotment.id,
        tree.team,
        {"usd": most - 3},
        allotment.expires_at_ms,
        "open",
        {"usd": ("c:1.0:0",)},
    )
    await tree.spend(tree.team, 9 * 10**13 + 1)
    await tree.close(tree.team)
    assert (await timed.counters())["c:1.0:0"] == (9 * 10**13 + 1, 0, 0)


async def test_an_unknown_truth_charges_the_allotment_as_reserved(tree: Tree) -> None:
    """As for any other limit."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.run, 70)
    await tree.desk.ledger.settle(tree.org, lease.id, Truth(None, None), b"", b"")
    assert await tree.standing(tree.run) == {"/team/run allotted": (70, 0, 0)}
    await tree.close(tree.run)
    assert await tree.above() == ((70, 0, 0), (70, 0, 0))


@pytest.mark.parametrize("truth", [0, 70, 130])
async def test_what_is_taken_in_after_its_allotment_was_closed_is_trued_up_once(
    tree: Tree, truth: int
) -> None:
    """A recovery may bring a reservation back whose allotment the records say is closed: its expiry
    goes up at once, and its truth replaces that, not more."""
    allotment = await tree.allot(tree.run, 300)
    await tree.close(tree.run)
    desk, id_ = tree.desk, tree.desk.session.new_id()
    slot = await desk.session.slot(tree.org)
    counters = msgspec.msgpack.encode([field(allotment.id), 1, 100, 0, ""])
    args = (id_, b"", b"request", counters)
    reply = await desk.session.run_in_epoch(
        slot, "adopt", slot.keys_done(id_), (LEASE_MS, 0, 100), args
    )
    assert reply[0] == b"ADOPTED"
    await desk.advance(LEASE_MS)
    assert await desk.ledger.sweep(tree.org) == [id_]
    assert await tree.above() == ((100, 0, 0), (100, 0, 0))
    settling = desk.ledger.settle(tree.org, id_, Truth(truth, 0), b"late", b"")
    assert await settling == "CORRECTED"
    assert await tree.above() == ((truth, 0, 0), (truth, 0, 0))
    await tree.recorded()


async def test_a_forgotten_allotment_is_not_adjusted(tree: Tree) -> None:
    """Nobody knows any more where it came from: half a correction would be worse than none."""
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 200)
    await tree.close(tree.run)
    await tree.desk.transport.command("HDEL", tree.desk.key("ledger"), "a:3")
    before = await tree.desk.everything()
    deltas = [(field(allotment.id), 1, -50)]
    adjusting = tree.desk.administration.adjust(tree.org, tree.desk.session.new_id(), deltas, b"{}")
    assert await adjusting == "UNKNOWN"
    assert await tree.desk.everything() == before
