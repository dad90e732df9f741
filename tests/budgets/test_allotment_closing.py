"""An allotment is closed: nothing new is admitted, what is open is awaited, and what was not spent
goes back to where it came from, once."""

import asyncio

import pytest

from budgets.answers import Truth
from budgets.ledger import LAPSED_AT_ONCE_MAX, LedgerOptions
from budgets.plan import ScopePath
from tests.budgets.allotting import Tree, declined
from tests.budgets.conftest import MakeTimedDesk
from tests.budgets.harness import TimedDesk, dollars, granted, refused

LEASE_MS = 60_000
LOOK_AGAIN_MS = 20_000  # both are lua/chunks/closing.lua's
CLOSED_AT_ONCE_MAX = 200


@pytest.fixture
async def tree(timed: TimedDesk) -> Tree:
    """A tree at the test's time."""
    return await Tree(timed).planted()


async def kinds(tree: Tree, after: int) -> list[str]:
    """The types of the events after a seq."""
    return [each.kind for each in (await tree.desk.outbox())[after:]]


async def test_what_was_not_spent_goes_back(tree: Tree) -> None:
    """Above, `allotted` falls and `spent` rises by what was spent; the event says so, and the child
    is an ordinary scope again."""
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 120)
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.above() == ((120, 0, 0), (120, 0, 0))
    closed = (await tree.desk.outbox())[-1]
    assert (closed.kind, closed.id, closed.event) == (
        "allotment_closed",
        allotment.id,
        b'{"scope":"closed"}',
    )
    assert closed.counters == ("c:2.0:0", 1, 0, 120, "c:1.0:0", 1, 0, 120)
    assert await tree.state(tree.run) == "open"
    granted(await tree.desk.ask(dollars(680), tree.step))
    assert await tree.standing(tree.run) == {"": (120, 680, 0), "/team": (120, 680, 0)}
    await tree.recorded()


async def test_an_overrun_is_what_it_cost(tree: Tree) -> None:
    """Closed, it costs what was spent, however much was moved."""
    await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 300, truth=700)
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.above() == ((700, 0, 0), (700, 0, 0))
    await tree.recorded()


async def test_nothing_is_closed_twice(tree: Tree) -> None:
    """Nor where there was nothing."""
    assert await tree.close(tree.run) == "NONE"
    await tree.allot(tree.run, 300)
    assert await tree.close(tree.run) == "CLOSED"
    before = await tree.desk.outbox()
    assert await tree.close(tree.run) == "NONE"
    assert await tree.desk.outbox() == before


@pytest.mark.parametrize("ending", ["settle", "release", "sweep"])
async def test_the_last_ending_finishes_a_closing(tree: Tree, ending: str) -> None:
    """Until then the money stays set aside and nothing new is admitted or opened below; the
    heartbeat goes on, because what is open is awaited."""
    await tree.allot(tree.run, 300)
    first, last = await tree.lease(tree.step, 100), await tree.lease(tree.run, 50)
    seq = (await tree.desk.head()).seq
    assert await tree.close(tree.run) == "CLOSING"
    assert await tree.close(tree.run) == "CLOSING"
    assert await kinds(tree, seq) == ["budget_changed"]
    assert await tree.state(tree.run) == "closing"
    assert refused(await tree.desk.ask(dollars(1), tree.step), "CLOSING").scope == tree.run
    declined(await tree.try_to_allot(tree.step, 1), "CLOSING")
    leases = [(each.id, each.path) for each in (first, last)]
    answers = await tree.desk.ledger.extend(tree.org, leases)
    assert list(answers.values()) == ["OK", "OK"]
    await tree.settle(first, 100)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    spent = 100
    if ending == "settle":
        assert await tree.settle(last, 20) == "SETTLED"
        spent += 20
    elif ending == "release":
        await tree.desk.ledger.release(tree.org, last.id, b"released")
    else:
        await tree.desk.advance(LEASE_MS)
        assert await tree.desk.ledger.sweep(tree.org) == [last.id]
        spent += 50
    assert await tree.above() == ((spent, 0, 0), (spent, 0, 0))
    assert (await kinds(tree, seq))[-1] == "allotment_closed"
    assert (await tree.desk.outbox())[-1].event == b'{"scope":"closed"}'
    assert await tree.state(tree.run) == "open"
    await tree.recorded()


