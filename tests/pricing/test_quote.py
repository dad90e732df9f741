"""Quote: no answer costs more than was reserved, and the ledger's doubles hold it exactly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing.cost import cost_nusd
from pricing.demo import PRICES as DEMO_PRICES
from pricing.meters import Meters
from pricing.price import Price, Tier
from pricing.quote import (
    FIXED_NUSD_LIMIT,
    OUTPUT_PUSD_LIMIT,
    CacheWrite,
    Quote,
    QuoteTooLarge,
    quote,
)
from pricing.rates import RATE_NAMES, RATE_NUSD_PER_MTOK_MAX, Rates

RATES = st.builds(Rates, **{name: st.integers(0, 10**11) for name in RATE_NAMES})


@st.composite
def prices(draw: st.DrawFn) -> Price:
    tiers = draw(st.dictionaries(st.integers(1, 10**5), RATES, max_size=3))
    return Price(
        provider="p",
        model="m",
        rates=draw(RATES),
        max_input_tokens=draw(st.integers(1, 2 * 10**5)),
        max_output_tokens=draw(st.integers(1, 10**5)),
        request_nusd=draw(st.integers(0, 10**10)),
        tiers=tuple(Tier(above, tiers[above]) for above in sorted(tiers)),
        cache_write_unasked=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Flags:
    """What a request can cause: the keywords of `quote`."""

    cache_write: CacheWrite = "none"
    audio_input: bool = False
    audio_output: bool = False
    image_input: bool = False


FLAGS = st.builds(
    Flags,
    cache_write=st.sampled_from(get_args(CacheWrite)),
    audio_input=st.booleans(),
    audio_output=st.booleans(),
    image_input=st.booleans(),
)
EVERY_FLAG = Flags("1h", audio_input=True, audio_output=True, image_input=True)


def quote_with(
    price: Price,
    tokens_in: int,
    tokens_out: int,
    *,
    n: int = 1,
    flags: Flags = Flags(),
    factors: tuple[int, int] = (1000, 1000),
) -> Quote:
    return quote(
        price,
        tokens_in,
        output_tokens_wanted=tokens_out,
        output_tokens_least=1,
        n=n,
        cache_write=flags.cache_write,
        audio_input=flags.audio_input,
        audio_output=flags.audio_output,
        image_input=flags.image_input,
        input_thousandths=factors[0],
        output_thousandths=factors[1],
    )


def split(draw: st.DrawFn, total: int, allowed: Mapping[str, bool]) -> dict[str, int]:
    """At most `total` tokens on the meters that are allowed, often all of it on one of them."""
    parts = {}
    for name in draw(st.permutations([name for name, may in allowed.items() if may])):
        parts[name] = draw(st.just(total) | st.integers(0, total))
        total -= parts[name]
    return parts


@st.composite
def answers(draw: st.DrawFn) -> tuple[Price, Quote, int, Meters]:
    """A price, a quote of some request, a granted cap, and meters that the request can have."""
    price, flags = draw(prices()), draw(FLAGS)
    n = draw(st.integers(1, 8))
    tokens_in, tokens_out = draw(st.integers(0, 3 * 10**5)), draw(st.integers(0, 2 * 10**5))
    quoted = quote_with(price, tokens_in, tokens_out, n=n, flags=flags)
    cap = draw(st.integers(0, quoted.output_tokens_max))
    writes = flags.cache_write
    inputs = {
        "text_input": True,
        "cached_input": True,
        "cache_write_5m": writes != "none" or price.cache_write_unasked,
        "cache_write_1h": writes == "1h",
        "audio_input": flags.audio_input,
        "image_input": flags.image_input,
        "video_input": flags.image_input,
    }
    outputs = {
        "text_output": True,
        "reasoning_output": True,
        "audio_output": flags.audio_output,
        "image_output": True,
    }
    meters = Meters(
        **split(draw, quoted.input_tokens_max, inputs),
        **split(draw, n * cap, outputs),
    )
    return price, quoted, cap, meters


@settings(deadline=None, max_examples=1000)
@given(answer=answers())
def test_no_answer_costs_more_than_its_quote(answer: tuple[Price, Quote, int, Meters]) -> None:
    """For every price, request and answer within the bounds: cost <= ceiling of the granted cap."""
    price, quoted, cap, meters = answer
    assert cost_nusd(price, meters) <= quoted.ceiling_nusd(cap)


@settings(deadline=None, max_examples=300)
@given(answer=answers())
def test_the_ledgers_arithmetic_is_exact(answer: tuple[Price, Quote, int, Meters]) -> None:
    """The script's formula in doubles gives the same ceiling as integers do."""
    _, quoted, cap, _ = answer
    in_lua = quoted.fixed_nusd + math.ceil(float(cap) * float(quoted.output_pusd_per_token) / 1000)
    assert in_lua == quoted.ceiling_nusd(cap)


