"""What a request used, read from the provider's own usage object.

Each API has a file here. To add one is to add a file and its line in `APIS`, whose order matters
only where nobody says which API it is: the first that recognises an object reads it.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pricing.facts import Used
from pricing.meters import UsageInvalid
from pricing.usage import (
    anthropic_messages,
    bedrock_converse,
    cohere_chat,
    google_generate,
    mistral_ocr,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_images,
    openai_responses,
    openrouter_chat,
    speech,
)
from pricing.usage.contract import Api
from pricing.usage.counts import ITEMS_MAX, Counters, Output, counters
from pricing.usage.openai_chat import meters_from_openai_chat
from pricing.usage.reported import reported_cost_nusd

APIS: Mapping[str, Api] = MappingProxyType(
    {
        api.name: api
        for api in (
            openrouter_chat.API,
            openai_embeddings.API,
            openai_chat.API,
            openai_audio.API,
            openai_images.API,
            anthropic_messages.API,
            openai_responses.API,
            google_generate.API,
            bedrock_converse.API,
            cohere_chat.API,
            mistral_ocr.API,
            speech.API,
        )
    }
)
"""Name -> how its usage object is read. Read-only."""


def read_usage(
    provider: str,
    usage: Mapping[str, object],
    *,
    api: str | None = None,
    output: Output = None,
) -> Used:
    """Meters and facts of one request, from the provider's usage object as it came.

    `api`: a key of APIS; None guesses it from provider and shape. `output`: the items of the
    answer, where a provider's usage does not count calls that it bills (OpenAI's responses:
    `output`; Google's: `candidates`). What was served and stands outside the usage object (service
    tier, batch, region, time) is for the caller to put into `facts`. Raises UsageInvalid.
    """
    read = counters(usage)
    _check_output(output)
    used = _api(provider, read, api).read(read, output)
    reported = reported_cost_nusd(provider, read)
    if reported is None:
        return used
    return replace(used, facts=replace(used.facts, reported_cost_nusd=reported))


def _check_output(output: object) -> None:
    """What comes from the network is looked at before it is iterated over."""
    if output is None:
        return
    if not isinstance(output, list | tuple) or len(output) > ITEMS_MAX:
        raise UsageInvalid(f"output must be a list of at most {ITEMS_MAX} objects, or null")
    for at, item in enumerate(output):
        counters(item, f"output[{at}]")


def _api(provider: str, usage: Counters, name: str | None) -> Api:
    if name is not None and name not in APIS:
        raise UsageInvalid(f"there is no api {name!r}; there are: {', '.join(sorted(APIS))}")
    if name is not None:
        return APIS[name]
    for api in APIS.values():
        if api.provider in ("", provider) and api.recognises(usage.values):
            return api
    raise UsageInvalid(
        f"this is no usage object of an API that is known here ({', '.join(sorted(APIS))})"
    )


__all__ = ["APIS", "Output", "Used", "meters_from_openai_chat", "read_usage"]
