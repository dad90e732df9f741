"""Cost: one formula on integers, with one rounding."""

import math
from dataclasses import fields, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.cost import cost_nusd, weighed
from pricing.meters import Meters
from pricing.price import Price, Tier
from pricing.rates import FEE_NAMES, RATE_NAMES, Fees, PriceInvalid, Rates

RATES = st.builds(Rates, **{name: st.integers(0, 10**12) for name in RATE_NAMES})
COUNTERS = [field.name for field in fields(Meters)]
METERS = st.builds(Meters, **{name: st.integers(0, 10**6) for name in COUNTERS})
FEES = st.builds(Fees, **{name: st.integers(0, 10**12) for name in FEE_NAMES})
PRICES = st.builds(
    Price,
    provider=st.just("p"),
    model=st.just("m"),
    rates=RATES,
    max_input_tokens=st.just(10**6),
    max_output_tokens=st.just(10**6),
    request_nusd=st.integers(0, 10**9),
    fees=FEES,
)
FEE_OF = {name: f"{name}_nusd_per_m" for name in COUNTERS if f"{name}_nusd_per_m" in FEE_NAMES}
RATE_OF = {
    name: f"{name.removeprefix('text_')}_nusd_per_mtok" for name in COUNTERS if name not in FEE_OF
}


def exact(price: Price, rates: Rates, meters: Meters) -> Fraction:
    """The cost of what was used in nano-dollars, not rounded."""
    pairs = [
        *((getattr(meters, meter), getattr(rates, rate)) for meter, rate in RATE_OF.items()),
        *((getattr(meters, meter), getattr(price.fees, fee)) for meter, fee in FEE_OF.items()),
    ]
    return sum((Fraction(used * rate, 10**6) for used, rate in pairs), Fraction(0))


def test_a_bill_by_hand() -> None:
    """A request worked out by hand: $3 in, $0.30 cached, $15 out, half a cent per request."""
    rates = replace(
        Rates(*[0] * len(RATE_NAMES)),
        input_nusd_per_mtok=3 * 10**9,
        cached_input_nusd_per_mtok=3 * 10**8,
        output_nusd_per_mtok=15 * 10**9,
    )
    price = Price("p", "m", rates, 10**6, 10**5, request_nusd=5_000_000)
    meters = Meters(text_input=1000, cached_input=9000, text_output=500)
    assert cost_nusd(price, meters) == 3_000_000 + 2_700_000 + 7_500_000 + 5_000_000


@settings(deadline=None)
@given(price=PRICES, meters=METERS)
def test_the_cost_is_the_exact_sum_rounded_up_once(price: Price, meters: Meters) -> None:
    """Cost = ceil(sum of meters x rate / 10^6) + fee, against exact fractions."""
    exactly = math.ceil(exact(price, price.rates, meters))
    assert cost_nusd(price, meters) == exactly + price.request_nusd


@settings(deadline=None)
@given(price=PRICES, meters=METERS, name=st.sampled_from(COUNTERS), more=st.integers(0, 1000))
def test_more_tokens_never_cost_less(price: Price, meters: Meters, name: str, more: int) -> None:
    """Without tiers, the cost grows with each meter."""
    grown = replace(meters, **{name: getattr(meters, name) + more})
    assert cost_nusd(price, grown) >= cost_nusd(price, meters)


@settings(deadline=None)
@given(price=PRICES, meters=METERS, name=st.sampled_from(sorted(FEE_OF)))
def test_what_has_no_fee_is_not_free(price: Price, meters: Meters, name: str) -> None:
    """A call, page or second without a price is an error that names it, unless none was used."""
    feeless = replace(price, fees=replace(price.fees, **{FEE_OF[name]: None}))
    unused = replace(meters, **{name: 0})
    assert cost_nusd(feeless, unused) == cost_nusd(price, unused)
    with pytest.raises(PriceInvalid, match=f"{name} were used"):
        cost_nusd(feeless, replace(meters, **{name: 1}))


@settings(deadline=None)
@given(price=PRICES, meters=METERS, share=st.integers(0, 10**6))
def test_cached_audio_is_weighed_at_its_own_rate(price: Price, meters: Meters, share: int) -> None:
    """Of the cached tokens, those that are audio leave the one rate for the other."""
    audio = min(share, meters.cached_input)
    rates = price.rates
    apart = weighed(price, replace(meters, cached_input=meters.cached_input - audio))
    with_audio = apart + audio * rates.cached_audio_input_nusd_per_mtok
    assert weighed(price, meters, cached_audio=audio) == with_audio


@settings(deadline=None)
@given(price=PRICES, parts=st.lists(METERS, min_size=1, max_size=5))
def test_one_request_never_costs_more_than_its_parts(price: Price, parts: list[Meters]) -> None:
    """Rounding once is the cheapest rounding: the whole is at most the sum, within one each."""
    whole = Meters(**{name: sum(getattr(part, name) for part in parts) for name in COUNTERS})
    apart = sum(cost_nusd(price, part) - price.request_nusd for part in parts)
    assert 0 <= apart - (cost_nusd(price, whole) - price.request_nusd) < len(parts)


@settings(deadline=None)
@given(
    price=PRICES,
    meters=METERS,
    tiers=st.dictionaries(st.integers(1, 4 * 10**6), RATES, max_size=3),
)
def test_the_tier_follows_from_the_whole_input(
    price: Price, meters: Meters, tiers: dict[int, Rates]
) -> None:
    """The highest threshold below the input, cached and writes included, re-prices everything."""
    ascending = dict(sorted(tiers.items(), key=lambda entry: entry[0]))
    tiered = replace(price, tiers=tuple(Tier(*entry) for entry in ascending.items()))
    reached = [rates for above, rates in ascending.items() if meters.input_tokens > above]
    rates = reached[-1] if reached else price.rates
    exactly = math.ceil(exact(price, rates, meters))
    assert cost_nusd(tiered, meters) == exactly + price.request_nusd


def test_a_threshold_is_exceeded_not_reached() -> None:
    """Exactly 200,000 tokens, most of them cached, have the base rate; one more has the tier's."""
    base, long = Rates(*[10**6] * len(RATE_NAMES)), Rates(*[2 * 10**6] * len(RATE_NAMES))
    price = Price("p", "m", base, 10**6, 10**5, tiers=(Tier(200_000, long),))
    at = Meters(text_input=1, cached_input=199_998, cache_write_5m=1)
    assert cost_nusd(price, at) == 200_000
    assert cost_nusd(price, replace(at, text_input=2)) == 400_002
