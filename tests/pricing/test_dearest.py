"""The dearest of several prices: never below one of them, and one of them where that can be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import (
    DEMO_PRICES,
    Facts,
    Fees,
    Meters,
    Price,
    Rates,
    Tier,
    cost_nusd,
    dearest,
    quote,
    sheet_of_price,
)
from pricing.rates import RATE_NAMES

RATES = st.builds(Rates, **dict.fromkeys(RATE_NAMES, st.integers(0, 5 * 10**9)))
FEES = st.builds(Fees, search_calls_nusd_per_m=st.none() | st.integers(0, 10**13))
COUNT = st.integers(0, 3_000)
METERS = st.builds(
    Meters,
    **dict.fromkeys(
        ("text_input", "cached_input", "audio_input", "text_output", "reasoning_output"), COUNT
    ),
)


@st.composite
def priced(draw: st.DrawFn) -> Price:
    """Of one model, with up to two long-context tiers."""
    thresholds = sorted(draw(st.sets(st.sampled_from([1, 100, 2_000, 5_000]), max_size=2)))
    return Price(
        "openai",
        "m",
        draw(RATES),
        draw(st.sampled_from([1_000, 10_000])),
        10_000,
        request_nusd=draw(st.integers(0, 10**6)),
        tiers=tuple(Tier(each, draw(RATES)) for each in thresholds),
        cache_write_unasked=draw(st.booleans()),
        framing_tokens=draw(st.integers(0, 9)),
        fees=draw(FEES),
    )


def all_at(rate: int) -> Rates:
    """Every meter at this rate."""
    return Rates(*(rate for _ in RATE_NAMES))


def test_two_prices_that_cross_are_combined() -> None:
    """One is dear in short contexts and the other in long ones, each above a threshold of its own:
    everywhere the dearer one counts."""
    steep = Price("p", "m", all_at(10), 9_000, 9, tiers=(Tier(100, all_at(40)),))
    flat = Price("p", "m", all_at(20), 9_000, 9, tiers=(Tier(2_000, all_at(50)),))
    for prices in ([steep, flat], [flat, steep]):
        top = dearest(prices)
        rates = [top.rates_for(tokens).input_nusd_per_mtok for tokens in (1, 100, 101, 2_001)]
        assert rates == [20, 20, 40, 50]
        assert top.version not in (steep.version, flat.version)


@given(st.lists(priced(), min_size=1, max_size=3), METERS)
def test_no_request_costs_more_by_one_of_them(prices: list[Price], meters: Meters) -> None:
    """Cost and quote alike, below and above every threshold."""
    top = dearest(prices)
    for each in prices:
        assert cost_nusd(each, meters) <= cost_nusd(top, meters)
        of_one, of_top = (
            quote(p, meters.input_tokens, output_tokens_wanted=500, output_tokens_least=0, n=2)
            for p in (each, top)
        )
        assert of_one.ceiling_nusd(500) <= of_top.ceiling_nusd(500)


@given(st.lists(priced(), min_size=1, max_size=3))
def test_each_rate_is_one_of_theirs(prices: list[Price]) -> None:
    """It is not dearer than it has to be, and a fee that one of them does not know is not known."""
    top = dearest(prices)
    for tokens in (0, 1, 2, 100, 101, 2_001, 5_001):
        for name in RATE_NAMES:
            rates = {getattr(each.rates_for(tokens), name) for each in prices}
            assert getattr(top.rates_for(tokens), name) == max(rates)
    fees = [each.fees.search_calls_nusd_per_m for each in prices]
    if None in fees:
        assert top.fees.search_calls_nusd_per_m is None


@given(priced())
def test_the_dearest_in_all_is_itself(price: Price) -> None:
    """So that its version names a price that exists, in whatever order they come."""
    cheaper = replace(
        price,
        rates=Rates(*(getattr(price.rates, name) // 2 for name in RATE_NAMES)),
        tiers=tuple(
            Tier(
                each.above_input_tokens,
                Rates(*(getattr(each.rates, name) // 2 for name in RATE_NAMES)),
            )
            for each in price.tiers
        ),
    )
    assert dearest([price]) is price
    assert dearest([cheaper, price]) == price
    assert dearest([price, cheaper]) is price


def test_of_none_there_is_none() -> None:
    """An error, not a price of nothing."""
    with pytest.raises(ValueError, match="no prices"):
        dearest([])


@given(priced())
def test_a_sheet_of_one_price_is_that_price(price: Price) -> None:
    """Its rates, limits and fees, by any name of the standard tier, and no other tier's."""
    sheet = sheet_of_price(price)
    made = sheet.price()
    assert made == replace(price, fees=made.fees)
    assert made.fees.search_calls_nusd_per_m == price.fees.search_calls_nusd_per_m
    assert sheet.can_quote("auto")
    assert not sheet.can_quote("flex")


def test_the_demo_s_prices_have_sheets_of_the_same_version() -> None:
    """So that what a recost says of them is no other price."""
    for price in DEMO_PRICES.values():
        assert sheet_of_price(price).price(Facts(service_tier="default")).version == price.version
