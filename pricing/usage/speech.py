"""Speech that is billed by the characters of its text. Answers have no usage object (OpenAI's API
reference, "Create speech"): whoever sent the text counts it, as {"characters": 1234}."""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output


def _recognises(usage: Mapping[str, object]) -> bool:
    return "characters" in usage


def _read(usage: Counters, _output: Output) -> Used:
    return Used(Meters(characters=usage.count("characters", required=True)))


API = Api("speech", _recognises, _read)
