"""Bedrock, embeddings, images, sound, pages and characters."""

import pytest

from pricing import Meters, UsageInvalid, read_usage


def meters(usage: dict[str, object], api: str | None = None) -> Meters:
    return read_usage("somebody", usage, api=api).meters


def test_bedrock_splits_writes_by_lifetime() -> None:
    """Whatever does not live five minutes is long-lived, and what is not named is short-lived."""
    usage: dict[str, object] = {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 30}
    details = [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 4}]
    assert meters(usage | {"cacheDetails": details}) == Meters(
        text_input=1, cache_write_5m=10, cache_write_1h=20, text_output=2
    )
    with pytest.raises(UsageInvalid, match="has 31 long-lived tokens of 30"):
        meters(usage | {"cacheDetails": [{"ttl": "24h", "inputTokens": 31}]})


def test_embeddings_have_input_only() -> None:
    """A total above the prompt is billed, too."""
    assert meters({"prompt_tokens": 8, "total_tokens": 9}) == Meters(text_input=9)


def test_images_are_made_of_image_tokens() -> None:
    """All of the output is image, but what is said to be text."""
    usage: dict[str, object] = {
        "input_tokens": 100,
        "input_tokens_details": {"text_tokens": 40, "image_tokens": 60, "cached_tokens": 15},
        "output_tokens": 1000,
    }
    assert meters(usage) == Meters(
        text_input=25, cached_input=15, image_input=60, image_output=1000
    )
    made = meters(usage | {"output_tokens_details": {"text_tokens": 100, "image_tokens": 900}})
    assert (made.text_output, made.image_output) == (100, 900)


def test_a_response_about_images_is_no_image() -> None:
    """Image tokens in the details do not make a reasoning model's answer an image."""
    usage: dict[str, object] = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0, "image_tokens": 60},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 110,
    }
    assert meters(usage) == Meters(text_input=40, image_input=60, text_output=6, reasoning_output=4)


@pytest.mark.parametrize(("seconds", "audio_ms"), [(9, 9000), (0, 0), (1.5, 1500), (0.0001, 1)])
def test_sound_is_milliseconds_rounded_up(seconds: float, audio_ms: int) -> None:
    """Fractions of a second are kept; of a millisecond the whole one counts."""
    assert meters({"type": "duration", "seconds": seconds}) == Meters(audio_ms=audio_ms)


@pytest.mark.parametrize("seconds", [-1, True, None, "9", float("nan"), float("inf"), 10**9])
def test_a_length_that_is_none_is_refused(seconds: object) -> None:
    """Negative, infinite or absurd lengths are UsageInvalid."""
    with pytest.raises(UsageInvalid, match="seconds must be"):
        meters({"type": "duration", "seconds": seconds})


def test_spoken_conversations_keep_audio_apart() -> None:
    """Realtime usage: cached audio leaves the audio, and is told, because it has its own price."""
    usage: dict[str, object] = {
        "input_tokens": 100,
        "output_tokens": 50,
        "total_tokens": 150,
        "input_token_details": {
            "text_tokens": 30,
            "audio_tokens": 60,
            "image_tokens": 10,
            "cached_tokens": 45,
            "cached_tokens_details": {"text_tokens": 5, "audio_tokens": 40},
        },
        "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
    }
    used = read_usage("openai", usage)
    assert used.meters == Meters(
        text_input=25,
        cached_input=45,
        audio_input=20,
        image_input=10,
        text_output=10,
        audio_output=40,
    )
    assert used.facts.cached_audio == 40


def test_more_cannot_be_cached_than_there_is() -> None:
    """Cached audio of a request without audio is refused."""
    details = {"cached_tokens": 5, "cached_tokens_details": {"audio_tokens": 5}}
    with pytest.raises(UsageInvalid, match="more audio_input tokens are cached"):
        meters({"input_tokens": 10, "output_tokens": 1, "input_token_details": details})


def test_pages_and_characters_are_counted_as_they_are() -> None:
    """What is billed by the piece has a meter of its own, and no tokens."""
    assert meters({"pages_processed": 29, "doc_size_bytes": None}) == Meters(pages=29)
    assert meters({"characters": 1234}) == Meters(characters=1234)
