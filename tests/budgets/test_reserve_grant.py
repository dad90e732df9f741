"""How much output a grant allows: clamping, the share of what is free, exact amounts, and no more
grants than a budget is worth, whoever asks at once."""

import asyncio

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from budgets.answers import Ask, Reservation, Truth
from budgets.plan import Plan, ScopePath
from budgets.policy import AMOUNT_MAX
from tests.budgets.conftest import LoneGrants, MakeDesk
from tests.budgets.contract import asked as amount_of
from tests.budgets.harness import Desk, dollars, granted, recorded, refused

PRODUCT_MAX = 9 * 10**15


async def test_a_lone_request_is_clamped_to_what_fits_every_limit(desk: Desk) -> None:
    """With nothing else open, the output is the largest that the tightest limit holds."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000001000"}, {"tokens": 600}])
    await desk.set_budget(f"{org}/a", [{"usd": "0.000000900"}])
    grant = granted(await desk.ask(Ask(100, 1000, 50, 1, 64_000, 10), f"{org}/a"))
    assert grant.output_tokens == 550
    assert (grant.reserved_nusd, grant.reserved_tokens) == (650, 600)
    assert (grant.usd, grant.tokens) != (None, None)
    assert grant.usd is not None
    assert (grant.usd.bound.scope, grant.usd.amount) == (f"{org}/a", 250)
    assert grant.requests is None


async def test_while_others_are_open_a_grant_takes_a_share_of_what_is_free(desk: Desk) -> None:
    """Input and output together take at most a quarter of the free amount, so that siblings that
    send no cap do not starve each other; it is never less than the least form."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000010000"}])
    first = granted(await desk.ask(dollars(100, 1900, 10)))
    assert first.output_tokens == 1900
    second = granted(await desk.ask(dollars(100, 64_000, 10)))  # 8000 free
    assert second.output_tokens == 1900
    third = granted(await desk.ask(dollars(100, 64_000, 1500)))  # 6000 free: a quarter is 1500
    assert third.output_tokens == 1500
    fourth = granted(await desk.ask(dollars(4000, 64_000, 10)))  # 4400 free: less than the input
    assert fourth.output_tokens == 10
    for reservation in (first, second, third, fourth):
        await desk.ledger.release(org, reservation.id, b"")
    assert granted(await desk.ask(dollars(100, 64_000, 10))).output_tokens == 9900


async def test_a_caller_who_can_ask_for_less_is_told_of_a_lowered_grant(desk: Desk) -> None:
    """Nothing is set aside and no event written: the same id asks again, once it knows better. What
    fits as it is wanted is granted at once, and what does not fit at all is refused as ever."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000001000"}])
    asked = msgspec.structs.replace(dollars(400, 900, 10), tells_lowered=True)
    before = await desk.outbox()
    id_ = desk.session.new_id()
    told = refused(await desk.ask(asked, id_=id_), "LOWERED")
    assert (told.fits_output, told.bound) == (600, None)
    assert (await desk.totals(), await desk.outbox()) == ((0, 0), before)
    assert granted(await desk.ask(dollars(200, 900, 10), id_=id_)).output_tokens == 800
    await desk.ledger.release(org, id_, b"")
    whole = msgspec.structs.replace(dollars(100, 20, 10), tells_lowered=True)
    assert granted(await desk.ask(whole)).output_tokens == 20
    large = msgspec.structs.replace(dollars(1000, 20, 10), tells_lowered=True)
    refused(await desk.ask(large), "TOO_LARGE")


async def test_what_is_spent_leaves_the_whole_rest_to_a_lone_request(desk: Desk) -> None:
    """The share is for reservations that are open; spent money does not lower it."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000010000"}])
    first = granted(await desk.ask(dollars(1000)))
    await desk.ledger.settle(org, first.id, Truth(1000, 0), b"", b"")
    assert granted(await desk.ask(dollars(0, 64_000, 10))).output_tokens == 9000


