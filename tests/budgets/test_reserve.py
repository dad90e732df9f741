"""What reserve answers, clause by clause: states, then limits, in the contract's order."""

import pytest

from budgets.answers import Ask, Refusal, Truth
from budgets.plan import ScopePath
from tests.budgets.conftest import START_MS, MakeDesk, MakeTimedDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted, refused

MINUTE_ENDS_MS = START_MS + 50_000  # also the day's, the month's; the week goes on to Sunday
WEEK_ENDS_MS = MINUTE_ENDS_MS + 5 * 86_400_000


async def state(desk: Desk, scope: str, action: str, attempt: int = 0) -> None:
    """Changes the state of a scope."""
    done = await desk.administration.set_state(scope, action, action, b"", attempt=attempt)
    assert done == "DONE"


async def spend(desk: Desk, nusd: int) -> None:
    """Spends this much of the organisation's own budget."""
    reservation = granted(await desk.ask(dollars(nusd)))
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(nusd, 0), b"", b"")


@pytest.mark.parametrize(
    ("action", "code"), [("freeze", "FROZEN"), ("close", "CLOSED"), ("fence", "FENCED")]
)
@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_state_refuses_before_any_limit(
    desk: Desk, action: str, code: str, depth: int
) -> None:
    """The state of any ancestor is answered before what no limit would let through, and named."""
    org = desk.organisation
    scope = "/".join((org, "team", "run")[:depth])
    await desk.set_budget(org, [{"usd": "0.000000001"}])
    await state(desk, scope, action, attempt=3)
    answer = refused(await desk.ask(dollars(10), f"{org}/team/run"), code)
    assert answer.scope == scope
    assert answer.bound is None


async def test_states_are_answered_top_down(desk: Desk) -> None:
    """Where two ancestors refuse, the upper one is named: it is what has to change first."""
    org = desk.organisation
    await state(desk, f"{org}/team", "freeze")
    await state(desk, f"{org}/team/run", "close")
    assert refused(await desk.ask(dollars(1), f"{org}/team/run"), "FROZEN").scope == f"{org}/team"
    await state(desk, f"{org}/team", "thaw")
    answer = refused(await desk.ask(dollars(1), f"{org}/team/run"), "CLOSED")
    assert answer.scope == f"{org}/team/run"


async def test_a_state_counts_at_the_next_call_of_every_worker(
    desk: Desk, make_desk: MakeDesk
) -> None:
    """A worker that has everything cached is refused at its very next call, and let in at the
    next after the thaw."""
    other = await make_desk()
    scope = f"{desk.organisation}/team"
    granted(await other.ask(dollars(1), scope))
    await state(desk, desk.organisation, "freeze")
    refused(await other.ask(dollars(1), scope), "FROZEN")
    await state(desk, desk.organisation, "thaw")
    granted(await other.ask(dollars(1), scope))
    await state(desk, scope, "close")
    refused(await other.ask(dollars(1), scope), "CLOSED")


async def test_a_fence_admits_its_attempt_and_later_ones(desk: Desk) -> None:
    """Each fence is compared with the attempt for its own scope; none given is attempt zero."""
    step = f"{desk.organisation}/run/step"
    await state(desk, step, "fence", attempt=2)
    for attempts, code in (
        ((), "FENCED"),
        (((step, 1),), "FENCED"),
        (((f"{desk.organisation}/run", 9),), "FENCED"),
    ):
        refused(await desk.ask(dollars(1), path=ScopePath(step, "", attempts)), code)
    for attempt in (2, 3):
        granted(await desk.ask(dollars(1), path=ScopePath(step, "", ((step, attempt),))))


async def test_a_key_beside_the_path_counts(desk: Desk) -> None:
    """A key's own scope is checked besides the path that the request names: state and limits."""
    org = desk.organisation
    key = f"{org}/team/key-1"
    await desk.set_budget(key, [{"requests": 1}])
    path = ScopePath(f"{org}/team/run-1", key)
    first = granted(await desk.ask(dollars(0), path=path))
    other = ScopePath(f"{org}/team/run-2", key)
    assert refused(await desk.ask(dollars(0), path=other), "HELD").scope == key
    await desk.ledger.release(org, first.id, b"")
    await state(desk, key, "close")
    assert refused(await desk.ask(dollars(0), path=other), "CLOSED").scope == key


async def test_the_order_of_the_limits_answers(timed: TimedDesk) -> None:
    """TOO_LARGE before EXHAUSTED before HELD, whatever the order of the limits."""
    org = timed.organisation
    await timed.set_budget(org, [{"requests": 1}])  # will be HELD
    await timed.set_budget(f"{org}/a", [{"usd": "0.000000100"}])  # will be EXHAUSTED
    spent = granted(await timed.ask(dollars(60), f"{org}/a"))
    await timed.ledger.settle(org, spent.id, Truth(60, 0), b"", b"")
    await timed.set_budget(org, [{"requests": 1, "models": ["m"]}])  # from here on
    granted(await timed.ask(dollars(10), f"{org}/a"))
    assert refused(await timed.ask(dollars(10), f"{org}/a"), "HELD").scope == org
    exhausted = refused(await timed.ask(dollars(50), f"{org}/a"), "EXHAUSTED")
    assert (exhausted.scope, exhausted.spent, exhausted.reserved) == (f"{org}/a", 60, 10)
    assert exhausted.asked == 50
    assert refused(await timed.ask(dollars(101), f"{org}/a"), "TOO_LARGE").scope == f"{org}/a"


