"""What a model costs, as one immutable value.

A price is compared, hashed into events and multiplied on every request, so it is integers only and
complete: no meter without a rate, no missing bound of the context. Whatever is uncertain was
decided when the price was made, towards the dearer side, and not again at each request.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256

from pricing.meters import TOKENS_MAX
from pricing.model_info import DEFAULT_TIER, RateTable, read_model_info
from pricing.rates import (
    RATE_NAMES,
    REQUEST_NUSD_MAX,
    PriceInvalid,
    Rates,
    complete_rates,
    whole_tokens,
)

VERSION_CHARS = 12
"""Hexadecimal digits of a price's version (48 bits: no collision among millions of prices)."""

STANDARD_TIERS = frozenset({DEFAULT_TIER, "standard"})
"""OpenAI's and Anthropic's name of the service tier that every price has."""

_INPUT, _OUTPUT = "input_nusd_per_mtok", "output_nusd_per_mtok"

# Tokens that a provider adds to each request, and to one with tools, and bills as input. Where
# `model_info` does not say (LiteLLM's `token_count_...framing`), by family: Anthropic's page on
# tool use lists up to 530 tokens of system prompt; for xAI LiteLLM measured up to 185 and 302.
_FRAMING = (("claude", 0, 640), ("grok", 256, 384))

# "For GPT-5.6 models and later model families, cache writes cost 1.25x the uncached input token
# rate", and caching is automatic: OpenAI's guide "Prompt caching".
_GPT = re.compile(r"gpt-([0-9]{1,2})(?:[.-]([0-9]{1,2})(?![0-9]))?(?![0-9])", re.ASCII)
_GPT_BILLS_WRITES_FROM = (5, 6)
_GPT_BILLS_WRITES_BEFORE = (35, 0)  # Azure's name of GPT-3.5 is gpt-35
# Claude writes to the cache only where `cache_control` asks for it: Anthropic, "Prompt caching".
_WRITES_WHEN_ASKED = "claude"


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
    each with tools. `version`: computed; the same content has the same version everywhere.
    Raises PriceInvalid.
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


def price_from_model_info(
    provider: str, model: str, info: Mapping[str, object], *, service_tier: str = DEFAULT_TIER
) -> Price:
    """The price in LiteLLM's `model_info` (dollars per token; numbers or decimal text).

    Needs input_cost_per_token, output_cost_per_token, max_input_tokens and max_output_tokens (or
    the older max_tokens, for the output only). Missing rates get the dearest plausible value, see
    `complete_rates`. Keys that do not speak of money are ignored. Raises PriceInvalid.
    """
    try:
        return _price(provider, model, info, service_tier)
    except PriceInvalid as error:
        raise PriceInvalid(f"price of {provider}/{model}: {error}") from None


def _price(provider: str, model: str, info: Mapping[str, object], service_tier: str) -> Price:
    table = read_model_info(provider, model, info)
    base = table.rates.get((DEFAULT_TIER, 0), {})
    for name, key in ((_INPUT, "input_cost_per_token"), (_OUTPUT, "output_cost_per_token")):
        if name not in base:
            raise PriceInvalid(f"{key} is missing; what is free has an explicit 0")
    for above in table.thresholds(DEFAULT_TIER):
        known = table.rates[DEFAULT_TIER, above]
        if (_INPUT in known) != (_OUTPUT in known):
            raise PriceInvalid(f"above {above} tokens, give input and output cost, or neither")
    priced = STANDARD_TIERS | {name for name, _ in table.rates if _is_priced(table, name)}
    if service_tier not in priced:
        raise PriceInvalid(
            f"service tier {service_tier!r} has no complete price; priced: {sorted(priced)}"
        )
    tier = DEFAULT_TIER if service_tier in STANDARD_TIERS else service_tier
    framing, tool_framing = _framing(provider, model, info)
    return Price(
        provider=provider,
        model=model,
        rates=_rates(table, tier, 0),
        max_input_tokens=_limit(info, ("max_input_tokens",)),
        max_output_tokens=_limit(info, ("max_output_tokens", "max_tokens")),
        request_nusd=table.request_nusd,
        tiers=tuple(Tier(above, _rates(table, tier, above)) for above in table.thresholds(tier)),
        service_tier=tier,
        service_tiers=frozenset(priced),
        unpriced=frozenset(table.unpriced),
        cache_write_unasked=_writes_unasked(provider, model, table),
        framing_tokens=framing,
        tool_framing_tokens=tool_framing,
    )


