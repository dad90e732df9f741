"""OpenAI's chat completions, and everybody's who speaks them.

Source: OpenAI's API reference, "The chat completion object", and its guide "Prompt caching"; what
others add to it: DeepSeek's, Mistral's and xAI's API references, OpenRouter's "Usage accounting".
"""

from collections.abc import Mapping

from pricing.facts import STANDARD, Facts, Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output, counters
from pricing.usage.openai_tokens import CHAT, read_tokens
from pricing.usage.server_tools import CALL_KEYS, calls_in_usage

_MS_PER_S = 1000
_HEARD = "prompt_audio_seconds"  # Mistral's, of Voxtral models
_BESIDE_TOKENS = frozenset((_HEARD, *CALL_KEYS))


def meters_from_openai_chat(usage: Mapping[str, object]) -> Meters:
    """The token meters of an OpenAI chat-completions `usage` object.

    `prompt_tokens` contains the counters of `prompt_tokens_details` (`cached_tokens`,
    `cache_write_tokens`, `audio_tokens`, `image_tokens`, `video_tokens`), `completion_tokens` those
    of `completion_tokens_details` (`reasoning_tokens`, `audio_tokens`, `image_tokens`). Absent or
    null details are zero. Raises UsageInvalid.
    """
    return read_tokens(counters(usage), CHAT)


def _recognises(usage: Mapping[str, object]) -> bool:
    return "prompt_tokens" in usage and "completion_tokens" in usage


def _read(usage: Counters, _output: Output) -> Used:
    meters, tier = read_tokens(usage, CHAT), usage.text("service_tier")
    if usage.values.keys().isdisjoint(_BESIDE_TOKENS):  # nearly all, and on the way of each answer
        return Used(meters, Facts(service_tier=tier) if tier else STANDARD)
    calls = calls_in_usage(usage)
    heard = Meters(
        search_calls=calls.searches,
        tool_calls=calls.tool_calls,
        audio_ms=usage.count(_HEARD) * _MS_PER_S,
    )
    return Used(meters.plus(heard), Facts(service_tier=tier, tools=calls.by_kind))


API = Api("openai-chat", _recognises, _read)
