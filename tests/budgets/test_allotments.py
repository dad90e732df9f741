"""Money is moved to a child: what that takes from the scopes above, and what it gives below."""

from typing import Any

import pytest

from budgets.allotments import AllotmentInvalid, AllotmentOpen
from budgets.plan import ScopePath
from budgets.policy import AMOUNT_MAX
from tests.budgets.allotting import Tree, declined
from tests.budgets.conftest import START_MS, MakeTimedDesk
from tests.budgets.harness import TimedDesk, dollars, granted, refused


@pytest.fixture
async def tree(timed: TimedDesk) -> Tree:
    """A tree at the test's time."""
    return await Tree(timed).planted()


async def test_an_opening_is_set_aside_in_every_limit_above(tree: Tree) -> None:
    """Nothing is spent by it; the child has it as a bound of its own."""
    allotment = await tree.allot(tree.run, 300)
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    assert await tree.standing(tree.run) == {"/team/run allotted": (0, 0, 0)}
    assert (allotment.id, allotment.amounts) == ("a3", {"usd": 300})
    opened = (await tree.desk.outbox())[-1]
    assert (opened.kind, opened.id, opened.counters) == ("allotment_opened", "a3", ())
    assert opened.seq == 3
    await tree.recorded()


async def test_the_child_spends_what_was_moved_and_not_more(tree: Tree) -> None:
    """To the nano-dollar, while the scopes above see only the amount."""
    await tree.allot(tree.run, 300)
    await tree.spend(tree.step, 200)
    refused(await tree.desk.ask(dollars(101), tree.step), "EXHAUSTED")
    reservation = await tree.lease(tree.step, 100)
    held = refused(await tree.desk.ask(dollars(1), tree.run), "HELD")
    assert held.bound is not None
    assert held.bound.scope == tree.run
    assert await tree.above() == ((0, 0, 300), (0, 0, 300))
    await tree.settle(reservation, 100)
    assert (await tree.standing(tree.step))["/team/run allotted"] == (300, 0, 0)
    await tree.recorded()


async def test_what_was_moved_is_taken_from_the_siblings(tree: Tree) -> None:
    """They are told that the rest is held, and that no time will free it."""
    await tree.allot(tree.run, 300)
    answer = refused(await tree.desk.ask(dollars(501), f"{tree.team}/other"), "HELD")
    assert (answer.scope, answer.allotted, answer.until_ms) == (tree.team, 300, 0)
    granted(await tree.desk.ask(dollars(500), f"{tree.team}/other"))


async def test_a_child_is_served_although_the_scopes_above_are_full(tree: Tree) -> None:
    """Its money was moved before."""
    await tree.allot(tree.run, 300)
    await tree.spend(tree.team, 500)
    refused(await tree.desk.ask(dollars(1), tree.team), "HELD")
    granted(await tree.desk.ask(dollars(300), tree.step))


@pytest.mark.parametrize(
    ("amount", "code", "where"),
    [(801, "TOO_LARGE", "team"), (701, "EXHAUSTED", "team"), (601, "HELD", "team")],
)
async def test_an_opening_that_does_not_fit_is_refused_as_a_request_is(
    tree: Tree, amount: int, code: str, where: str
) -> None:
    """With the limit that binds and what it has; nothing is written."""
    await tree.spend(tree.team, 100)
    await tree.lease(tree.team, 100)
    await tree.desk.session.load([tree.org, tree.team, tree.run])
    before = await tree.desk.everything()
    answer = await tree.try_to_allot(tree.run, amount)
    found = declined(answer, code)
    assert found.bound is not None
    assert found.scope == found.bound.scope == f"{tree.org}/{where}"
    assert (found.spent, found.reserved, found.allotted, found.asked) == (100, 100, 0, amount)
    assert found.until_ms == 0
    assert await tree.desk.everything() == before
    await tree.allot(tree.run, 600)


async def test_an_opening_is_all_or_none(tree: Tree) -> None:
    """Where the organisation refuses, the team has nothing set aside."""
    await tree.spend(tree.org, 500)
    answer = await tree.try_to_allot(tree.run, 501)
    assert declined(answer, "EXHAUSTED").scope == tree.org
    assert await tree.above() == ((500, 0, 0), (0, 0, 0))


