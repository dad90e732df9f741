"""Rates in integers, and the only place where a decimal number becomes money.

Published prices are decimal fractions of a dollar per token, and price files carry them as binary
floats or as text. One careless multiplication makes 7.5e-08 dollars a little less than it is, and
a ledger that must not overspend then rounds in the wrong direction. Here every number is read as
the decimal that was written and is rounded up, once, to nano-dollars per million tokens.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, Context, Decimal
from fractions import Fraction

from pricing.meters import TOKENS_MAX

RATE_NUSD_PER_MTOK_MAX = 10**15
"""One dollar per token: a higher rate is a mistake in the unit (per thousand, per million)."""

REQUEST_NUSD_MAX = 10**12
"""A thousand dollars: the highest fixed fee of a request."""

MULTIPLIER_LEAST = Decimal("0.01")
MULTIPLIER_MAX = 100
"""The lowest and the highest factor on a price; beyond them is a percentage, or a price."""

_PER_TOKEN_SHIFT = 15  # dollars per token -> nano-dollars per million tokens
_PER_THOUSAND_SHIFT = 12  # dollars per thousand -> nano-dollars per million
_DOLLAR_SHIFT = 9  # dollars -> nano-dollars
_NUMBER_CHARS_MAX = 64
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?", re.ASCII)
_EXACT = Context(prec=200, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_CEILING, traps=[])
_LEAST_EXPONENT = -40  # below it, the ceiling is 1 whatever the digits are


class PriceInvalid(ValueError):  # the product's word for it, used in refusals
    """A price that cannot be used; the message names the key, the reason and what to write."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What each token meter costs, in nano-dollars per million tokens (int, 0 to RATE_..._MAX).

    `cached_audio_input` is for those of the cached tokens that are known to be audio.
    $0.0375 per million tokens is 37_500_000. Raises PriceInvalid.
    """

    input_nusd_per_mtok: int
    cached_input_nusd_per_mtok: int
    cache_write_5m_nusd_per_mtok: int
    cache_write_1h_nusd_per_mtok: int
    audio_input_nusd_per_mtok: int
    image_input_nusd_per_mtok: int
    output_nusd_per_mtok: int
    reasoning_output_nusd_per_mtok: int
    audio_output_nusd_per_mtok: int
    cached_audio_input_nusd_per_mtok: int
    video_input_nusd_per_mtok: int
    image_output_nusd_per_mtok: int

    def __post_init__(self) -> None:
        for field in fields(self):
            rate = getattr(self, field.name)
            if type(rate) is not int or not 0 <= rate <= RATE_NUSD_PER_MTOK_MAX:
                raise PriceInvalid(
                    f"rate {field.name} must be an int from 0 to {RATE_NUSD_PER_MTOK_MAX}"
                )


RATE_NAMES = tuple(field.name for field in fields(Rates))


@dataclass(frozen=True, slots=True)
class Fees:
    """What is billed by something else than tokens, in nano-dollars per million of it.

    Calls of a web search and of other tools of the provider, milliseconds of sound, pages read,
    characters spoken. None: there is no price for it, so that it cannot be used by accident for
    free. $10 per thousand searches are 10^13. Raises PriceInvalid.
    """

    search_calls_nusd_per_m: int | None = None
    tool_calls_nusd_per_m: int | None = None
    audio_ms_nusd_per_m: int | None = None
    pages_nusd_per_m: int | None = None
    characters_nusd_per_m: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            fee = getattr(self, field.name)
            if fee is not None and (type(fee) is not int or not 0 <= fee <= RATE_NUSD_PER_MTOK_MAX):
                raise PriceInvalid(
                    f"fee {field.name} must be an int from 0 to {RATE_NUSD_PER_MTOK_MAX}, or None"
                )


FEE_NAMES = tuple(field.name for field in fields(Fees))
NO_FEES = Fees()


def complete_rates(known: Mapping[str, int], fallback: Mapping[str, int]) -> Rates:
    """All rates of a price of which only some are known; what is not known is never too low.

    `known` must have the input and the output rate. A missing rate is the higher one of what
    `fallback` (the less specific price: the base of a tier) says and of a rule: cached input, audio
    and images cost what text costs; a cache write costs 1.25 times, a long-lived one 2 times the
    input (Anthropic's pricing page, "Prompt caching"; OpenAI's guide has the same 1.25); reasoning
    and audio output cost what text output costs; video is priced as text, generated images as text
    output, and cached audio as audio. Nano-dollars per million tokens throughout.
    """
    text_in, text_out = known["input_nusd_per_mtok"], known["output_nusd_per_mtok"]
    write_5m = known.get("cache_write_5m_nusd_per_mtok", -(-text_in * 5 // 4))
    rule = {
        "input_nusd_per_mtok": text_in,
        "cached_input_nusd_per_mtok": text_in,
        "cache_write_5m_nusd_per_mtok": write_5m,
        "cache_write_1h_nusd_per_mtok": max(2 * text_in, write_5m),
        "audio_input_nusd_per_mtok": text_in,
        "image_input_nusd_per_mtok": text_in,
        "output_nusd_per_mtok": text_out,
        "reasoning_output_nusd_per_mtok": text_out,
        "audio_output_nusd_per_mtok": text_out,
        "cached_audio_input_nusd_per_mtok": max(
            text_in, known.get("audio_input_nusd_per_mtok", text_in)
        ),
        "video_input_nusd_per_mtok": text_in,
        "image_output_nusd_per_mtok": text_out,
    }
    return Rates(
        **{
            name: known[name] if name in known else max(rule[name], fallback.get(name, 0))
            for name in RATE_NAMES
        }
    )


def rate_from_usd_per_token(value: object, key: str) -> int:
    """Dollars per token, as number or decimal text, in nano-dollars per million tokens, rounded up.

    Raises PriceInvalid, with `key` in front, for what is not a number, negative, not finite, or
    above one dollar per token.
    """
    return _shifted(value, key, _PER_TOKEN_SHIFT, RATE_NUSD_PER_MTOK_MAX)


def nusd_from_usd(value: object, key: str) -> int:
    """Dollars, as number or decimal text, in nano-dollars, rounded up. Raises PriceInvalid."""
    return _shifted(value, key, _DOLLAR_SHIFT, REQUEST_NUSD_MAX)


def nusd_from_usd_sum(amounts: Mapping[str, object]) -> int:
    """Several amounts of dollars together, in nano-dollars, rounded up once. Raises PriceInvalid
    with the key of the amount that is none."""
    for key, value in amounts.items():
        nusd_from_usd(value, key)
    total = Decimal(0)
    for key, value in amounts.items():
        total = _EXACT.add(total, _decimal(value, key))
    return _shifted(total, " + ".join(amounts), _DOLLAR_SHIFT, len(amounts) * REQUEST_NUSD_MAX)


def rate_from_usd_per_thousand(value: object, key: str) -> int:
    """Dollars per thousand of something (calls; a second has a thousand milliseconds), as number or
    decimal text, in nano-dollars per million of it, rounded up. Raises PriceInvalid."""
    return _shifted(value, key, _PER_THOUSAND_SHIFT, RATE_NUSD_PER_MTOK_MAX)


def multiplier(value: object, key: str) -> Fraction:
    """A factor on prices, exactly as it is written: above 0, at most MULTIPLIER_MAX.
    Raises PriceInvalid."""
    factor = _decimal(value, key)
    if not MULTIPLIER_LEAST <= factor <= MULTIPLIER_MAX:
        raise PriceInvalid(
            f"{key} must be from {MULTIPLIER_LEAST} to {MULTIPLIER_MAX}; 1 changes nothing"
        )
    return Fraction(factor)


def scaled(rates: Rates, factor: Fraction) -> Rates:
    """All rates times `factor`, each rounded up to a nano-dollar per million tokens."""
    return Rates(*(math.ceil(getattr(rates, name) * factor) for name in RATE_NAMES))


def whole_tokens(value: object, key: str) -> int:
    """A number of tokens that a price file gives: 0 to TOKENS_MAX. Raises PriceInvalid."""
    tokens = _decimal(value, key)
    if not 0 <= tokens <= TOKENS_MAX or tokens != tokens.to_integral_value():
        raise PriceInvalid(f"{key} must be a whole number of tokens from 0 to {TOKENS_MAX}")
    return int(tokens)


def _shifted(value: object, key: str, shift: int, nusd_max: int) -> int:
    amount = _decimal(value, key)
    if amount < 0:
        raise PriceInvalid(f"{key} is negative; a price is zero or more")
    if amount == 0:
        return 0
    if amount.adjusted() < _LEAST_EXPONENT:
        return 1
    most = Decimal(nusd_max).scaleb(-shift)
    if amount > most:
        raise PriceInvalid(f"{key} is above ${most:f}; give the price of one, in dollars")
    return int(amount.scaleb(shift, _EXACT).to_integral_value(ROUND_CEILING, _EXACT))


def _decimal(value: object, key: str) -> Decimal:
    """The decimal number that was written. `repr` of a float is the shortest text that means it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise PriceInvalid(f"{key} must be a number, not {type(value).__name__}")
    if isinstance(value, int) and value.bit_length() > _NUMBER_CHARS_MAX:
        raise PriceInvalid(f"{key} is absurdly large")
    text = float.__repr__(value) if isinstance(value, float) else str(value)
    if len(text) > _NUMBER_CHARS_MAX or not _NUMBER.fullmatch(text):
        raise PriceInvalid(f"{key} is not a finite decimal number: {text[:_NUMBER_CHARS_MAX]!r}")
    return Decimal(text)