def _is_priced(table: RateTable, tier: str) -> bool:
    """A service tier is priced when it has its own input and output rate wherever the default has.

    Half a price would have to be guessed: providers differ on what priority costs in long context.
    """
    needed = [0] + [
        above
        for above in table.thresholds(DEFAULT_TIER)
        if _INPUT in table.rates[DEFAULT_TIER, above]
    ]
    return all({_INPUT, _OUTPUT} <= table.rates.get((tier, above), {}).keys() for above in needed)


def _rates(table: RateTable, tier: str, above: int) -> Rates:
    """Complete rates of one cell of the table, from the cells that are less specific."""
    cells = [table.rates.get(cell, {}) for cell in ((DEFAULT_TIER, 0), (tier, 0))]
    if above:
        cells.append(table.rates.get((DEFAULT_TIER, above), {}))
    fallback = {
        name: max(cell.get(name, 0) for cell in cells)
        for name in RATE_NAMES
        if any(name in cell for cell in cells)
    }
    plain = table.rates[tier, 0]
    known = {_INPUT: plain[_INPUT], _OUTPUT: plain[_OUTPUT], **table.rates.get((tier, above), {})}
    return complete_rates(known, fallback)


def _limit(info: Mapping[str, object], keys: tuple[str, ...]) -> int:
    """A bound of the context window. `max_tokens` can be the output's bound: never the input's."""
    for key in keys:
        value = info.get(key)
        if value is not None:
            tokens = whole_tokens(value, key)
            if tokens == 0:
                raise PriceInvalid(f"{key} must be above 0")
            return tokens
    raise PriceInvalid(f"{keys[0]} is missing; without it the cost has no bound")


def _framing(provider: str, model: str, info: Mapping[str, object]) -> tuple[int, int]:
    """Input tokens that the provider adds: (to each request, to each request with tools)."""
    name = f"{provider}/{model}".casefold()
    family = next(((each, tools) for key, each, tools in _FRAMING if key in name), (0, 0))
    said = [
        [
            whole_tokens(info[key], key)
            for key in (f"token_count_{kind}", f"token_count_responses_{kind}")
            if info.get(key) is not None
        ]
        for kind in ("framing", "tool_framing")
    ]
    return max(said[0], default=family[0]), max(said[1], default=family[1])


def _writes_unasked(provider: str, model: str, table: RateTable) -> bool:
    """Whether cache writes can be billed although the request has no cache_control."""
    name = f"{provider}/{model}".casefold()
    if _WRITES_WHEN_ASKED in name or provider == "anthropic":
        return False
    gpt = _GPT.search(name)
    generation = (int(gpt[1]), int(gpt[2] or 0)) if gpt else (0, 0)
    if _GPT_BILLS_WRITES_FROM <= generation < _GPT_BILLS_WRITES_BEFORE:
        return True
    base = table.rates[DEFAULT_TIER, 0]
    return base.get("cache_write_5m_nusd_per_mtok", 0) > base[_INPUT]


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise PriceInvalid(f"{name} must be an int from {least} to {most}")


def _version(price: Price) -> str:
    """A digest of the content in one canonical form: sorted keys, integers, no spaces."""
    content = {
        item.name: _plain(getattr(price, item.name))
        for item in fields(price)
        if item.name != "version"
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:VERSION_CHARS]


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, (Rates, Tier)):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value
