"""Anthropic's Messages API.

Source: Anthropic's API reference, "Messages", `usage` (`input_tokens` has neither cache reads nor
cache writes; `output_tokens` has the thinking in it), and the pages "Prompt caching", "Compaction",
"Refusals and fallback" and "Advisor tool" for `iterations`.
"""

from collections.abc import Mapping
from dataclasses import replace

from pricing.facts import Facts, SubUse, Used
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output
from pricing.usage.server_tools import calls_in_usage

_BATCH = "batch"
_FAST = "fast"
_ANYWHERE = ("global", "not_available")
_FALLBACK = "fallback_message"


def _recognises(usage: Mapping[str, object]) -> bool:
    return "input_tokens" in usage and not {"total_tokens", "input_tokens_details"} & usage.keys()


def _read(usage: Counters, _output: Output) -> Used:
    own, subs = _uses(usage)
    own = _with_thinking(own, usage)
    calls = calls_in_usage(usage)
    meters = own
    if calls.searches or calls.tool_calls:  # few, and this is on the way of each answer
        meters = own.plus(Meters(search_calls=calls.searches, tool_calls=calls.tool_calls))
    for sub in subs:
        meters = meters.plus(sub.meters)
    tier, geography = usage.text("service_tier"), usage.text("inference_geo")
    return Used(
        meters,
        Facts(
            service_tier="" if tier == _BATCH else tier,
            batch=tier == _BATCH,
            region="" if geography in _ANYWHERE else geography,
            fast=usage.text("speed") == _FAST,
            tools=calls.by_kind,
            sub_uses=subs,
        ),
    )


def _uses(usage: Counters) -> tuple[Meters, tuple[SubUse, ...]]:
    """(what the answering model used, what others used).

    Where there are iterations, what is billed is their sum, and the top level is a part of it
    ("Compaction"). One that names a model is billed at that model's price ("Advisor tool"), but an
    attempt that was declined before any output is not billed ("Refusals and fallback").
    """
    top = _tokens(usage)
    iterations = usage.items("iterations")
    if not iterations:
        return top, ()
    uses = [(each, _tokens(each)) for each in iterations]
    _check_contains(top, [meters for _, meters in uses])
    falls_back = any(each.text("type") == _FALLBACK for each in iterations)
    own, subs = Meters(), []
    for at, (each, meters) in enumerate(uses, start=1):
        model = each.text("model")
        declined = falls_back and at < len(uses) and not meters.output_tokens
        if not model:
            own = own.plus(meters)
        elif not declined:
            subs.append(SubUse(model, meters))
    return own, tuple(subs)


def _check_contains(top: Meters, iterations: list[Meters]) -> None:
    """Iterations that do not even add up to the top level cannot be what is billed."""
    for name in ("input_tokens", "output_tokens"):
        counted = sum(getattr(each, name) for each in iterations)
        if counted < getattr(top, name):
            raise UsageInvalid(
                f"iterations: {name} add up to {counted}, less than the {getattr(top, name)} of all"
            )


def _tokens(usage: Counters) -> Meters:
    write_5m, write_1h = _writes(usage)
    return Meters(
        text_input=usage.count("input_tokens", required=True),
        cached_input=usage.count("cache_read_input_tokens"),
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        text_output=usage.count("output_tokens", required=True),
    )


def _writes(usage: Counters) -> tuple[int, int]:
    """(five minutes, one hour). What the breakdown does not name has the default, five minutes."""
    by_lifetime = usage.inside("cache_creation")
    named_5m = by_lifetime.count("ephemeral_5m_input_tokens")
    named_1h = by_lifetime.count("ephemeral_1h_input_tokens")
    written = usage.count("cache_creation_input_tokens") or named_5m + named_1h
    if named_5m + named_1h > written:
        raise UsageInvalid(
            f"cache_creation names {named_5m + named_1h} tokens, more than the {written} written"
        )
    return min(written - named_1h, TOKENS_MAX), named_1h


def _with_thinking(meters: Meters, usage: Counters) -> Meters:
    """Thinking costs what other output costs; how much of it other models did is not told."""
    if usage.values.get("output_tokens_details") is None:
        return meters
    output = usage.count("output_tokens", required=True)
    thinking = usage.inside("output_tokens_details").part("thinking_tokens", output)
    thinking = min(thinking, meters.text_output)
    if not thinking:
        return meters
    return replace(meters, text_output=meters.text_output - thinking, reasoning_output=thinking)


API = Api("anthropic-messages", _recognises, _read)
