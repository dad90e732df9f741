"""Bedrock's Converse API. Source: Amazon Bedrock API reference, `TokenUsage` and `CacheDetail`.

`inputTokens` has neither cache reads nor cache writes; `cacheDetails` splits the writes by
lifetime, and what it does not name has the default of five minutes.
"""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output

_READ_KEYS = ("cacheReadInputTokens", "cacheReadInputTokenCount")
_WRITE_KEYS = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")
_SHORT_LIVED = "5m"


def _recognises(usage: Mapping[str, object]) -> bool:
    return "inputTokens" in usage


def _read(usage: Counters, _output: Output) -> Used:
    written = usage.largest_part(_WRITE_KEYS, TOKENS_MAX)
    details = usage.items("cacheDetails")
    long_lived = sum(
        each.count("inputTokens") for each in details if each.text("ttl") != _SHORT_LIVED
    )
    if long_lived > written:
        raise UsageInvalid(f"cacheDetails has {long_lived} long-lived tokens of {written} written")
    return Used(
        Meters(
            text_input=usage.count("inputTokens", required=True),
            cached_input=usage.largest_part(_READ_KEYS, TOKENS_MAX),
            cache_write_5m=written - long_lived,
            cache_write_1h=long_lived,
            text_output=usage.count("outputTokens", required=True),
        )
    )


API = Api("bedrock-converse", _recognises, _read)
