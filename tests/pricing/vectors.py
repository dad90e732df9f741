"""The rows of tests/vectors, and the `model_info` that a row's own prices are.

A row gives the prices that its working multiplies, and no others. Whatever else a sheet could take
a price from is filled with one that is absurd, so that reading the wrong one shows: a batch
row has it as its standard price, a row above a threshold as its price below, and so on.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pricing import Facts, Meters, PriceSheet, Used, read_usage, sheet_from_model_info

FOLDER = Path(__file__).parents[1] / "vectors"
MILLION = Decimal(10**6)
THOUSAND = Decimal(1000)
ABSURD = "0.01"  # a cent for a token
ADVISER = "claude-opus-5"

# Dollars per million tokens -> key of model_info.
RATES = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cached_audio_input": "cache_read_input_audio_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "audio_input": "input_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "output": "output_cost_per_token",
    "audio_output": "output_cost_per_audio_token",
    "image_output": "output_cost_per_image_token",
}
NOT_IN_THE_SHEET = {"usage_cost_usd", "upstream_inference_cost_usd", "usd_per_tick"}
NOT_IN_THE_SHEET |= {"advisor_input", "advisor_output"}
# Long-context thresholds of the providers' pages: above so many tokens, at xAI from so many on.
THRESHOLDS = {"gpt-5.4": 272, "gpt-5.5": 272, "gpt-6": 272, "gemini": 200, "haiku-5-5": 100}
THRESHOLDS |= {"grok": 200}
UNTHRESHOLDED = ("gpt-5.4-mini", "gpt-5.4-nano")
PEAK_SINCE = "2026-08-16T16:00:00Z"  # DeepSeek's peak hours
OFF_PEAK_INPUT = ("0.15", "0.66")  # its page's prices of input outside of them
OFF_PEAK_WINDOWS = [
    {"hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
    {"weekdays": [6, 7]},
    {"dates": ["2026-10-01", "2026-10-02"]},
]
Row = Mapping[str, Any]


def rows() -> Iterator[tuple[str, Row]]:
    """(id, row) of each vector."""
    for path in sorted(FOLDER.glob("*.json")):
        for row in json.loads(path.read_text()):
            yield f"{path.stem}: {row['name']}", row


def used(row: Row, *, api: str | None = "") -> Used:
    """What the row's usage says, with what the row says besides. `api` None: guessed."""
    read = read_usage(
        row["provider"],
        row["usage"],
        api=row["api"] if api == "" else api,
        output=row.get("output"),
    )
    said = {name: row[name] for name in ("service_tier", "batch", "region") if name in row}
    return replace(read, facts=replace(read.facts, at_ms=at_ms(row), **said))


def at_ms(row: Row) -> int | None:
    if "at" not in row:
        return None
    return int(datetime.fromisoformat(row["at"]).timestamp() * 1000)


def meters(row: Row) -> Meters:
    return Meters(**row["meters"])


def sheet(row: Row) -> PriceSheet:
    """The sheet that the row's prices make."""
    return sheet_from_model_info(row["provider"], row["model"], model_info(row))


def others(row: Row) -> dict[str, PriceSheet]:
    """Sheets of other models whose prices the row gives."""
    if "advisor_input" not in row["prices"]:
        return {}
    prices = {name: row["prices"][f"advisor_{name}"] for name in ("input", "output")}
    info = {RATES[name]: str(Decimal(price) / MILLION) for name, price in prices.items()}
    return {ADVISER: sheet_from_model_info(row["provider"], ADVISER, info)}


@dataclass(frozen=True)
class Place:
    """Which variant a row's rates are: the endings of their keys (long context, tier), and what
    they are multiplied by to become the ones that are written down."""

    above: str = ""
    tier: str = ""
    factor: Decimal = Decimal(1)


def model_info(row: Row) -> dict[str, object]:
    """The row's prices in LiteLLM's format."""
    facts = used(row).facts
    place = _place(row, facts)
    info: dict[str, object] = {}
    for name, price in row["prices"].items():
        if name in RATES:
            key = RATES[name] + place.above + place.tier
            info[key] = str(Decimal(price) / MILLION * place.factor)
    for key in (RATES["input"], RATES["output"]):
        for ending in ("", place.above, place.tier, place.above + place.tier):
            info.setdefault(key + ending, ABSURD)
    return info | _fees(row["prices"]) | _factors(row, facts) | _other_cells(row) | _hours(row)


