"""Rates: decimal numbers become integers here, exactly and upwards."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.meters import TOKENS_MAX
from pricing.rates import (
    FEE_NAMES,
    MULTIPLIER_MAX,
    RATE_NAMES,
    RATE_NUSD_PER_MTOK_MAX,
    REQUEST_NUSD_MAX,
    Fees,
    PriceInvalid,
    Rates,
    complete_rates,
    multiplier,
    nusd_from_usd,
    nusd_from_usd_sum,
    rate_from_usd_per_thousand,
    rate_from_usd_per_token,
    scaled,
    whole_tokens,
)

RATE = st.integers(0, RATE_NUSD_PER_MTOK_MAX)
KNOWN = st.fixed_dictionaries(
    {"input_nusd_per_mtok": st.integers(0, 10**14), "output_nusd_per_mtok": st.integers(0, 10**14)},
    optional={name: RATE for name in RATE_NAMES if not name.startswith(("input_", "output_"))},
)


@pytest.mark.parametrize(
    ("usd_per_token", "nusd_per_mtok"),
    [
        (7.5e-08, 75_000_000),
        (3.75e-08, 37_500_000),
        ("0.0000000375", 37_500_000),
        ("1e-06", 1_000_000_000),
        (1e-06, 1_000_000_000),
        (1.5e-05, 15_000_000_000),
        (Decimal("0.000003"), 3_000_000_000),
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        ("0", 0),
        ("0e99999", 0),
        (1, 10**15),
        ("1.0000000000000000", 10**15),
        (".5", 5 * 10**14),
        (8.39233e-08, 83_923_300),
    ],
)
def test_known_prices_are_exact(usd_per_token: object, nusd_per_mtok: int) -> None:
    """The decimal that was written is the rate: $0.0375 per million is 37,500,000, no less."""
    assert rate_from_usd_per_token(usd_per_token, "k") == nusd_per_mtok


@settings(deadline=None, max_examples=500)
@given(value=st.floats(0, 1, allow_nan=False) | st.decimals(0, 1, places=20).map(str))
def test_every_rate_is_the_ceiling_of_the_written_decimal(value: float | str) -> None:
    """For floats and text: rate = ceil(the decimal that repr shows x 10^15), against Fraction."""
    exact = Fraction(value if isinstance(value, str) else repr(value)) * 10**15
    assert rate_from_usd_per_token(value, "k") == math.ceil(exact)


@pytest.mark.parametrize("value", ["1e-999999", 5e-324, "0." + "0" * 55 + "1"])
def test_a_positive_price_is_never_rounded_to_free(value: object) -> None:
    """The smallest price that is not zero costs one unit, also where digits are absurdly many."""
    assert rate_from_usd_per_token(value, "k") == 1


@pytest.mark.parametrize(
    "value",
    [
        *(-1e-9, "-0.1", math.nan, math.inf, -math.inf, "NaN", "inf", "Infinity", "sNaN"),
        *(True, False, None, [], {}, b"1", 1j, object()),
        *(1.0000001, "1.1", 2, 10**30, 10**5000, "1e999999", "9" * 64),
        *("", " 1", "1 ", "1_0", "0x1", "1,5", "$1", "1e", "e5", ".", "1e9999999", "\u0661"),
        *(Decimal("NaN"), Decimal("Infinity"), Decimal(-1), "0." + "1" * 100),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_a_price_is_refused(value: object) -> None:
    """Negative, not finite, boolean, above a dollar or not a plain decimal: PriceInvalid."""
    with pytest.raises(PriceInvalid, match=r"^some_key "):
        rate_from_usd_per_token(value, "some_key")


@settings(deadline=None)
@given(cents=st.integers(0, 100_000))
def test_fees_are_exact_dollars(cents: int) -> None:
    """A fee written in dollars and cents is exactly that many nano-dollars."""
    assert nusd_from_usd(f"{cents // 100}.{cents % 100:02}", "k") == cents * 10**7


def test_fees_have_a_limit() -> None:
    """A fixed fee above a thousand dollars is a mistake, and one nano-dollar is the least."""
    assert nusd_from_usd(1000, "k") == REQUEST_NUSD_MAX
    assert nusd_from_usd("0.0000000001", "k") == 1
    with pytest.raises(PriceInvalid, match="above"):
        nusd_from_usd("1000.01", "k")


@pytest.mark.parametrize("value", [128000, 128000.0, "128000", "1.28e5"])
def test_token_limits_are_read_in_every_form(value: object) -> None:
    """YAML gives an int, a float or text for the same number of tokens."""
    assert whole_tokens(value, "k") == 128_000


@pytest.mark.parametrize("value", [-1, 0.5, "1.5", True, None, TOKENS_MAX + 1, math.nan, "many"])
def test_token_limits_are_whole_numbers(value: object) -> None:
    """Half a token, a negative or an absurd number of them is PriceInvalid."""
    with pytest.raises(PriceInvalid, match=r"^max_x "):
        whole_tokens(value, "max_x")


@pytest.mark.parametrize("rate", [-1, 1.5, True, None, RATE_NUSD_PER_MTOK_MAX + 1])
@pytest.mark.parametrize("name", RATE_NAMES)
def test_rates_are_ints_in_range(name: str, rate: object) -> None:
    """No rate can be constructed that is negative, absurd or not an int."""
    rates = Rates(*[1] * len(RATE_NAMES))
    with pytest.raises(PriceInvalid, match=name):
        replace(rates, **{name: cast("int", rate)})


def test_missing_rates_are_the_dearest_plausible_ones() -> None:
    """Without further keys: 1.25 and 2 times input for cache writes, else input or output rate."""
    rates = complete_rates({"input_nusd_per_mtok": 3, "output_nusd_per_mtok": 15}, {})
    assert rates == Rates(
        input_nusd_per_mtok=3,
        cached_input_nusd_per_mtok=3,
        cache_write_5m_nusd_per_mtok=4,
        cache_write_1h_nusd_per_mtok=6,
        audio_input_nusd_per_mtok=3,
        image_input_nusd_per_mtok=3,
        output_nusd_per_mtok=15,
        reasoning_output_nusd_per_mtok=15,
        audio_output_nusd_per_mtok=15,
        cached_audio_input_nusd_per_mtok=3,
        video_input_nusd_per_mtok=3,
        image_output_nusd_per_mtok=15,
    )


@settings(deadline=None)
@given(known=KNOWN, fallback=st.dictionaries(st.sampled_from(RATE_NAMES), RATE))
def test_completion_keeps_what_is_known_and_never_underprices(
    known: dict[str, int], fallback: dict[str, int]
) -> None:
    """Known rates stay as they are; a missing one is at least the rule's and the fallback's."""
    rates = complete_rates(known, fallback)
    text_in, text_out = known["input_nusd_per_mtok"], known["output_nusd_per_mtok"]
    for name in RATE_NAMES:
        rate = getattr(rates, name)
        if name in known:
            assert rate == known[name]
        else:
            assert rate >= (text_out if "output" in name else text_in)
            assert rate >= fallback.get(name, 0)
    if "cache_write_5m_nusd_per_mtok" not in known:
        assert Fraction(rates.cache_write_5m_nusd_per_mtok) >= Fraction(5, 4) * text_in
    if "cache_write_1h_nusd_per_mtok" not in known:
        assert rates.cache_write_1h_nusd_per_mtok >= 2 * text_in


def test_cached_audio_that_nobody_prices_is_not_cheaper_than_audio_or_text() -> None:
    """Without a rate of its own, cached audio costs the dearer of audio and text input."""
    known = {"input_nusd_per_mtok": 3, "output_nusd_per_mtok": 15}
    for audio, cached_audio in ((7, 7), (1, 3)):
        rates = complete_rates({**known, "audio_input_nusd_per_mtok": audio}, {})
        assert rates.cached_audio_input_nusd_per_mtok == cached_audio


@pytest.mark.parametrize("fee", [-1, 1.5, True, RATE_NUSD_PER_MTOK_MAX + 1])
@pytest.mark.parametrize("name", FEE_NAMES)
def test_fees_are_ints_in_range_or_unknown(name: str, fee: object) -> None:
    """No fee is negative, absurd or not an int; not known is None, and not 0."""
    assert getattr(Fees(), name) is None
    with pytest.raises(PriceInvalid, match=name):
        Fees(**{name: cast("int", fee)})


def test_dollars_per_thousand_are_exact() -> None:
    """$10 for a thousand searches is a cent each; $0.006 a minute are 100 nano-dollars a ms."""
    assert rate_from_usd_per_thousand("10", "k") == 10_000_000 * 10**6
    assert rate_from_usd_per_thousand("0.0001", "k") == 100 * 10**6
    assert rate_from_usd_per_thousand(1000, "k") == RATE_NUSD_PER_MTOK_MAX
    with pytest.raises(PriceInvalid, match="k is above"):
        rate_from_usd_per_thousand("1000.1", "k")


@settings(deadline=None)
@given(amounts=st.lists(st.decimals(0, 500, places=15), min_size=1, max_size=4))
def test_amounts_are_added_before_they_are_rounded(amounts: list[Decimal]) -> None:
    """The sum is the ceiling of the exact sum: rounded once, not each amount for itself."""
    exact = sum((Fraction(amount) for amount in amounts), Fraction(0))
    named = {f"amount{at}": str(amount) for at, amount in enumerate(amounts)}
    assert nusd_from_usd_sum(named) == math.ceil(exact * 10**9)


def test_an_amount_that_is_none_is_named() -> None:
    """Which of several amounts is wrong stands in the message."""
    with pytest.raises(PriceInvalid, match="second is negative"):
        nusd_from_usd_sum({"first": 1, "second": -1})


@pytest.mark.parametrize(
    ("value", "factor"),
    [(1.1, Fraction(11, 10)), ("1.75", Fraction(7, 4)), (2, Fraction(2)), (0.01, Fraction(1, 100))],
)
def test_a_multiplier_is_the_decimal_that_was_written(value: object, factor: Fraction) -> None:
    """1.1 is eleven tenths, not the binary fraction beside it."""
    assert multiplier(value, "k") == factor


@pytest.mark.parametrize("value", [0, -1, "0.009", MULTIPLIER_MAX + 1, math.nan, True, None, "x"])
def test_what_is_no_multiplier_is_refused(value: object) -> None:
    """Nought, negative numbers and percentages are mistakes."""
    with pytest.raises(PriceInvalid, match=r"^k "):
        multiplier(value, "k")


@settings(deadline=None)
@given(rate=st.integers(0, 10**12), tenths=st.integers(1, 1000))
def test_scaled_rates_are_the_ceiling_of_the_product(rate: int, tenths: int) -> None:
    """Each rate times a factor, never below the exact product and less than one above it."""
    product = scaled(Rates(*[rate] * len(RATE_NAMES)), Fraction(tenths, 10))
    assert product == Rates(*[-(-rate * tenths // 10)] * len(RATE_NAMES))