async def test_a_lease_on_a_closing_path_is_cut_by_what_is_closed_for_good(tree: Tree) -> None:
    """A revoked key below a closing scope, and a frozen one above it."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 100)
    await tree.close(tree.run)
    state = tree.desk.administration.set_state
    extend = tree.desk.ledger.extend
    await state(tree.team, "freeze", "budget_changed", b"{}")
    assert await extend(tree.org, [(lease.id, lease.path)]) == {lease.id: "FROZEN"}
    await state(tree.team, "thaw", "budget_changed", b"{}")
    await state(tree.step, "close", "key_revoked", b"{}")
    assert await extend(tree.org, [(lease.id, lease.path)]) == {lease.id: "CLOSED"}


async def test_an_expired_allotment_is_closed_by_the_sweeper(tree: Tree) -> None:
    """By the ledger's clock, to the millisecond; its opening's event tells it."""
    await tree.allot(tree.run, 300, for_ms=5000)
    await tree.spend(tree.run, 100)
    await tree.desk.advance(4999)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    await tree.desk.advance(1)
    assert await tree.desk.ledger.sweep(tree.org) == []
    assert await tree.above() == ((100, 0, 0), (100, 0, 0))
    closed = (await tree.desk.outbox())[-1]
    assert (closed.kind, closed.event) == ("allotment_closed", b'{"scope":"opened"}')
    before = await tree.desk.outbox()
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.desk.outbox() == before


async def test_one_that_has_time_left_is_not_closed_with_one_that_has_not(tree: Tree) -> None:
    """To the millisecond."""
    await tree.allot(tree.run, 300, for_ms=5000)
    await tree.allot(f"{tree.team}/other", 200, for_ms=5001)
    await tree.desk.advance(5000)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.above() == ((0, 0, 200), (0, 0, 200))


async def test_an_expired_allotment_awaits_what_is_open(make_timed_desk: MakeTimedDesk) -> None:
    """Whoever ends last finishes it; both indexes are empty at rest."""
    tree = await Tree(await make_timed_desk(options=LedgerOptions(lease_ms=90_000))).planted()
    await tree.allot(tree.run, 300, for_ms=5000)
    lease = await tree.lease(tree.run, 100)
    await tree.desk.advance(5000)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.state(tree.run) == "closing"
    await tree.settle(lease, 100)
    assert await tree.above() == ((100, 0, 0), (100, 0, 0))
    await tree.desk.advance(LOOK_AGAIN_MS)
    await tree.desk.ledger.sweep(tree.org)
    for name in ("allotments", "allotments:expiry"):
        assert await tree.desk.transport.command("EXISTS", tree.desk.key(name)) == 0


async def test_many_expire_at_once(timed: TimedDesk) -> None:
    """More than are looked at in one call."""
    tree = Tree(timed)
    await timed.set_budget(tree.org, [{"usd": "0.000001000"}])
    count = LAPSED_AT_ONCE_MAX + 3
    for number in range(count):
        await tree.allot(f"{tree.org}/{number}", 2, for_ms=1000)
    assert (await timed.counters())["c:1.0:0"] == (0, 0, 2 * count)
    await timed.advance(1000)
    await timed.ledger.sweep(tree.org)
    assert await timed.counters() == {}
    assert await kinds(tree, 1 + count) == ["allotment_closed"] * count


async def test_what_is_allotted_below_is_closed_first(tree: Tree) -> None:
    """However deep; what was spent below reaches the top once."""
    await tree.allot(tree.run, 300)
    await tree.allot(tree.step, 200)
    await tree.allot(f"{tree.step}/deep", 100)
    await tree.allot(f"{tree.run}-beside", 50)
    for scope, nusd in ((f"{tree.step}/deep", 40), (tree.step, 20), (tree.run, 10)):
        await tree.spend(scope, nusd)
    seq = (await tree.desk.head()).seq
    assert await tree.close(tree.run) == "CLOSED"
    assert await kinds(tree, seq) == ["allotment_closed"] * 3
    assert await tree.above() == ((70, 0, 50), (70, 0, 50))
    assert await tree.state(tree.step) == "open"
    await tree.recorded()


async def test_more_below_than_are_closed_at_once_are_closed_by_the_sweeper(tree: Tree) -> None:
    """A few at a time, so that no script is long; the outer one is the last."""
    await tree.allot(tree.run, 300)
    count = CLOSED_AT_ONCE_MAX + 3
    for number in range(count):
        await tree.allot(f"{tree.run}/{number}", 1)
    assert await tree.close(tree.run) == "CLOSING"
    assert sum(each[2] for each in await tree.above()) == 600
    await tree.desk.advance(LOOK_AGAIN_MS - 1)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.state(tree.run) == "closing"
    await tree.desk.advance(1)
    await tree.desk.ledger.sweep(tree.org)
    assert await tree.above() == ((0, 0, 0), (0, 0, 0))
    assert await tree.state(tree.run) == "open"
    await tree.recorded()


async def test_an_outer_closing_waits_for_what_is_open_in_an_inner_one(tree: Tree) -> None:
    """Its last ending finishes both, from the inside out."""
    await tree.allot(tree.run, 300)
    await tree.allot(tree.step, 200)
    lease = await tree.lease(tree.step, 100)
    seq = (await tree.desk.head()).seq
    assert await tree.close(tree.run) == "CLOSING"
    assert await tree.state(tree.step) == "closing"
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    await tree.settle(lease, 250)
    assert await tree.above() == ((250, 0, 0), (250, 0, 0))
    expected = ["budget_changed", "budget_changed", "llm_response"]
    assert await kinds(tree, seq) == [*expected, "allotment_closed", "allotment_closed"]
    assert await tree.state(tree.step) == "open"
    await tree.recorded()


async def test_revoking_closes_the_allotment_and_the_scope_stays_closed(tree: Tree) -> None:
    """At once where nothing is open; those below go as well."""
    await tree.allot(tree.run, 300)
    await tree.allot(tree.step, 200)
    await tree.spend(tree.step, 30)
    await tree.desk.administration.set_state(tree.run, "close", "key_revoked", b"{}")
    assert await tree.above() == ((30, 0, 0), (30, 0, 0))
    assert await tree.state(tree.run) == "closed"
    refused(await tree.desk.ask(dollars(1), tree.run), "CLOSED")
    declined(await tree.try_to_allot(tree.run, 1), "CLOSED")
    await tree.recorded()


async def test_revoking_with_requests_open_gives_back_when_they_end(tree: Tree) -> None:
    """The scope is closed from the first moment, and after the last."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.step, 100)
    await tree.desk.administration.set_state(tree.run, "close", "key_revoked", b"{}")
    assert await tree.state(tree.run) == "closed"
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    await tree.settle(lease, 10)
    assert await tree.above() == ((10, 0, 0), (10, 0, 0))
    assert await tree.state(tree.run) == "closed"
    await tree.recorded()


