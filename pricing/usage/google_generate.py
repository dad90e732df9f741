"""Google's generateContent, of the Gemini API and of Vertex AI.

Source: Gemini API reference, `UsageMetadata`: `promptTokenCount` contains the cached tokens and is
split by modality, as is `cachedContentTokenCount`; thoughts and the prompts of tools are counted
beside. Pricing page: tokens of the DOCUMENT modality cost what image tokens cost.
"""

from collections.abc import Mapping

from pricing.facts import Facts, Used
from pricing.meters import Meters, UsageInvalid
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output
from pricing.usage.openai_tokens import share

_INPUT_METERS = {
    "AUDIO": "audio_input",
    "VIDEO": "video_input",
    "IMAGE": "image_input",
    "DOCUMENT": "image_input",
}
_OUTPUT_METERS = {"AUDIO": "audio_output", "IMAGE": "image_output"}
# Vertex AI's API reference, `TrafficType`: which of its tiers served the request.
_TIERS = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


def _recognises(usage: Mapping[str, object]) -> bool:
    return "promptTokenCount" in usage or "totalTokenCount" in usage


def _read(usage: Counters, output: Output) -> Used:
    prompt = usage.count("promptTokenCount")
    cached = usage.part("cachedContentTokenCount", prompt)
    cached_by = _by_modality(usage, "cacheTokensDetails")
    tool_prompt = usage.count("toolUsePromptTokenCount")
    given = (
        _input(prompt - cached, _fresh(_by_modality(usage, "promptTokensDetails"), cached_by))
        .plus(_input(tool_prompt, _by_modality(usage, "toolUsePromptTokensDetails")))
        .plus(Meters(cached_input=cached))
    )
    searches = _searches(output)
    return Used(
        given.plus(_output(usage, prompt + tool_prompt)).plus(Meters(search_calls=searches)),
        Facts(
            service_tier=_tier(usage),
            cached_audio=min(cached_by.get("AUDIO", 0), cached),
        ),
    )


def _tier(usage: Counters) -> str:
    """The Gemini API names the tier, with or without the prefix of its enumeration."""
    named = usage.text("serviceTier").lower().removeprefix("service_tier_")
    return _TIERS.get(usage.text("trafficType"), named)


def _by_modality(usage: Counters, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in usage.items(key):
        modality = each.text("modality")
        found[modality] = found.get(modality, 0) + each.count("tokenCount")
    return found


def _fresh(prompt: Mapping[str, int], cached: Mapping[str, int]) -> dict[str, int]:
    """What of each modality did not come from the cache."""
    return {modality: max(count - cached.get(modality, 0), 0) for modality, count in prompt.items()}


def _input(whole: int, by_modality: Mapping[str, int]) -> Meters:
    """Dealt out to the dearest first; what no modality claims is text."""
    wanted = dict.fromkeys(_INPUT_METERS.values(), 0)
    for modality, meter in _INPUT_METERS.items():
        wanted[meter] += by_modality.get(modality, 0)
    return Meters(**share(whole, wanted, "text_input"))


def _output(usage: Counters, given: int) -> Meters:
    """`candidatesTokenCount` has no thoughts in it; what only the total has is counted as such.
    The Live API calls it `responseTokenCount`."""
    made = max(usage.count("candidatesTokenCount"), usage.count("responseTokenCount"))
    thoughts = usage.count("thoughtsTokenCount")
    unseen = max(usage.count("totalTokenCount") - given - made - thoughts, 0)
    details = {
        **_by_modality(usage, "candidatesTokensDetails"),
        **_by_modality(usage, "responseTokensDetails"),
    }
    if details.get("VIDEO"):
        raise UsageInvalid("candidatesTokensDetails: video output has no meter here")
    wanted = {meter: details.get(modality, 0) for modality, meter in _OUTPUT_METERS.items()}
    return Meters(**share(made, wanted, "text_output"), reasoning_output=thoughts + unseen)


def _searches(output: Output) -> int:
    """Queries of "Grounding with Google Search": items are candidates of the answer. Gemini 3 bills
    each query; older models bill a request once, so for them this is not too low."""
    searches = 0
    for candidate in output or ():
        grounding = candidate.get("groundingMetadata")
        queries = grounding.get("webSearchQueries") if isinstance(grounding, Mapping) else None
        searches += len(queries) if isinstance(queries, list) else 0
    return searches


API = Api("google-generate", _recognises, _read)