async def test_too_large_names_what_would_fit_every_limit(desk: Desk) -> None:
    """TOO_LARGE carries the largest output that no limit of the path forbids by itself."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000001000"}, {"tokens": 700}])
    await desk.set_budget(f"{org}/a", [{"usd": "0.000000800"}])
    asked = Ask(300, 2000, 100, 1, 4000, 2000)  # 300 + 2 for each token; 100 + 1 for each token
    answer = refused(await desk.ask(asked, f"{org}/a"), "TOO_LARGE")
    assert answer.fits_output == 250
    fitting = Ask(300, 2000, 100, 1, 250, 250)
    assert granted(await desk.ask(fitting, f"{org}/a")).output_tokens == 250


async def test_too_large_by_the_input_alone_fits_nothing(desk: Desk) -> None:
    """Where the input alone is above a limit, no output fits; also where output is free."""
    await desk.set_budget(desk.organisation, [{"usd": "0.000000100"}])
    for asked in (dollars(101, 50, 10), dollars(101, 50, 10, per_nusd=0)):
        assert refused(await desk.ask(asked), "TOO_LARGE").fits_output == 0


async def test_too_large_is_judged_by_the_least_form(desk: Desk) -> None:
    """A request whose full form is too large is granted its least form, not refused."""
    await desk.set_budget(desk.organisation, [{"usd": "0.000000100"}])
    assert granted(await desk.ask(dollars(40, 1000, 60))).output_tokens == 60
    refused(await desk.ask(dollars(40, 1000, 61)), "TOO_LARGE")


async def test_exhausted_names_the_latest_reset(timed: TimedDesk) -> None:
    """With several limits exhausted, waiting for the first reset would not help."""
    org = timed.organisation
    day, week = {"usd": "0.000000100", "window": "day"}, {"usd": "0.000000100", "window": "week"}
    await timed.set_budget(org, [{**day, "window": "minute"}, week, day])
    await spend(timed, 100)
    answer = refused(await timed.ask(dollars(1)), "EXHAUSTED")
    assert answer.until_ms == WEEK_ENDS_MS
    assert answer.bound is not None
    assert answer.bound.limit.window == "week"
    await timed.set_time(WEEK_ENDS_MS - 1)
    refused(await timed.ask(dollars(1)), "EXHAUSTED")
    await timed.set_time(WEEK_ENDS_MS)
    granted(await timed.ask(dollars(1)))


async def test_exhausted_of_a_total_never_resets(timed: TimedDesk) -> None:
    """A total that is spent answers no time at all, also beside a window that ends."""
    limits = [{"usd": "0.000000100", "window": "minute"}, {"usd": "0.000000100"}]
    await timed.set_budget(timed.organisation, limits)
    await spend(timed, 100)
    assert refused(await timed.ask(dollars(1)), "EXHAUSTED").until_ms == 0


async def test_exhausted_only_if_all_in_flight_would_not_help(timed: TimedDesk) -> None:
    """Reserved money may come back: HELD. Spent money does not: EXHAUSTED."""
    await timed.set_budget(timed.organisation, [{"usd": "0.000000100"}])
    await spend(timed, 40)
    granted(await timed.ask(dollars(60)))
    refused(await timed.ask(dollars(60)), "HELD")
    refused(await timed.ask(dollars(61)), "EXHAUSTED")


async def test_held_until_the_earliest_expiry_that_frees_enough(timed: TimedDesk) -> None:
    """HELD's time is the expiry of the lease that completes the room, by expiry, not by age."""
    org, lease_ms = timed.organisation, timed.ledger.options.lease_ms
    await timed.set_budget(org, [{"usd": "0.000000100"}])
    oldest = granted(await timed.ask(dollars(30)))
    await timed.advance(1000)
    granted(await timed.ask(dollars(30)))
    await timed.advance(1000)
    granted(await timed.ask(dollars(40)))
    for asked, after_ms in ((30, 0), (31, 1000), (60, 1000), (61, 2000), (100, 2000)):
        answer = refused(await timed.ask(dollars(asked)), "HELD")
        assert answer.until_ms == START_MS + after_ms + lease_ms
    await timed.ledger.extend(org, [(oldest.id, oldest.path)])  # lives as long as the youngest now
    assert refused(await timed.ask(dollars(30)), "HELD").until_ms == START_MS + 1000 + lease_ms
    assert refused(await timed.ask(dollars(31)), "HELD").until_ms == START_MS + 2000 + lease_ms