async def test_what_was_exhausted_longest_is_named(timed: TimedDesk) -> None:
    """Of several windows that are full the one that resets last, with the time."""
    tree = Tree(timed)
    budgets = [{"usd": "0.000000100", "window": each} for each in ("hour", "week")]
    await timed.set_budget(tree.org, budgets)
    await tree.spend(tree.org, 60)
    answer = await tree.try_to_allot(tree.team, 50)
    found = declined(answer, "EXHAUSTED")
    assert found.bound is not None
    assert found.bound.limit.window == "week"
    assert found.until_ms == found.bound.resets_at_ms > START_MS


async def test_a_scope_has_one_open_allotment(tree: Tree) -> None:
    """A second one is refused until the first is closed, and then has an id of its own."""
    first = await tree.allot(tree.run, 300)
    with pytest.raises(AllotmentOpen, match="close that one first"):
        await tree.allot(tree.run, 1, "tokens")
    await tree.spend(tree.run, 100)
    assert await tree.close(tree.run) == "CLOSED"
    second = await tree.allot(tree.run, 200)
    assert first.id != second.id
    assert await tree.standing(tree.run) == {"/team/run allotted": (0, 0, 0)}
    assert await tree.above() == ((100, 0, 200), (100, 0, 200))


@pytest.mark.parametrize(
    ("amounts", "text"),
    [
        ({}, "name an amount"),
        ({"usd": 0}, "from 1"),
        ({"usd": -5}, "from 1"),
        ({"usd": AMOUNT_MAX + 1}, "from 1"),
        ({"tokens": True}, "from 1"),
        ({"requests": 5}, "cannot be moved"),
    ],
)
async def test_what_cannot_be_moved_is_refused(tree: Tree, amounts: object, text: str) -> None:
    """Before the ledger is asked."""
    with pytest.raises(AllotmentInvalid, match=text):
        await tree.desk.administration.allot(tree.run, amounts, START_MS + 1, b"{}")  # type: ignore[arg-type]


async def test_an_organisation_has_nobody_to_get_money_from(tree: Tree) -> None:
    """Nothing is above it."""
    with pytest.raises(AllotmentInvalid, match="organisation"):
        await tree.allot(tree.org, 1)


async def test_an_expiry_lies_ahead_of_the_ledgers_time(tree: Tree) -> None:
    """One that is over is refused, with the ledger's time."""
    with pytest.raises(AllotmentInvalid, match=str(START_MS)):
        await tree.allot(tree.run, 1, for_ms=0)
    await tree.allot(tree.run, 1, for_ms=1)


async def test_both_dimensions_are_moved_at_once_or_not_at_all(timed: TimedDesk) -> None:
    """Each in its own limits."""
    tree = Tree(timed)
    await timed.set_budget(tree.org, [{"usd": "0.000001000"}, {"tokens": 50}])
    allot = timed.administration.allot
    until_ms = START_MS + 1000
    answer = await allot(tree.team, {"usd": 10, "tokens": 51}, until_ms, b"{}")
    assert declined(answer, "TOO_LARGE").asked == 51
    assert await timed.counters() == {}
    await allot(tree.team, {"tokens": 50, "usd": 10}, until_ms, b"{}")
    assert sorted((await timed.counters()).values()) == [(0, 0, 10), (0, 0, 50)]


async def test_minutes_models_and_other_dimensions_stay_on_the_whole_path(
    timed: TimedDesk,
) -> None:
    """They are not raised, and what is below the child counts in them as before."""
    tree = Tree(timed)
    await timed.set_budget(
        tree.org,
        [
            {"usd": "0.000001000", "window": "minute"},
            {"usd": "0.000000900", "models": ["m"]},
            {"usd": "0.000000100", "window": "month"},
            {"requests": 9},
            {"tokens": 900},
        ],
    )
    allotment = await tree.allot(tree.team, 90)
    assert [each[2] for each in (await timed.counters()).values()] == [90]
    await tree.lease(tree.run, 50)
    checked = await timed.ledger.check(ScopePath(tree.run))
    found = [
        (each.bound.limit.dimension, each.bound.limit.window, each.reserved)
        for each in checked.standings
    ]
    assert found == [
        ("usd", "minute", 50),
        ("usd", "total", 50),
        ("requests", "total", 1),
        ("tokens", "total", 0),
        ("usd", "total", 50),
    ]
    assert checked.standings[-1].bound.allotment is not None
    assert checked.standings[-1].bound.allotment.id == allotment.id
    refused(await timed.ask(dollars(41), tree.run), "HELD")