async def test_closing_a_scope_without_one_closes_those_below(tree: Tree) -> None:
    """Nobody can spend them any more: what is left goes back now and not at their expiry."""
    await tree.allot(tree.step, 200)
    await tree.desk.administration.set_state(tree.run, "close", "workflow_halted", b"{}")
    assert await tree.above() == ((0, 0, 0), (0, 0, 0))


async def test_a_freeze_outlives_a_closing(tree: Tree) -> None:
    """Frozen before or meanwhile, it is frozen afterwards; a thaw meanwhile admits nothing."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.run, 100)
    state = tree.desk.administration.set_state
    await tree.close(tree.run)
    await state(tree.run, "freeze", "budget_changed", b"{}")
    assert await tree.state(tree.run) == "frozen"
    await state(tree.run, "thaw", "budget_changed", b"{}")
    refused(await tree.desk.ask(dollars(1), tree.run), "CLOSING")
    await state(tree.run, "freeze", "budget_changed", b"{}")
    await tree.settle(lease, 100)
    assert await tree.above() == ((100, 0, 0), (100, 0, 0))
    assert await tree.state(tree.run) == "frozen"
    await state(tree.run, "thaw", "budget_changed", b"{}")
    granted(await tree.desk.ask(dollars(1), tree.run))


async def test_a_frozen_scope_gives_back_what_it_has(tree: Tree) -> None:
    """Closing needs nobody's leave."""
    await tree.allot(tree.run, 300)
    state = tree.desk.administration.set_state
    await state(tree.run, "freeze", "budget_changed", b"{}")
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.state(tree.run) == "frozen"
    assert await tree.above() == ((0, 0, 0), (0, 0, 0))


