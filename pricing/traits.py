"""What is known of a model beside its rates: limits, and what its provider adds to a request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pricing.meters import TOKENS_MAX
from pricing.rates import whole_tokens
from pricing.ratetable import DEFAULT_TIER, RateTable
from pricing.variants import INPUT

INPUT_LIMIT_KEYS = ("max_input_tokens",)
"""`max_tokens` can be the output's bound: never the input's."""
OUTPUT_LIMIT_KEYS = ("max_output_tokens", "max_tokens")
EMBEDDING_MODE = "embedding"
"""LiteLLM's `mode` of a model that answers with vectors."""

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
class Traits:
    """`max_input_tokens`, `max_output_tokens`: TOKENS_MAX where nobody says, or says 0 (embeddings
    have no output: of them it is the window). `framing_tokens`, `tool_framing_tokens`,
    `cache_write_unasked`: see Price."""

    max_input_tokens: int
    max_output_tokens: int
    framing_tokens: int
    tool_framing_tokens: int
    cache_write_unasked: bool


def read_traits(provider: str, model: str, info: Mapping[str, object], table: RateTable) -> Traits:
    """The traits of a model. Raises PriceInvalid."""
    framing, tool_framing = _framing(provider, model, info)
    window = limit(info, INPUT_LIMIT_KEYS) or TOKENS_MAX
    output_max = TOKENS_MAX if produces_tokens(info) else window
    return Traits(
        max_input_tokens=window,
        max_output_tokens=limit(info, OUTPUT_LIMIT_KEYS) or output_max,
        framing_tokens=framing,
        tool_framing_tokens=tool_framing,
        cache_write_unasked=_writes_unasked(provider, model, table),
    )


def produces_tokens(info: Mapping[str, object]) -> bool:
    """Whether there is any output to pay for: an embedding has none."""
    return info.get("mode") != EMBEDDING_MODE


def limit(info: Mapping[str, object], keys: tuple[str, ...]) -> int | None:
    """A bound of the context window: the first of `keys` that is there. Raises PriceInvalid."""
    for key in keys:
        value = info.get(key)
        if value is not None:
            return whole_tokens(value, key)
    return None


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
    base = table.rates.get((DEFAULT_TIER, 0), {})
    return base.get("cache_write_5m_nusd_per_mtok", 0) > base.get(INPUT, 0)