@pytest.mark.parametrize("above", ["", "/team"])
async def test_freezing_above_binds_an_allotment(tree: Tree, above: str) -> None:
    """At the very next call; thawed, its money is there as before. Nothing is opened meanwhile."""
    await tree.allot(tree.run, 300)
    state = tree.desk.administration.set_state
    await state(tree.org + above, "freeze", "budget_changed", b"{}")
    refused(await tree.desk.ask(dollars(1), tree.step), "FROZEN")
    answer = await tree.try_to_allot(tree.step, 1)
    assert declined(answer, "FROZEN").scope == tree.org + above
    await state(tree.org + above, "thaw", "budget_changed", b"{}")
    granted(await tree.desk.ask(dollars(300), tree.step))


async def test_a_limit_that_is_set_later_above_does_not_bind(tree: Tree) -> None:
    """The money was moved before, and the new limit counts nothing of it, not even at the end."""
    await tree.allot(tree.run, 300)
    await tree.desk.set_budget(tree.team, [{"usd": "0.000000001"}, {"usd": "0.5", "window": "day"}])
    await tree.spend(tree.step, 300)
    refused(await tree.desk.ask(dollars(1), tree.team), "HELD")
    assert await tree.close(tree.run) == "CLOSED"
    counters = await tree.desk.counters()
    assert sorted(counters.values()) == [(300, 0, 0), (300, 0, 0), (300, 0, 0)]


async def test_the_limits_of_the_child_itself_bind_as_before(tree: Tree) -> None:
    """What is moved is what it may have at most, not what it may use."""
    await tree.desk.set_budget(tree.run, [{"usd": "0.000000050"}])
    await tree.allot(tree.run, 300)
    refused(await tree.desk.ask(dollars(51), tree.run), "TOO_LARGE")
    await tree.spend(tree.step, 50)
    found = {"/team/run": (50, 0, 0), "/team/run allotted": (50, 0, 0)}
    assert await tree.standing(tree.step) == found


async def test_a_template_above_holds_what_is_moved_to_a_grandchild(timed: TimedDesk) -> None:
    """Each child of it has a counter of its own, and the allotment is in the right one."""
    tree = Tree(timed)
    await timed.set_budget(tree.team, {"per_child": [{"usd": "0.000000100"}]})
    answer = await tree.try_to_allot(tree.step, 101)
    assert declined(answer, "TOO_LARGE").scope == tree.run
    await tree.allot(tree.step, 60)
    ((field, value),) = (await timed.counters()).items()
    assert (field.split(":")[2], value) == (tree.run, (0, 0, 60))
    refused(await timed.ask(dollars(41), tree.run), "HELD")


async def test_workers_with_cached_plans_follow_an_opening_and_a_closing(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """The version of the child's record says so: neither spends by the plan of before."""
    tree = await Tree(await make_timed_desk()).planted()
    other = await make_timed_desk()
    granted(await other.ask(dollars(10), tree.step))
    await tree.allot(tree.run, 300)
    refused(await other.ask(dollars(301), tree.step), "TOO_LARGE")
    assert await tree.above() == ((0, 10, 300), (0, 10, 300))
    assert await tree.close(tree.run) == "CLOSED"
    granted(await other.ask(dollars(700), tree.step))
    assert await tree.above() == ((0, 710, 0), (0, 710, 0))


async def test_an_act_that_is_repeated_opens_one(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transport sends a call again after a lost answer: it hears of the same allotment."""
    calls: list[Any] = []
    run = tree.desk.session.run

    def noted(*call: Any, **named: Any) -> Any:
        if named.get("durably"):
            calls.append(call)
        return run(*call, **named)

    monkeypatch.setattr(tree.desk.session, "run", noted)
    allotment = await tree.allot(tree.run, 300)
    before = await tree.desk.everything()
    assert await run(*calls[0]) == [b"OPENED", 3, allotment.id.encode()]
    assert await tree.desk.everything() == before
    await tree.close(tree.run)
    assert await run(*calls[0]) == [b"OPENED", 4, allotment.id.encode()]
    assert await tree.above() == ((0, 0, 0), (0, 0, 0))
    assert [script for script, *_ in calls] == ["allot", "reclaim"], "durable, each"