async def test_a_budget_can_be_set_while_an_allotment_is_closing(tree: Tree) -> None:
    """The scope is there afterwards, too: it is not closed for good."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.run, 100)
    await tree.close(tree.run)
    await tree.desk.set_budget(tree.run, [{"usd": "0.000000007"}])
    assert await tree.state(tree.run) == "closing"
    await tree.settle(lease, 100)
    refused(await tree.desk.ask(dollars(8), tree.run), "TOO_LARGE")


async def test_a_request_that_is_repeated_while_closing_keeps_its_grant(tree: Tree) -> None:
    """The same id is answered as before; what it ends with is booked."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.run, 100)
    await tree.close(tree.run)
    again = granted(await tree.desk.ask(dollars(100), tree.run, id_=lease.id))
    assert again.seq == lease.seq
    await tree.settle(lease, 1)
    assert await tree.above() == ((1, 0, 0), (1, 0, 0))


async def test_what_held_nothing_of_it_may_end_after_it(tree: Tree) -> None:
    """A request that asked for no money is not waited for; what it cost goes up all the same."""
    await tree.allot(tree.run, 300)
    lease = await tree.lease(tree.run, 0)
    assert await tree.close(tree.run) == "CLOSED"
    assert await tree.settle(lease, 9) == "SETTLED"
    assert await tree.above() == ((9, 0, 0), (9, 0, 0))
    await tree.recorded()


async def test_what_was_reserved_before_the_opening_stays_where_it_is(tree: Tree) -> None:
    """It is neither moved nor waited for."""
    lease = await tree.lease(tree.run, 100)
    await tree.allot(tree.run, 300)
    assert await tree.above() == ((0, 100, 300), (0, 100, 300))
    assert await tree.close(tree.run) == "CLOSED"
    await tree.settle(lease, 60)
    assert await tree.above() == ((60, 0, 0), (60, 0, 0))
    await tree.recorded()


async def test_endings_and_a_closing_at_once_conserve_the_money(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """Many workers, in whatever order the server takes them."""
    tree = await Tree(await make_timed_desk()).planted()
    others = [await make_timed_desk() for _ in range(3)]
    for _ in range(5):
        before = (await tree.above())[0][0]
        await tree.allot(tree.run, 100)
        await tree.allot(tree.step, 60)
        leases = [await tree.lease(scope, 10) for scope in (tree.run, tree.step) for _ in "1234"]
        endings = [
            others[number % 3].ledger.settle(tree.org, each.id, Truth(number, 0), b"", b"")
            for number, each in enumerate(leases)
        ]
        closing = others[0].administration.close_allotment(tree.run, b"{}")
        await asyncio.gather(*endings[:4], closing, *endings[4:])
        spent = before + sum(range(len(leases)))
        assert await tree.above() == ((spent, 0, 0), (spent, 0, 0))
    await tree.recorded()


async def test_a_key_beside_its_scope_pays_from_its_own_allotment(tree: Tree) -> None:
    """Above the key's own scope its money was moved already; the scope that it names has limits of
    its own, and they bind."""
    key_scope = f"{tree.team}/key-1"
    await tree.allot(key_scope, 300)
    await tree.desk.set_budget(tree.run, [{"usd": "0.000000100"}])
    path = ScopePath(tree.run, key_scope)
    lease = granted(await tree.desk.ask(dollars(90), path=path))
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    refused(await tree.desk.ask(dollars(11), path=path), "HELD")
    await tree.settle(lease, 90)
    await tree.close(key_scope)
    assert await tree.above() == ((90, 0, 0), (90, 0, 0))
