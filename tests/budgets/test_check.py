"""The state of a path for calls that never reserve, and for operators."""

import pytest

from budgets.answers import Truth
from budgets.plan import ScopePath
from tests.budgets.conftest import START_MS, MakeDesk, MakeTimedDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted


async def test_an_open_path_with_its_limits(timed: TimedDesk) -> None:
    """Every limit of the path with what it has, where it stands, and when it resets."""
    org = timed.organisation
    await timed.set_budget(org, [{"usd": "0.000001000", "window": "minute"}])
    await timed.set_budget(f"{org}/a", {"limits": [], "per_child": [{"requests": 5}]})
    first = granted(await timed.ask(dollars(100), f"{org}/a/b"))
    await timed.ledger.settle(org, first.id, Truth(70, 0), b"", b"")
    granted(await timed.ask(dollars(200), f"{org}/a/b"))
    checked = await timed.ledger.check(ScopePath(f"{org}/a/b"))
    assert checked.refusal is None
    assert checked.time_ms == START_MS
    assert checked.states == ((org, "open"), (f"{org}/a", "open"), (f"{org}/a/b", "open"))
    found = [
        (each.bound.scope, each.bound.resets_at_ms, each.spent, each.reserved, each.free)
        for each in checked.standings
    ]
    assert found == [(org, START_MS + 50_000, 70, 200, 730), (f"{org}/a/b", 0, 1, 1, 3)]


async def test_a_check_changes_no_counter_and_writes_no_event(desk: Desk) -> None:
    """Asking is free."""
    await desk.set_budget(desk.organisation, [{"requests": 1}])
    await desk.ledger.check(ScopePath(desk.organisation))
    before = await desk.everything()
    for _ in range(3):
        await desk.ledger.check(ScopePath(desk.organisation))
    assert await desk.everything() == before


async def test_free_is_negative_after_an_overrun(desk: Desk) -> None:
    """What is owed is told."""
    await desk.set_budget(desk.organisation, [{"usd": "0.000000100"}])
    reservation = granted(await desk.ask(dollars(100)))
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(150, 0), b"", b"")
    (standing,) = (await desk.ledger.check(ScopePath(desk.organisation))).standings
    assert standing.free == -50


@pytest.mark.parametrize(
    ("action", "code", "word"),
    [("freeze", "FROZEN", "frozen"), ("close", "CLOSED", "closed"), ("fence", "FENCED", "open")],
)
async def test_a_state_counts_at_the_next_check(
    desk: Desk, make_desk: MakeDesk, action: str, code: str, word: str
) -> None:
    """`/v1/models` of a revoked key is refused like a request, whatever a worker has cached."""
    other = await make_desk()
    org = desk.organisation
    path = ScopePath(f"{org}/a")
    assert (await other.ledger.check(path)).refusal is None
    await desk.administration.set_state(org, action, action, b"", attempt=1)
    checked = await other.ledger.check(path)
    assert checked.refusal is not None
    assert (checked.refusal.code, checked.refusal.scope) == (code, org)
    assert checked.states == ((org, word), (f"{org}/a", "open"))


@pytest.mark.parametrize("cached_when", ["open", "frozen"])
async def test_the_limits_of_a_frozen_scope_are_those_that_it_has_now(
    desk: Desk, make_desk: MakeDesk, cached_when: str
) -> None:
    """Who freezes a scope, changes its budget and looks before thawing it sees the new budget, on
    every worker."""
    other = await make_desk()
    org = desk.organisation
    await desk.set_budget(org, [{"requests": 1}])
    if cached_when == "open":
        await other.ledger.check(ScopePath(org))
    await desk.administration.set_state(org, "freeze", "freeze", b"")
    await other.ledger.check(ScopePath(org))
    await desk.set_budget(org, [{"requests": 7}])
    checked = await other.ledger.check(ScopePath(org))
    assert checked.refusal is not None
    assert [each.bound.limit.amount for each in checked.standings] == [7]


async def test_a_worker_with_a_wrong_clock_sees_the_ledgers_window(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """Counters are those of the window that holds the ledger's time."""
    desk = await make_timed_desk(skew_ms=-200_000)
    await desk.set_budget(desk.organisation, [{"requests": 5, "window": "minute"}])
    granted(await desk.ask(dollars(1)))
    for at_ms, used in ((START_MS, 1), (START_MS + 49_999, 1), (START_MS + 50_000, 0)):
        await desk.set_time(at_ms)
        (standing,) = (await desk.ledger.check(ScopePath(desk.organisation))).standings
        assert standing.reserved == used
        assert desk.ledger.time_ms(desk.organisation) == at_ms


async def test_one_model_sees_its_limits_only(desk: Desk) -> None:
    """With a model, the limits that bind it; without, all of them."""
    org = desk.organisation
    await desk.set_budget(org, [{"requests": 5}, {"requests": 2, "models": ["big*"]}])
    for model, amounts in (("small", [5]), ("big-1", [5, 2]), (None, [5, 2])):
        checked = await desk.ledger.check(ScopePath(org), model)
        assert [each.bound.limit.amount for each in checked.standings] == amounts