async def test_held_by_two_limits_waits_for_the_later(timed: TimedDesk) -> None:
    """The time is that of the limit that stays in the way longest."""
    org, lease_ms = timed.organisation, timed.ledger.options.lease_ms
    await timed.set_budget(org, [{"requests": 2}])
    await timed.set_budget(f"{org}/a", [{"usd": "0.000000100"}])
    granted(await timed.ask(dollars(0), f"{org}/b"))
    await timed.advance(5000)
    granted(await timed.ask(dollars(100), f"{org}/a"))
    answer = refused(await timed.ask(dollars(1), f"{org}/a"), "HELD")
    assert (answer.scope, answer.until_ms) == (f"{org}/a", START_MS + 5000 + lease_ms)


async def test_concurrency_holds_and_never_exhausts(desk: Desk) -> None:
    """Requests in flight are held while others run, and let in as they end, for ever."""
    org = desk.organisation
    await desk.set_budget(org, [{"concurrency": 2}])
    for _ in range(3):
        first, second = [granted(await desk.ask(dollars(5))) for _ in range(2)]
        refused(await desk.ask(dollars(5)), "HELD")
        await desk.ledger.settle(org, first.id, Truth(5, 0), b"", b"")
        await desk.ledger.release(org, second.id, b"")
    assert await desk.counters() == {}


async def test_a_limit_with_models_counts_only_them(desk: Desk) -> None:
    """Patterns restrict a limit to the models that they match; the others pass it by."""
    await desk.set_budget(desk.organisation, [{"requests": 1, "models": ["gpt-5*", "o?"]}])
    for model in ("gpt-4", "gpt-4", "o10", "GPT-5"):
        granted(await desk.ask(dollars(1), model=model))
    granted(await desk.ask(dollars(1), model="gpt-5-mini"))
    refused(await desk.ask(dollars(1), model="o3"), "HELD")


async def test_children_without_limits_are_checked_against_the_template_as_it_is(
    desk: Desk,
) -> None:
    """A template binds each direct child for itself, changes for all of them at once, and leaves
    alone who has limits of its own and what is deeper."""
    org = desk.organisation
    template = {"limits": [], "per_child": [{"requests": 1}]}
    await desk.set_budget(f"{org}/app", template)
    await desk.set_budget(f"{org}/app/vip", [{"requests": 3}])
    for scope in ("ann", "bob", "ann/deep"):
        code = "HELD" if scope == "ann/deep" else "GRANTED"
        answer = await desk.ask(dollars(1), f"{org}/app/{scope}")
        assert (answer.code if isinstance(answer, Refusal) else "GRANTED") == code
    assert refused(await desk.ask(dollars(1), f"{org}/app/ann"), "HELD").scope == f"{org}/app/ann"
    for _ in range(3):
        granted(await desk.ask(dollars(1), f"{org}/app/vip"))
    await desk.set_budget(f"{org}/app", {**template, "per_child": [{"requests": 2}]})
    for scope in ("ann", "bob"):
        granted(await desk.ask(dollars(1), f"{org}/app/{scope}"))
        refused(await desk.ask(dollars(1), f"{org}/app/{scope}"), "HELD")


async def test_a_changed_amount_keeps_the_counter_and_a_new_limit_starts_at_zero(
    desk: Desk,
) -> None:
    """What identifies a limit is everything but its amount: so a removed one that comes back
    counts from its creation."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000000100"}])
    await spend(desk, 90)
    await desk.set_budget(org, [{"usd": "0.000000095"}])
    refused(await desk.ask(dollars(6)), "EXHAUSTED")
    granted(await desk.ask(dollars(5)))
    await desk.set_budget(org, [])
    granted(await desk.ask(dollars(10**9)))
    await desk.set_budget(org, [{"usd": "0.000000100"}])
    granted(await desk.ask(dollars(100)))


async def test_sixteen_segments_bind_together(desk: Desk) -> None:
    """The deepest path there is: all or none, and the scope in the way is the one named."""
    scopes = ["/".join([desk.organisation, *(f"s{n}" for n in range(1, d + 1))]) for d in range(16)]
    for depth, scope in enumerate(scopes):
        await desk.set_budget(scope, [{"usd": "0.000001000"}, {"requests": 5 if depth else 3}])
    for _ in range(3):
        granted(await desk.ask(dollars(100), scopes[-1]))
    before = await desk.everything()
    assert refused(await desk.ask(dollars(100), scopes[-1]), "HELD").scope == scopes[0]
    assert await desk.everything() == before


async def test_refusals_write_nothing(make_timed_desk: MakeTimedDesk) -> None:
    """Whatever the refusal, not a byte of the organisation changes."""
    desk = await make_timed_desk()
    org = desk.organisation
    limits = [{"usd": "0.000000100", "window": "day"}, {"requests": 2}]
    await desk.set_budget(org, {"limits": limits, "on_exceed": "refuse"})
    await spend(desk, 50)
    granted(await desk.ask(dollars(40), f"{org}/a"))
    await state(desk, f"{org}/frozen", "freeze")
    before = await desk.everything()
    await desk.advance(1000)
    for asked, scope, code in (
        (101, "a", "TOO_LARGE"),
        (60, "a", "EXHAUSTED"),
        (11, "a", "HELD"),
        (1, "frozen", "FROZEN"),
    ):
        refused(await desk.ask(dollars(asked), f"{org}/{scope}"), code)
    assert await desk.everything() == before