def _place(row: Row, facts: Facts) -> Place:
    threshold, tier = _threshold(row), _tier(row, facts)
    above = f"_above_{threshold}k_tokens" if threshold and _is_long(row, threshold) else ""
    if facts.fast:  # the rows have the prices of fast mode: twice the standard ones
        return Place(above, tier, Decimal("0.5"))
    if row["provider"] == "deepseek" and _is_cheap_hour(row):
        return Place(above, tier, Decimal(2))
    return Place(above, tier)


def _tier(row: Row, facts: Facts) -> str:
    """The ending of keys of a tier whose prices are given, and not a factor."""
    tier = facts.service_tier
    if facts.batch and "batch_multiplier" not in row["prices"]:
        return "_batches"
    if tier not in ("priority", "flex") or f"{tier}_multiplier" in row["prices"]:
        return ""
    return "" if row["provider"] == "groq" else f"_{tier}"


def _threshold(row: Row) -> int:
    model = row["model"]
    if model.startswith(UNTHRESHOLDED):
        return 0
    return next((size for name, size in THRESHOLDS.items() if name in model), 0)


def _is_long(row: Row, threshold: int) -> bool:
    given = meters(row).input_tokens
    return given >= threshold * 1000 if row["provider"] == "xai" else given > threshold * 1000


def _other_cells(row: Row) -> dict[str, object]:
    """A row below its model's threshold: above it, everything is absurd."""
    threshold = _threshold(row)
    if not threshold or _is_long(row, threshold):
        return {}
    return {f"{RATES[name]}_above_{threshold}k_tokens": ABSURD for name in ("input", "output")}


def _fees(prices: Mapping[str, str]) -> dict[str, object]:
    keys = {
        "search_per_thousand_calls": ("search_context_cost_per_query", THOUSAND),
        "pages_per_thousand": ("ocr_cost_per_page", THOUSAND),
        "tool_per_thousand_calls": ("code_interpreter_cost_per_session", THOUSAND),
        "file_search_per_thousand_calls": ("file_search_cost_per_1k_calls", Decimal(1)),
        "per_audio_minute": ("input_cost_per_second", Decimal(60)),
    }
    info: dict[str, object] = {
        key: str(Decimal(prices[name]) / many)
        for name, (key, many) in keys.items()
        if name in prices
    }
    if "per_audio_minute" in prices:
        info["mode"] = "audio_transcription"
    return info


def _factors(row: Row, facts: Facts) -> dict[str, object]:
    prices = row["prices"]
    entry = {
        option: prices[f"{option}_multiplier"]
        for option in ("batch", "priority")
        if f"{option}_multiplier" in prices
    }
    if "us_inference_multiplier" in prices:
        entry["us"] = prices["us_inference_multiplier"]
    if facts.fast:
        entry["fast"] = "2.0"
    info: dict[str, object] = {"provider_specific_entry": entry} if entry else {}
    if "regional_multiplier" in prices and row["provider"] == "openai":
        key = f"regional_processing_uplift_multiplier_{row['region']}"
        info[key] = prices["regional_multiplier"]
    elif "regional_multiplier" in prices:
        info["regional_endpoint_uplift_multiplier"] = prices["regional_multiplier"]
    return info


def _is_cheap_hour(row: Row) -> bool:
    """Told by the price, so that the code under test has to find it by the time."""
    return row["at"] > PEAK_SINCE and row["prices"]["input"] in OFF_PEAK_INPUT


def _hours(row: Row) -> dict[str, object]:
    """Peak rates twice the others, as DeepSeek's page has them, where there were any."""
    if row["provider"] != "deepseek" or row["at"] < PEAK_SINCE:
        return {}
    half = Decimal(1) if _is_cheap_hour(row) else Decimal("0.5")
    rates = {
        RATES[name]: str(Decimal(price) / MILLION * half) for name, price in row["prices"].items()
    }
    return {"off_peak_pricing": {**rates, "windows": OFF_PEAK_WINDOWS}}


def unread(row: Row) -> set[str]:
    """Names of prices that none of the above reads: a new vector must not be half tested."""
    prices = set(row["prices"]) - RATES.keys() - NOT_IN_THE_SHEET
    prices -= {"batch_multiplier", "priority_multiplier", "us_inference_multiplier"}
    prices -= {"regional_multiplier", "search_per_thousand_calls", "pages_per_thousand"}
    return prices - {
        *("tool_per_thousand_calls", "file_search_per_thousand_calls", "per_audio_minute")
    }
