"""Images made or edited by OpenAI's image models.

Source: OpenAI's API reference, "Create image", `usage`: text and image tokens in, image tokens out;
newer models say how many of the output are text.
"""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output
from pricing.usage.openai_tokens import share


def _recognises(usage: Mapping[str, object]) -> bool:
    given, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    thinks = isinstance(made, Mapping) and "reasoning_tokens" in made
    return isinstance(given, Mapping) and "image_tokens" in given and not thinks


def _read(usage: Counters, _output: Output) -> Used:
    given = usage.count("input_tokens", required=True)
    made = usage.count("output_tokens", required=True)
    details = usage.inside("input_tokens_details")
    text_out = usage.inside("output_tokens_details").part("text_tokens", made)
    wanted = {
        "image_input": details.part("image_tokens", given),
        "cached_input": details.part("cached_tokens", given),
    }
    return Used(
        Meters(
            **share(given, wanted, "text_input"), text_output=text_out, image_output=made - text_out
        )
    )


API = Api("openai-images", _recognises, _read)
