"""Google's generateContent: modalities, a cache that is part of the prompt, thoughts beside it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import Meters, UsageInvalid, Used, read_usage

COUNT = st.integers(0, 10**6)
MODALITIES = ["TEXT", "AUDIO", "VIDEO", "IMAGE", "DOCUMENT", "SMELL"]


def read(output: list[dict[str, Any]] | None = None, **usage: Any) -> Used:
    return read_usage("google", usage, api="google-generate", output=output)


def modalities(**counts: int) -> list[dict[str, object]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def test_a_cached_modality_leaves_only_its_rest() -> None:
    """What came from the cache is taken out of its own modality, and audio in it is told."""
    used = read(
        promptTokenCount=100,
        cachedContentTokenCount=60,
        promptTokensDetails=modalities(TEXT=20, AUDIO=50, VIDEO=30),
        cacheTokensDetails=modalities(AUDIO=40, VIDEO=20),
    )
    assert used.meters == Meters(text_input=20, cached_input=60, audio_input=10, video_input=10)
    assert used.facts.cached_audio == 40


def test_a_cache_without_modalities_leaves_the_dear_ones_uncached() -> None:
    """Where nobody says what was cached, the audio was not."""
    used = read(
        promptTokenCount=100, cachedContentTokenCount=60, promptTokensDetails=modalities(AUDIO=30)
    )
    assert used.meters == Meters(text_input=10, cached_input=60, audio_input=30)


def test_a_cache_is_not_larger_than_the_prompt() -> None:
    """promptTokenCount contains the cached tokens."""
    with pytest.raises(UsageInvalid, match="cachedContentTokenCount is 2, more than its total, 1"):
        read(promptTokenCount=1, cachedContentTokenCount=2)


def test_prompts_of_tools_are_input_by_modality() -> None:
    """What a tool put into the prompt is input, images as images."""
    used = read(
        promptTokenCount=10,
        toolUsePromptTokenCount=100,
        toolUsePromptTokensDetails=modalities(IMAGE=30, DOCUMENT=20),
    )
    assert used.meters == Meters(text_input=60, image_input=50)


def test_what_only_the_total_has_is_thought() -> None:
    """Tokens that stand in the total alone are billed as output."""
    used = read(promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=40)
    assert used.meters == Meters(text_input=10, text_output=5, reasoning_output=25)


def test_the_live_api_calls_it_a_response() -> None:
    """The same counters under the names of the Live API."""
    used = read(promptTokenCount=1, responseTokenCount=9, responseTokensDetails=modalities(AUDIO=8))
    assert used.meters == Meters(text_input=1, text_output=1, audio_output=8)


def test_video_that_was_made_has_no_meter() -> None:
    """Made video is not priced as text: it is refused."""
    with pytest.raises(UsageInvalid, match="video output has no meter"):
        read(candidatesTokenCount=9, candidatesTokensDetails=modalities(VIDEO=9))


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND"}, ""),
        ({"serviceTier": "PRIORITY"}, "priority"),
        ({"serviceTier": "SERVICE_TIER_FLEX"}, "flex"),
        ({}, ""),
    ],
)
def test_the_tier_that_served_is_told_in_two_ways(usage: dict[str, Any], tier: str) -> None:
    """Vertex AI names its kind of traffic, the Gemini API its service tier."""
    assert read(promptTokenCount=1, **usage).facts.service_tier == tier


def test_queries_of_the_answer_are_searches() -> None:
    """Grounding is not in the usage: each query of each candidate counts."""
    grounded: dict[str, Any] = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}
    used = read([grounded, {"groundingMetadata": {}}, {}, grounded], promptTokenCount=1)
    assert used.meters.search_calls == 4


@given(
    prompt=COUNT,
    tool=COUNT,
    made=COUNT,
    thoughts=COUNT,
    parts=st.lists(COUNT, min_size=6, max_size=6),
)
def test_all_tokens_are_in_exactly_one_meter(
    prompt: int, tool: int, made: int, thoughts: int, parts: list[int]
) -> None:
    """Whatever the modalities say, input and output are what the totals are."""
    used = read(
        promptTokenCount=prompt,
        toolUsePromptTokenCount=tool,
        candidatesTokenCount=made,
        thoughtsTokenCount=thoughts,
        promptTokensDetails=modalities(**dict(zip(MODALITIES, parts, strict=True))),
        candidatesTokensDetails=modalities(IMAGE=parts[0], AUDIO=parts[1]),
    )
    assert used.meters.input_tokens == prompt + tool
    assert used.meters.output_tokens == made + thoughts
