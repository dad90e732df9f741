"""Cohere's chat. Source: Cohere's API reference, "Chat" (v2), `usage`: `billed_units` is what the
bill counts, `tokens` all that was processed, Cohere's own templates among them, which nobody pays.
"""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output


def _recognises(usage: Mapping[str, object]) -> bool:
    return "billed_units" in usage


def _read(usage: Counters, _output: Output) -> Used:
    billed = usage.inside("billed_units")
    return Used(
        Meters(
            text_input=billed.count("input_tokens", required=True),
            text_output=billed.count("output_tokens", required=True),
            search_calls=billed.count("search_units"),
        )
    )


API = Api("cohere-chat", _recognises, _read)
