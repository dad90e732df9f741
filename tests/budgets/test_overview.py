"""The operator's view: complete, in order, in pages, and what a request is judged by."""

import msgspec
import pytest

from budgets.duration import DURATION_MS_MAX, duration_ms
from budgets.keys import Key
from budgets.overview import SCOPES_AT_ONCE_MAX, Overview
from budgets.plan import ScopePath
from budgets.session import OrganisationUnknown
from tests.budgets.allotting import Tree
from tests.budgets.harness import Desk, TimedDesk, dollars, granted

MANY = 2_500  # more than one step of a scan


async def test_pages_of_a_long_list_are_complete_and_in_order(desk: Desk) -> None:
    """Every key once, whatever the order in which the server scans."""
    records: list[bytes] = []
    for n in range(MANY):
        key = Key(f"key-{n:05d}", "k", f"{desk.organisation}/{'ab'[n % 2]}", 1)
        records += [key.id.encode(), msgspec.json.encode(key)]
    await desk.transport.command("HSET", desk.key("keys"), *records)
    overview, found, after = Overview(desk.session), list[str](), ""
    while page := await overview.keys(desk.organisation, after=after, limit=700):
        assert len(page) <= 700
        found += [key.id for key in page]
        after = found[-1]
    assert found == [f"key-{n:05d}" for n in range(MANY)]
    below = f"{desk.organisation}/b"
    some = await overview.keys(desk.organisation, below=below, limit=3)
    assert [key.id for key in some] == ["key-00001", "key-00003", "key-00005"]


async def test_standings_are_those_of_a_check(timed: TimedDesk) -> None:
    """Own limits and a template's, in every window, after spending, before and after the window
    ends: as the check of a path has them."""
    org, overview = timed.organisation, Overview(timed.session)
    await timed.set_budget(org, [{"usd": "1", "window": "minute"}, {"usd": "2", "window": "month"}])
    await timed.set_budget(f"{org}/u", {"per_child": [{"requests": 5, "window": "day"}]})
    path = ScopePath(f"{org}/u/ann")
    scopes = [org, f"{org}/u", f"{org}/u/ann"]
    for _ in range(3):
        granted(await timed.ask(dollars(7), path=path))
        checked = await timed.ledger.check(path)
        shown = await overview.standings(org, scopes)
        assert [each.scope for each in shown] == scopes
        for each in shown:
            own = tuple(one for one in checked.standings if one.bound.scope == each.scope)
            assert each.standings == own
        assert [len(each.standings) for each in shown] == [2, 0, 1]
        await timed.advance(60_000)


async def test_standings_have_what_is_allotted(timed: TimedDesk) -> None:
    """To the scope itself, as a bound of its own, and away from the limits above it."""
    tree = await Tree(timed).planted()
    allotment = await tree.allot(tree.run, 300)
    await tree.spend(tree.run, 120)
    team, run = await Overview(timed.session).standings(tree.org, [tree.team, tree.run])
    assert [(each.allotted, each.free) for each in team.standings] == [(300, 500)]
    (own,) = run.standings
    assert own.bound.allotment is not None
    assert (own.bound.allotment.id, own.spent, own.free) == (allotment.id, 120, 180)
    assert run.standings == (await timed.ledger.check(ScopePath(tree.run))).standings
    await tree.close(tree.run)
    (run,) = await Overview(timed.session).standings(tree.org, [tree.run])
    assert run.standings == ()


async def test_standings_follow_states_and_other_workers(desk: Desk) -> None:
    """A policy that was changed elsewhere, a freeze, a closing, a scope that nobody has used."""
    org, overview = desk.organisation, Overview(desk.session)
    scopes = [f"{org}/{name}" for name in ("open", "frozen", "closed", "never")]
    assert [each.state for each in await overview.standings(org, scopes)] == ["unknown"] * 4
    for scope in scopes[:3]:
        await desk.set_budget(scope, [{"requests": 1}])
    await desk.administration.set_state(scopes[1], "freeze", "budget_changed", b"")
    await desk.administration.set_state(scopes[2], "close", "workflow_halted", b"")
    shown = await overview.standings(org, scopes)
    assert [each.state for each in shown] == ["open", "frozen", "closed", "unknown"]
    assert [len(each.standings) for each in shown] == [1, 1, 1, 0]
    states = await overview.states(org, scopes)
    assert list(states.values()) == ["open", "frozen", "closed", "unknown"]


async def test_as_many_scopes_as_may_be_fit_into_one_question(desk: Desk) -> None:
    """With as many limits each as a scope may have: the script takes the arguments."""
    org = desk.organisation
    windows = ("total", "minute", "hour", "day", "week", "month")
    limits = [{name: 1, "window": each} for name in ("tokens", "requests") for each in windows]
    scopes = [f"{org}/{n:03d}" for n in range(SCOPES_AT_ONCE_MAX)]
    for scope in scopes:
        await desk.set_budget(scope, limits)
    overview = Overview(desk.session)
    assert await overview.budgets(org, limit=1_000) == scopes
    shown = await overview.standings(org, scopes)
    assert sum(len(each.standings) for each in shown) == 12 * SCOPES_AT_ONCE_MAX


async def test_looking_writes_nothing(desk: Desk) -> None:
    """Whatever is asked."""
    org, overview = desk.organisation, Overview(desk.session)
    await desk.set_budget(f"{org}/a/b", [{"requests": 1}])
    before = await desk.everything()
    await overview.standings(org, [f"{org}/a/b", f"{org}/a", f"{org}/never"])
    await overview.keys(org, limit=10)
    await overview.budgets(org, limit=10)
    await overview.head(org)
    await overview.waiting(org)
    assert await desk.everything() == before
    with pytest.raises(OrganisationUnknown):
        await overview.budgets("nobody-has-this", limit=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("30d", 2_592_000_000), ("12h", 43_200_000), ("10m", 600_000), ("45s", 45_000)),
        *(("500ms", 500), ("0s", 0), ("36500d", DURATION_MS_MAX), ("36501d", None)),
        *(("", None), ("5", None), ("-1s", None), ("1.5h", None), ("01s", None), ("1 d", None)),
        *(("9999999999s", None), ("1d\n", None)),
    ],
)
def test_durations(text: str, expected: int | None) -> None:
    """One reading for file and API."""
    assert duration_ms(text) == expected