async def test_the_share_is_of_the_counter_that_others_hold(desk: Desk) -> None:
    """A reservation of a sibling lowers the grant at the common parent, not in a scope where
    nothing is open."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000010000"}])
    await desk.set_budget(f"{org}/b", [{"usd": "0.000002000"}])
    granted(await desk.ask(dollars(2000), f"{org}/a"))
    assert granted(await desk.ask(dollars(0, 64_000, 10), f"{org}/b")).output_tokens == 2000


@pytest.mark.parametrize(
    ("free", "share", "grant"),
    [
        (116, "0.25", 29),
        (100, "0.29", 29),
        (57, "1", 57),
        (8 * 10**15 - 7, "1", None),
        (7, "0.5", 3),
    ],
)
async def test_the_share_is_exact(desk: Desk, free: int, share: str, grant: int | None) -> None:
    """The share is rounded down once, in integers: no unit is lost to a double."""
    org = desk.organisation
    limits = [{"usd": f"{(free + 1) // 10**9}.{(free + 1) % 10**9:09d}"}]
    await desk.set_budget(org, {"limits": limits, "share_of_free": share})
    granted(await desk.ask(dollars(1)))
    if grant is None:
        granted(await desk.ask(dollars(free)))
    else:
        assert granted(await desk.ask(dollars(0, 10**6, 0))).output_tokens == grant


async def test_without_clamping_it_is_all_or_nothing(desk: Desk) -> None:
    """`on_exceed: refuse` anywhere on the path tells the caller, whose least is then the whole;
    also the share does not lower that."""
    org = desk.organisation
    await desk.set_budget(org, {"limits": [{"usd": "0.000001000"}], "on_exceed": "refuse"})

    def ask_for(plan: Plan) -> Ask:
        assert not plan.clampable
        return dollars(0, 900, 900)

    path = ScopePath(f"{org}/a/b")
    answer = await desk.ledger.reserve(path, "m", ask_for, recorded(), desk.session.new_id())
    assert granted(answer).output_tokens == 900
    refused(await desk.ask(dollars(0, 101, 101), f"{org}/a/b"), "HELD")
    assert granted(await desk.ask(dollars(0, 100, 100), f"{org}/a/b")).output_tokens == 100


async def test_the_nearest_default_cap_is_the_one_of_the_plan(desk: Desk) -> None:
    """A request without a cap takes the default of the budget nearest to it, as it is now."""
    org = desk.organisation

    async def defaults() -> list[int | None]:
        seen: dict[str, int | None] = {}
        for scope in (org, f"{org}/b", f"{org}/a", f"{org}/a/deep"):

            def ask_for(plan: Plan) -> Ask:
                seen[plan.nodes[-1]] = plan.output_tokens_default
                return dollars(0)

            id_ = desk.session.new_id()
            granted(await desk.ledger.reserve(ScopePath(scope), "m", ask_for, recorded(), id_))
        return list(seen.values())

    assert await defaults() == [None] * 4
    await desk.set_budget(org, {"limits": [], "output_tokens_default": 8192})
    await desk.set_budget(f"{org}/a", {"limits": [], "output_tokens_default": 512})
    assert await defaults() == [8192, 8192, 512, 512]


async def test_money_is_rounded_up(desk: Desk) -> None:
    """A part of a nano-dollar counts as a whole one when it is reserved."""
    await desk.set_budget(desk.organisation, [{"usd": "0.000000010"}])
    grant = granted(await desk.ask(Ask(0, 3, 0, 0, 1000, 0)))  # 3 pico-dollars each
    assert (grant.output_tokens, grant.reserved_nusd) == (1000, 3)
    assert granted(await desk.ask(Ask(0, 1, 0, 0, 1, 1))).reserved_nusd == 1
    assert await desk.totals() == (0, 4)
    refused(await desk.ask(Ask(6, 1, 0, 0, 1, 1)), "HELD")


@pytest.mark.parametrize("per_pusd", [1, 7, 999, 10**9 + 7, 3 * 10**14 + 1])
async def test_amounts_are_exact_at_the_upper_end(desk: Desk, per_pusd: int) -> None:
    """Products up to 9e15 pico-dollars and limits up to 8e15 nano-dollars lose no digit."""
    org = desk.organisation
    output = PRODUCT_MAX // per_pusd
    asked = Ask(10**14 - 1, per_pusd, 10**13 + 3, 1 if output < 10**12 else 0, output, output)
    await desk.set_budget(org, [{"usd": str(AMOUNT_MAX // 10**9)}, {"tokens": AMOUNT_MAX}])
    reservations = [granted(await desk.ask(asked)) for _ in range(3)]
    usd, tokens = amount_of(asked, "usd", output), amount_of(asked, "tokens", output)
    assert {(each.reserved_nusd, each.reserved_tokens) for each in reservations} == {(usd, tokens)}
    assert sorted((await desk.counters()).values()) == sorted([(0, 3 * usd, 0), (0, 3 * tokens, 0)])
    last = reservations[-1]
    assert last.usd is not None
    assert last.usd.amount == AMOUNT_MAX - 3 * usd
    for reservation, truth in zip(reservations, (usd - 1, usd + 1, usd), strict=True):
        await desk.ledger.settle(org, reservation.id, Truth(truth, tokens), b"", b"")
    assert sorted((await desk.counters()).values()) == sorted([(3 * usd, 0, 0), (3 * tokens, 0, 0)])


AMOUNTS = st.one_of(st.integers(0, 3000), st.integers(0, AMOUNT_MAX), st.integers(0, 10**14))


@given(
    amount=AMOUNTS,
    fixed=st.one_of(st.integers(0, 1000), st.integers(0, 10**14 - 1)),
    per_pusd=st.one_of(st.integers(0, 5000), st.integers(0, 10**12)),
    wanted=st.integers(0, 10**7),
)
@settings(max_examples=150, deadline=None, database=None)
def test_the_clamp_is_the_largest_output_that_fits(
    amount: int, fixed: int, per_pusd: int, wanted: int, lone_grants: LoneGrants
) -> None:
    """For any price: the granted output fits, and one token more would not, or was not wanted."""
    asked = Ask(fixed, min(per_pusd, PRODUCT_MAX // max(wanted, 1)), 0, 0, wanted, 0)
    output = lone_grants.output(asked, amount)
    if output is None:
        assert amount_of(asked, "usd", 0) > amount
        return
    assert amount_of(asked, "usd", output) <= amount
    assert output == wanted or amount_of(asked, "usd", output + 1) > amount


async def test_five_hundred_at_once_get_no_more_than_a_hundred_grants(
    make_desk: MakeDesk,
) -> None:
    """A budget worth a hundred requests grants exactly a hundred of five hundred that five workers
    send at the same time."""
    desks = [await make_desk() for _ in range(5)]
    org = desks[0].organisation
    await desks[0].set_budget(org, [{"usd": "0.000100000"}])
    answers = await asyncio.gather(
        *(desks[n % 5].ask(dollars(700, 300), f"{org}/a/b") for n in range(500))
    )
    grants = [each for each in answers if isinstance(each, Reservation)]
    assert len(grants) == 100
    assert {each.seq for each in grants} == set(range(2, 102))
    assert await desks[0].totals() == (0, 100_000)
    await asyncio.gather(
        *(
            desks[n % 5].ledger.settle(org, each.id, Truth(400, 0), b"", b"")
            for n, each in enumerate(grants)
        )
    )
    assert await desks[0].totals() == (40_000, 0)


async def test_callers_without_a_cap_do_not_starve_each_other(desk: Desk) -> None:
    """Of forty at once that want everything, all but the least form of a few are granted."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.001000000"}])
    answers = await asyncio.gather(*(desk.ask(dollars(1000, 8192, 1024)) for _ in range(40)))
    grants = [each for each in answers if isinstance(each, Reservation)]
    assert len(grants) == 40
    assert min(each.output_tokens for each in grants) >= 1024
