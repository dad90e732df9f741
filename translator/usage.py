"""What was used, as OpenAI's chat completions would say it.

The provider's own object is read by `pricing.usage` and written so that the gateway reads the same
meters out of it: LiteLLM's own object has other sums for some providers (Cohere's unbilled tokens,
Gemini's thoughts), and where a provider says nothing, guesses.
"""

from collections.abc import Mapping
from typing import Any

from pricing import Meters, UsageInvalid
from pricing.usage import read_usage


def usage_object(provider: str, raw: Mapping[str, Any], api: str) -> dict[str, Any] | None:
    """None for what cannot be read: the gateway then books all that it has reserved."""
    if not raw:
        return None
    try:
        used = read_usage(provider, raw, api=api)
    except UsageInvalid:
        return None
    meters = used.meters
    if meters.total_tokens != meters.input_tokens + meters.output_tokens or _calls(meters):
        return None
    usage = openai_usage(meters)
    if used.facts.service_tier:
        usage["service_tier"] = used.facts.service_tier
    return usage


def _calls(meters: Meters) -> int:
    """What is billed by the call or the length has no place in the object: such tools are refused
    before they are sent."""
    return meters.tool_calls + meters.search_calls + meters.audio_ms + meters.pages


def openai_usage(meters: Meters) -> dict[str, Any]:
    """Of token meters: `meters_from_openai_chat` reads the same ones out of it."""
    prompt, completion = meters.input_tokens, meters.output_tokens
    written = meters.cache_write_5m + meters.cache_write_1h
    asked = {
        "cached_tokens": meters.cached_input,
        "audio_tokens": meters.audio_input,
        "image_tokens": meters.image_input,
        "video_tokens": meters.video_input,
        "cache_write_tokens": written,
    }
    made = {
        "reasoning_tokens": meters.reasoning_output,
        "audio_tokens": meters.audio_output,
        "image_tokens": meters.image_output,
    }
    details: dict[str, Any] = {name: count for name, count in asked.items() if count}
    if meters.cache_write_1h:
        details["cache_write_tokens_details"] = {"ttl_12h_tokens": meters.cache_write_1h}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {name: count for name, count in made.items() if count},
    }
