"""A quote of a request whose tools the provider runs holds whatever it reads and searches."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.cost import cost_nusd
from pricing.demo import PRICES as DEMO_PRICES
from pricing.meters import Meters
from pricing.price import Price, Tier
from pricing.quote import quote
from pricing.rates import NO_FEES, RATE_NAMES, PriceInvalid, Rates

BASE, LONG = Rates(*[10**9] * len(RATE_NAMES)), Rates(*[2 * 10**9] * len(RATE_NAMES))
PRICE = Price("p", "m", BASE, 1_000, 500, tiers=(Tier(1_500, LONG),))
SEARCHING = replace(PRICE, fees=replace(NO_FEES, search_calls_nusd_per_m=10**13 + 1))
TOKENS = st.integers(0, 2_000)


@settings(deadline=None, max_examples=300)
@given(
    rounds=st.integers(1, 5),
    searches=st.integers(0, 4),
    read=st.lists(TOKENS, max_size=5),
    searched=st.integers(0, 4),
)
def test_no_answer_in_rounds_costs_more_than_its_quote(
    rounds: int, searches: int, read: list[int], searched: int
) -> None:
    """Each round reads at most the model's window, and each search has its fee, also
    where all rounds together are in a dearer tier that none of them is in."""
    quoted = quote(
        SEARCHING,
        PRICE.max_input_tokens * rounds,
        output_tokens_wanted=100,
        output_tokens_least=1,
        n=1,
        input_windows=rounds,
        searches=searches,
    )
    used = sum(min(each, PRICE.max_input_tokens) for each in read[:rounds])
    meters = Meters(text_input=used, text_output=100, search_calls=min(searched, searches))
    assert cost_nusd(SEARCHING, meters) <= quoted.ceiling_nusd(100)


def test_one_round_without_searches_is_the_usual_quote() -> None:
    """The defaults change nothing."""
    usual = quote(PRICE, 700, output_tokens_wanted=10, output_tokens_least=1, n=1)
    same = quote(
        PRICE, 700, output_tokens_wanted=10, output_tokens_least=1, n=1, input_windows=1, searches=0
    )
    assert same == usual


def test_searches_without_a_fee_have_no_quote() -> None:
    """But on the demo models, which search nowhere."""
    with pytest.raises(PriceInvalid, match="search_context_cost_per_query"):
        quote(PRICE, 1, output_tokens_wanted=1, output_tokens_least=1, n=1, searches=1)
    demo = DEMO_PRICES["demo/small"]
    quoted = quote(demo, 1_000, output_tokens_wanted=1, output_tokens_least=1, n=1, searches=2)
    assert quoted.fixed_nusd == 200_000


def test_less_than_no_search_is_refused() -> None:
    """It is a caller's mistake, never a negative quote."""
    with pytest.raises(ValueError, match="no negative number"):
        quote(PRICE, 1, output_tokens_wanted=1, output_tokens_least=1, n=1, searches=-1)
