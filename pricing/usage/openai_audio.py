"""Transcriptions: billed by the length of the sound, or by tokens.

Source: OpenAI's API reference, "Create transcription", `usage` of both types.
"""

import math
from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output, shown

_MS_PER_S = 1000
_DURATION = "duration"


def _recognises(usage: Mapping[str, object]) -> bool:
    return usage.get("type") in (_DURATION, "tokens")


def _read(usage: Counters, _output: Output) -> Used:
    if usage.text("type") == _DURATION:
        return Used(Meters(audio_ms=_milliseconds(usage.values.get("seconds"))))
    heard = usage.count("input_tokens", required=True)
    audio = usage.inside("input_token_details").part("audio_tokens", heard)
    written = usage.count("output_tokens", required=True)
    return Used(Meters(text_input=heard - audio, audio_input=audio, text_output=written))


def _milliseconds(seconds: object) -> int:
    """Seconds can be a fraction; of a millisecond the whole one counts."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UsageInvalid(f"seconds must be a number, not {shown(seconds)}")
    if not 0 <= seconds <= TOKENS_MAX // _MS_PER_S:
        raise UsageInvalid(f"seconds must be from 0 to {TOKENS_MAX // _MS_PER_S}")
    return math.ceil(seconds * _MS_PER_S)


API = Api("openai-audio", _recognises, _read)
