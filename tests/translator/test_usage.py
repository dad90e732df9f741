"""What the translator writes is what the gateway reads: the meters of the provider's own object."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import Meters, meters_from_openai_chat, read_usage
from translator.usage import openai_usage, usage_object

NOT_TOKENS = ("tool_calls", "search_calls", "audio_ms", "pages", "characters")
TOKENS = [each.name for each in fields(Meters) if each.name not in NOT_TOKENS]


@given(st.fixed_dictionaries({}, optional={name: st.integers(0, 10**6) for name in TOKENS}))
def test_meters_survive(counts: dict[str, int]) -> None:
    """All that count tokens, in any mixture."""
    meters = Meters(**counts)
    assert meters_from_openai_chat(openai_usage(meters)) == meters


@pytest.mark.parametrize(
    ("api", "raw"),
    [
        (
            "google-generate",
            {
                "promptTokenCount": 11,
                "candidatesTokenCount": 7,
                "thoughtsTokenCount": 5,
                "cachedContentTokenCount": 3,
                "totalTokenCount": 23,
            },
        ),
        (
            "bedrock-converse",
            {
                "inputTokens": 8,
                "outputTokens": 12,
                "cacheReadInputTokens": 3,
                "cacheWriteInputTokens": 4,
            },
        ),
        (
            "anthropic-messages",
            {
                "input_tokens": 8,
                "output_tokens": 12,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_1h_input_tokens": 9, "ephemeral_5m_input_tokens": 0},
            },
        ),
        ("cohere-chat", {"billed_units": {"input_tokens": 8, "output_tokens": 12}}),
    ],
)
def test_what_a_provider_says(api: str, raw: dict[str, Any]) -> None:
    """By whatever name it calls it."""
    usage = usage_object("somebody", raw, api)
    assert usage is not None
    assert meters_from_openai_chat(usage) == read_usage("somebody", raw, api=api).meters


@pytest.mark.parametrize(
    ("api", "raw"),
    [
        ("google-generate", {}),
        ("openai-chat", {"prompt_tokens": 3}),
        ("bedrock-converse", {"inputTokens": "many", "outputTokens": 1}),
        ("cohere-chat", {"billed_units": {"input_tokens": 8}}),
        (
            "cohere-chat",
            {"billed_units": {"input_tokens": 8, "output_tokens": 1, "search_units": 1}},
        ),
    ],
)
def test_what_cannot_be_said_in_tokens_is_not_said(api: str, raw: dict[str, Any]) -> None:
    """The gateway then books the whole reservation."""
    assert usage_object("somebody", raw, api) is None
