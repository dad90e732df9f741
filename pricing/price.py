"""What a model costs, as one immutable value.

A price is compared, hashed into events and multiplied on every request, so it is integers only and
complete: no meter without a rate, no missing bound of the context. Whatever is uncertain was
decided when the price was made, towards the dearer side, and not again at each request.
"""

import json
from dataclasses import dataclass, field, fields
from hashlib import sha256

from pricing.meters import TOKENS_MAX
from pricing.rates import (
    FEE_NAMES,
    NO_FEES,
    RATE_NAMES,
    REQUEST_NUSD_MAX,
    Fees,
    PriceInvalid,
    Rates,
)
from pricing.ratetable import DEFAULT_TIER

VERSION_CHARS = 12
"""Hexadecimal digits of a price's version (48 bits: no collision among millions of prices)."""

STANDARD_TIERS = frozenset({DEFAULT_TIER, "standard"})
"""OpenAI's and Anthropic's name of the service tier that every price has."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of a whole request whose input is above `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """What one model of one provider costs in one service tier.

    `rates` and each tier's in nano-dollars per million tokens, `request_nusd` per request.
    `tiers` ascend by threshold. `service_tiers`: those that the source of this price has rates
    for. `unpriced`: keys of charges that a request or its route can ask for (web search, regional
    endpoints) and that are in no rate: a request that could incur one must be refused.
    `cache_write_unasked`: the provider may bill cache writes that no request asked for.
    `framing_tokens`, `tool_framing_tokens`: input that the provider adds to each request, and to
    each with tools. `fees`: what is billed by calls, pages, seconds. `version`: computed; the same
    content has the same version everywhere. Raises PriceInvalid.
    """

    provider: str
    model: str
    rates: Rates
    max_input_tokens: int
    max_output_tokens: int
    request_nusd: int = 0
    tiers: tuple[Tier, ...] = ()
    service_tier: str = DEFAULT_TIER
    service_tiers: frozenset[str] = STANDARD_TIERS
    unpriced: frozenset[str] = frozenset()
    cache_write_unasked: bool = False
    framing_tokens: int = 0
    tool_framing_tokens: int = 0
    fees: Fees = NO_FEES
    version: str = field(init=False)

    def __post_init__(self) -> None:
        for name in ("max_input_tokens", "max_output_tokens"):
            _check_int(name, getattr(self, name), 1, TOKENS_MAX)
        for name in ("framing_tokens", "tool_framing_tokens"):
            _check_int(name, getattr(self, name), 0, TOKENS_MAX)
        _check_int("request_nusd", self.request_nusd, 0, REQUEST_NUSD_MAX)
        thresholds = [tier.above_input_tokens for tier in self.tiers]
        for threshold in thresholds:
            _check_int("above_input_tokens", threshold, 1, TOKENS_MAX)
        if thresholds != sorted(set(thresholds)):
            raise PriceInvalid("tiers must ascend by above_input_tokens, each threshold once")
        object.__setattr__(self, "version", _version(self))

    @property
    def is_free(self) -> bool:
        """Whether nothing that it prices costs anything."""
        rated = (self.rates, *(tier.rates for tier in self.tiers))
        amounts = (getattr(each, name) for each in rated for name in RATE_NAMES)
        fees = (getattr(self.fees, name) or 0 for name in FEE_NAMES)
        return not (self.request_nusd or any(amounts) or any(fees))

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates of a whole request with so many input tokens (cached and writes included)."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.above_input_tokens:
                return tier.rates
        return self.rates

    def rates_up_to(self, input_tokens_max: int) -> tuple[Rates, ...]:
        """All rates that a request with at most so many input tokens can have."""
        reached = (tier.rates for tier in self.tiers if input_tokens_max > tier.above_input_tokens)
        return (self.rates, *reached)


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise PriceInvalid(f"{name} must be an int from {least} to {most}")


def version_of(content: object) -> str:
    """A digest of JSON content in one canonical form: sorted keys, integers, no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:VERSION_CHARS]


def _version(price: Price) -> str:
    content = {
        item.name: _plain(getattr(price, item.name))
        for item in fields(price)
        if item.name != "version"
    }
    if price.fees == NO_FEES:  # as before there were any
        del content["fees"]
    return version_of(content)


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Rates):
        return _plain_rates(value)
    if isinstance(value, (Tier, Fees)):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value


def _plain_rates(rates: Rates) -> dict[str, int]:
    """A rate that came later is left out where it says what was assumed before it was there, so
    that the versions in old events still name the same prices."""
    assumed = {
        "cached_audio_input_nusd_per_mtok": max(
            rates.input_nusd_per_mtok, rates.audio_input_nusd_per_mtok
        ),
        "video_input_nusd_per_mtok": rates.input_nusd_per_mtok,
        "image_output_nusd_per_mtok": rates.output_nusd_per_mtok,
    }
    values = {item.name: getattr(rates, item.name) for item in fields(rates)}
    return {name: rate for name, rate in values.items() if assumed.get(name) != rate}