@settings(deadline=None, max_examples=500)
@given(
    pusd=st.integers(0, OUTPUT_PUSD_LIMIT - 1) | st.integers(1, 10**4).map(lambda n: 9 * 10**15 - n)
)
def test_below_the_limit_a_double_rounds_up_exactly(pusd: int) -> None:
    """What OUTPUT_PUSD_LIMIT rests on: ceil of a thousandth is exact for every whole below it."""
    assert math.ceil(float(pusd) / 1000) == -(-pusd // 1000)


@settings(deadline=None)
@given(price=prices(), flags=FLAGS, n=st.integers(1, 8), tokens=st.integers(0, 10**5))
def test_the_quote_is_tight(price: Price, flags: Flags, n: int, tokens: int) -> None:
    """The ceiling is the dearest rate and no more: within rounding of an exact fraction."""
    quoted = quote_with(price, tokens, 100, n=n, flags=flags)
    tokens = quoted.input_tokens_max
    tiers = [tier.rates for tier in price.tiers if tokens > tier.above_input_tokens]
    reached = [price.rates, *tiers]
    dearest = max(rate for rates in reached for rate in _input_rates(rates, price, flags))
    assert quoted.fixed_nusd == price.request_nusd + math.ceil(Fraction(tokens * dearest, 10**6))
    dearest_out = max(rate for rates in reached for rate in _output_rates(rates, flags))
    assert quoted.output_pusd_per_token == math.ceil(Fraction(dearest_out * n, 1000))


def _input_rates(rates: Rates, price: Price, flags: Flags) -> list[int]:
    writes = flags.cache_write
    return [
        rates.input_nusd_per_mtok,
        rates.cached_input_nusd_per_mtok,
        rates.cache_write_5m_nusd_per_mtok * (writes != "none" or price.cache_write_unasked),
        rates.cache_write_1h_nusd_per_mtok * (writes == "1h"),
        rates.audio_input_nusd_per_mtok * flags.audio_input,
        rates.cached_audio_input_nusd_per_mtok * flags.audio_input,
        rates.image_input_nusd_per_mtok * flags.image_input,
        rates.video_input_nusd_per_mtok * flags.image_input,
    ]


def _output_rates(rates: Rates, flags: Flags) -> list[int]:
    return [
        rates.output_nusd_per_mtok,
        rates.reasoning_output_nusd_per_mtok,
        rates.audio_output_nusd_per_mtok * flags.audio_output,
        rates.image_output_nusd_per_mtok,
    ]


@settings(deadline=None)
@given(
    price=prices(),
    flags=FLAGS,
    tokens=st.integers(0, 10**5),
    more=st.integers(0, 10**5),
    cap=st.integers(0, 1000),
)
def test_more_never_quotes_less(
    price: Price, flags: Flags, tokens: int, more: int, cap: int
) -> None:
    """More input, more choices, a larger cap or one more flag never lower the ceiling."""
    small = quote_with(price, tokens, 1000, flags=flags)
    assume(cap <= small.output_tokens_max)
    least = small.ceiling_nusd(cap)
    assert quote_with(price, tokens + more, 1000, flags=flags).ceiling_nusd(cap) >= least
    assert quote_with(price, tokens, 1000, n=2, flags=flags).ceiling_nusd(cap) >= least
    assert quote_with(price, tokens, 1000, flags=EVERY_FLAG).ceiling_nusd(cap) >= least
    assert small.ceiling_nusd(cap + 1) >= least


def test_a_quote_by_hand() -> None:
    """demo/small: 1,000 tokens in at $0.20, two choices of 500 out at $0.80 per million."""
    quoted = quote(
        DEMO_PRICES["demo/small"], 1000, output_tokens_wanted=500, output_tokens_least=16, n=2
    )
    assert quoted == Quote(
        input_tokens_max=1000,
        output_tokens_max=500,
        output_least=16,
        n=2,
        fixed_nusd=200_000,
        output_pusd_per_token=1_600_000,
    )
    assert quoted.ceiling_nusd(500) == 200_000 + 800_000


def test_the_models_own_limits_bound_a_quote() -> None:
    """Input beyond the context window and output beyond the model's cannot happen: not reserved."""
    quoted = quote(
        DEMO_PRICES["demo/small"], 10**9, output_tokens_wanted=10**9, output_tokens_least=10**9, n=1
    )
    assert (quoted.input_tokens_max, quoted.output_tokens_max) == (128_000, 16_384)
    assert quoted.output_least == 16_384


def test_of_a_batch_each_input_has_a_window() -> None:
    """So many windows bound the sum; without any, nothing but the input does."""
    price = DEMO_PRICES["demo/small"]
    for windows, expected in ((1, 128_000), (3, 384_000), (0, 10**6)):
        quoted = quote(
            *(price, 10**6),
            output_tokens_wanted=0,
            output_tokens_least=0,
            n=1,
            input_windows=windows,
        )
        assert quoted.input_tokens_max == expected
        assert quoted.ceiling_nusd(0) == quoted.fixed_nusd == expected * 200
    with pytest.raises(ValueError, match="no negative"):
        quote(price, 1, output_tokens_wanted=0, output_tokens_least=0, n=1, input_windows=-1)


def test_long_context_counts_only_where_the_bound_reaches_it() -> None:
    """At the threshold the base rates hold; one token more and both sides have the dearer ones."""
    base, long = Rates(*[10**9] * len(RATE_NAMES)), Rates(*[2 * 10**9] * len(RATE_NAMES))
    price = Price("p", "m", base, 10**6, 1000, tiers=(Tier(200_000, long),))
    at = quote(price, 200_000, output_tokens_wanted=1, output_tokens_least=1, n=1)
    above = quote(price, 200_001, output_tokens_wanted=1, output_tokens_least=1, n=1)
    assert (at.fixed_nusd, at.output_pusd_per_token) == (200_000_000, 1_000_000)
    assert (above.fixed_nusd, above.output_pusd_per_token) == (400_002_000, 2_000_000)


def test_a_cheaper_tier_does_not_lower_the_quote() -> None:
    """A request that may stay below the threshold is quoted at the base rate if that is dearer."""
    base, long = Rates(*[2 * 10**9] * len(RATE_NAMES)), Rates(*[10**9] * len(RATE_NAMES))
    price = Price("p", "m", base, 10**6, 1000, tiers=(Tier(100, long),))
    quoted = quote(price, 101, output_tokens_wanted=1, output_tokens_least=1, n=1)
    assert quoted.fixed_nusd == 202_000


@pytest.mark.parametrize(
    ("rate", "fee", "tokens", "fits"),
    [
        (10**14, 0, 999_999, True),
        (10**14, 0, 10**6, False),
        (RATE_NUSD_PER_MTOK_MAX, 0, 10**6, False),
        (10**14, 10**8, 999_999, False),
    ],
)
def test_input_beyond_the_ledgers_range_is_refused(
    rate: int, fee: int, tokens: int, *, fits: bool
) -> None:
    """A hundred thousand dollars of input is a mistake: QuoteTooLarge names the limit."""
    rates = replace(Rates(*[0] * len(RATE_NAMES)), input_nusd_per_mtok=rate)
    price = Price("p", "m", rates, 10**9, 1, request_nusd=fee)
    if fits:
        assert quote_with(price, tokens, 0).fixed_nusd < FIXED_NUSD_LIMIT
        return
    with pytest.raises(QuoteTooLarge, match=f"FIXED_NUSD_LIMIT is {FIXED_NUSD_LIMIT}"):
        quote_with(price, tokens, 0)


@pytest.mark.parametrize(("tokens", "fits"), [(8999, True), (9000, False), (10**9, False)])
def test_output_beyond_the_ledgers_range_is_refused(tokens: int, *, fits: bool) -> None:
    """Output that doubles could not multiply exactly is QuoteTooLarge and names the limit."""
    rates = replace(Rates(*[0] * len(RATE_NAMES)), output_nusd_per_mtok=10**15)
    price = Price("p", "m", rates, 1, 10**9)
    if fits:
        assert tokens * quote_with(price, 0, tokens).output_pusd_per_token < OUTPUT_PUSD_LIMIT
        return
    with pytest.raises(QuoteTooLarge, match=f"OUTPUT_PUSD_LIMIT is {OUTPUT_PUSD_LIMIT}"):
        quote_with(price, 0, tokens)


@pytest.mark.parametrize(
    ("tokens", "wanted", "least", "n"), [(-1, 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, 0)]
)
def test_nonsense_is_refused(tokens: int, wanted: int, least: int, n: int) -> None:
    """Negative tokens or no choice at all are a caller's mistake, never a negative quote."""
    with pytest.raises(ValueError, match="n >= 1"):
        quote(
            DEMO_PRICES["demo/small"],
            tokens,
            output_tokens_wanted=wanted,
            output_tokens_least=least,
            n=n,
        )


@settings(deadline=None, max_examples=300)
@given(answer=answers(), inputs=st.integers(1000, 20_000), outputs=st.integers(1000, 20_000))
def test_a_quote_with_factors_covers_bills_that_are_as_many_times_its_bound(
    answer: tuple[Price, Quote, int, Meters], inputs: int, outputs: int
) -> None:
    """Of any kind of token that the request can have, also where so much input is in a dearer
    tier; without a factor the quote is what it was."""
    price, plain, cap, _ = answer
    asked = (price, plain.input_tokens_max, plain.output_tokens_max)
    usual = quote_with(*asked, n=plain.n)
    assert quote_with(*asked, n=plain.n, factors=(1000, 1000)) == usual
    try:
        quoted = quote_with(*asked, n=plain.n, factors=(inputs, outputs))
    except QuoteTooLarge:
        return
    billed_in = plain.input_tokens_max * inputs // 1000
    billed_out = plain.n * cap * outputs // 1000
    assert quoted.input_tokens_max >= billed_in
    assert quoted.output_tokens_max == usual.output_tokens_max
    for used in (Meters(text_input=billed_in), Meters(cached_input=billed_in)):
        meters = replace(used, reasoning_output=billed_out)
        assert cost_nusd(price, meters) <= quoted.ceiling_nusd(cap)


@pytest.mark.parametrize("factors", [(999, 1000), (1000, 0)])
def test_a_factor_below_one_is_no_factor(factors: tuple[int, int]) -> None:
    """A bound is never lowered by what was learned."""
    with pytest.raises(ValueError, match="at least 1000"):
        quote_with(DEMO_PRICES["demo/small"], 1, 1, factors=factors)
