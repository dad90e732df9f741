"""What a bill shows of a route: the bound with the new factors covers it, no factor falls, and the
scopes that hold it are nobody's to name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.learned import (
    FACTOR_MAX_THOUSANDTHS,
    FACTOR_STEP_THOUSANDTHS,
    Billed,
    Bounded,
    Learned,
    is_route_scope,
    route_name,
    route_of,
    route_scope,
    seen,
)
from budgets.policy import PolicyInvalid, parse_scope

FACTORS = st.integers(10, 10_000).map(lambda steps: steps * FACTOR_STEP_THOUSANDTHS)
LEARNED = st.builds(Learned, FACTORS, FACTORS)
TOKENS = st.integers(1, 10**6)


def bounded(learned: Learned, input_tokens: int, output_tokens: int, rate: int = 1) -> Bounded:
    """A reservation as it is made: input with its factor, rounded up; output granted without."""
    with_factor = -(-input_tokens * learned.input_thousandths // 1000)
    output = -(-output_tokens * learned.output_thousandths // 1000)
    return Bounded(learned, with_factor, output_tokens, (with_factor + output) * rate)


@given(LEARNED, TOKENS, TOKENS, TOKENS, TOKENS)
def test_the_bound_with_what_was_seen_covers_the_bill(
    learned: Learned, inputs: int, outputs: int, billed_in: int, billed_out: int
) -> None:
    """The same request again is reserved with at least what it was billed, unless that is beyond
    all that is reserved for; and nothing that was known is forgotten."""
    bill = Billed(billed_in, billed_out, billed_in + billed_out)
    found = seen(bounded(learned, inputs, outputs), bill)
    assert found.or_more(learned) == found
    if not found.is_beyond:
        again = bounded(found, inputs, outputs)
        assert again.input_tokens >= billed_in
        assert again.nusd - again.input_tokens >= billed_out
        assert again.nusd >= bill.nusd
        assert seen(again, bill) == found


@given(LEARNED, TOKENS, TOKENS, st.data())
def test_a_bound_that_held_teaches_nothing(
    learned: Learned, inputs: int, outputs: int, data: st.DataObject
) -> None:
    """The very object that is known comes back: nothing to do is told by identity."""
    bound = bounded(learned, inputs, outputs)
    output_max = outputs * learned.output_thousandths // 1000
    billed_in = data.draw(st.integers(0, bound.input_tokens))
    billed_out = data.draw(st.integers(0, output_max))
    assert seen(bound, Billed(billed_in, billed_out, bound.nusd)) is learned


@given(st.integers(1, 10**9), st.integers(1, 10**12))
def test_money_counts_where_tokens_held(reserved: int, billed: int) -> None:
    """A rate that nobody expected raises both factors by as much as the cost was above."""
    found = seen(Bounded(Learned(), 10, 10, reserved), Billed(10, 10, billed))
    if billed <= reserved:
        assert found == Learned()
    elif not found.is_beyond:
        assert found.input_thousandths == found.output_thousandths
        assert found.input_thousandths * reserved >= billed * 1000
        assert (found.input_thousandths - FACTOR_STEP_THOUSANDTHS) * reserved < billed * 1000


@pytest.mark.parametrize(
    ("billed", "factor"), [(1000, 1000), (1001, 1100), (1100, 1100), (11_000, 11_000)]
)
def test_factors_are_rounded_up_to_steps(billed: int, factor: int) -> None:
    """Eleven times is eleven times; a token more than the bound is a step."""
    found = seen(Bounded(Learned(), 1000, 50, 10**9), Billed(billed, 50, 0))
    assert found == Learned(factor, 1000)


def test_a_bill_beyond_all_bounds_is_told_apart() -> None:
    """A thousand times is reserved for; more is not, and does not grow without end."""
    most = FACTOR_MAX_THOUSANDTHS
    assert not seen(Bounded(Learned(), 1, 1, 1), Billed(most // 1000, 1, 0)).is_beyond
    beyond = seen(Bounded(Learned(), 1, 1, 1), Billed(10**9, 1, 0))
    assert beyond == Learned(most + FACTOR_STEP_THOUSANDTHS, 1000)
    assert beyond.is_beyond


@given(st.text(), st.text(), st.text(max_size=20))
def test_nobody_can_name_a_routes_scope(provider: str, model: str, identity: str) -> None:
    """Whatever a model is called: the scope is refused wherever users name one, and its name has
    neither a slash nor a space. Another identity is another route."""
    name = route_name(provider, model, identity)
    scope = route_scope("acme", name)
    assert is_route_scope(scope)
    assert route_of(scope) == name
    assert "/" not in name
    assert name.isascii()
    assert " " not in name
    assert route_name(provider, model, identity + "x") != name
    with pytest.raises(PolicyInvalid, match="learned of a route"):
        parse_scope(scope)
    for each in ("acme/~route", "acme/~route/x/y", "~route/x"):
        with pytest.raises(PolicyInvalid):
            parse_scope(each)
