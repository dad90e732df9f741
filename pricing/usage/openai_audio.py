"""Transcriptions, billed by the length of the sound or by tokens, and spoken conversations.

Source: OpenAI's API reference, "Create transcription", `usage` of both types, and the realtime
server event `response.done`, whose usage has the same counters and more.
"""

import math
from collections.abc import Mapping

from pricing.facts import Facts, Used
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output, shown
from pricing.usage.openai_tokens import share

_MS_PER_S = 1000
_DURATION = "duration"


def _recognises(usage: Mapping[str, object]) -> bool:
    return usage.get("type") == _DURATION or "input_token_details" in usage


def _read(usage: Counters, _output: Output) -> Used:
    if usage.text("type") == _DURATION:
        return Used(Meters(audio_ms=_milliseconds(usage.values.get("seconds"))))
    given = usage.count("input_tokens", required=True)
    details = usage.inside("input_token_details")
    cached = details.part("cached_tokens", given)
    cached_by = details.inside("cached_tokens_details")
    cached_audio = cached_by.part("audio_tokens", cached)
    wanted = {
        "cached_input": cached,
        "audio_input": details.part("audio_tokens", given) - cached_audio,
        "image_input": details.part("image_tokens", given) - cached_by.part("image_tokens", cached),
    }
    for name, count in wanted.items():
        if count < 0:
            raise UsageInvalid(f"input_token_details: more {name} tokens are cached than there are")
    made = usage.count("output_tokens", required=True)
    audio_out = usage.inside("output_token_details").part("audio_tokens", made)
    meters = Meters(
        **share(given, wanted, "text_input"), text_output=made - audio_out, audio_output=audio_out
    )
    return Used(meters, Facts(cached_audio=cached_audio))


def _milliseconds(seconds: object) -> int:
    """Seconds can be a fraction; of a millisecond the whole one counts."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageInvalid(f"seconds must be a number, not {shown(seconds)}")
    if not 0 <= seconds <= TOKENS_MAX // _MS_PER_S:
        raise UsageInvalid(f"seconds must be from 0 to {TOKENS_MAX // _MS_PER_S}")
    return math.ceil(seconds * _MS_PER_S)


API = Api("openai-audio", _recognises, _read)
