"""Providers' own counters of a request's input, one file each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.counters.anthropic_messages import AnthropicMessagesCounter
from gateway.counters.contract import Counter, CountUnusable
from gateway.counters.google_generate import GoogleGenerateCounter
from gateway.counters.openai_responses import OpenAIResponsesCounter

COUNTERS: Final[Mapping[str, Counter]] = MappingProxyType(
    {
        "anthropic": AnthropicMessagesCounter(),
        "google": GoogleGenerateCounter(),
        "openai": OpenAIResponsesCounter(),
    }
)
"""By the name that `input_counter` in model_info has."""

__all__ = ["COUNTERS", "CountUnusable", "Counter"]
