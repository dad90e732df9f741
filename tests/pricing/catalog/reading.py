"""Vectors' prices beside what a `model_info` says: a reader of its own, so that neither the catalog
nor the cost code judges itself."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pricing.catalog.info import number

FOLDER = Path(__file__).parents[2] / "vectors"

_INPUT_METERS = (
    *("text_input", "cached_input", "cache_write_5m", "cache_write_1h"),
    *("audio_input", "image_input", "video_input"),
)
# A vector's price in dollars per million tokens -> the key of model_info, in dollars per token.
_PER_TOKEN = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "image_output": "output_cost_per_image_token",
    "cached_audio_input": "cache_read_input_audio_token_cost",
}
_PER_UNIT = {"pages_per_thousand": ("ocr_cost_per_page", 1000),
             "per_audio_minute": ("input_cost_per_second", 60)}  # fmt: skip
# What the usage itself says, or what another model costs: no price of this model.
NOT_ITS_PRICE = {
    *("usage_cost_usd", "upstream_inference_cost_usd", "usd_per_tick"),
    *("advisor_input", "advisor_output"),
}
_FALLBACK = {
    "image_input": "input",
    "audio_output": "output",
    "image_output": "output",
}


def vectors() -> list[dict[str, Any]]:
    """All rows of all files, in order."""
    rows: list[dict[str, Any]] = []
    for path in sorted(FOLDER.glob("*.json")):
        rows += json.loads(path.read_text(encoding="utf-8"))
    return rows


def at_ms(row: Mapping[str, Any]) -> int:
    """The moment of a row: its own, or noon of the day of its prices."""
    text = row.get("at") or f"{row['date']}T12:00:00+00:00"
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def differences(row: Mapping[str, Any], info: Mapping[str, object]) -> list[str]:
    """What `info` says otherwise than the row's prices; empty when all are equal."""
    found = []
    for name, text in row["prices"].items():
        if name in NOT_ITS_PRICE:
            continue
        said = _said(row, info, name)
        if said is None or said != Decimal(text):
            found.append(f"{name}: {text} in the vector, {said} in the catalog")
    return found


def _said(row: Mapping[str, Any], info: Mapping[str, object], name: str) -> Decimal | None:
    if name in _PER_TOKEN:
        rate = _rate(row, info, name)
        return None if rate is None else rate * 10**6 * _speed(row, info)
    if name in _PER_UNIT:
        key, units = _PER_UNIT[name]
        value = number(info.get(key))
        return None if value is None else value * units
    if name == "batch_multiplier":
        return _ratio(info, "_batches")
    if name == "priority_multiplier":
        return _ratio(info, "_priority")
    if name == "regional_multiplier":
        return number(info.get(f"regional_processing_uplift_multiplier_{row['region']}"))
    if name == "us_inference_multiplier":
        entry = info.get("provider_specific_entry")
        return number(entry.get("us")) if isinstance(entry, Mapping) else None
    if name == "file_search_per_thousand_calls":
        return number(info.get("file_search_cost_per_1k_calls"))
    if name == "tool_per_thousand_calls":
        fee = number(info.get("code_interpreter_cost_per_session"))
        return None if fee is None else fee * 1000
    assert name == "search_per_thousand_calls"
    fees = info.get("search_context_cost_per_query")
    if not isinstance(fees, Mapping):
        return None
    return max(Decimal(str(each)) for each in fees.values()) * 1000


def _speed(row: Mapping[str, Any], info: Mapping[str, object]) -> Decimal:
    """How many times the rates a fast request costs (Anthropic's `speed` in usage)."""
    entry = info.get("provider_specific_entry")
    if row["usage"].get("speed") != "fast" or not isinstance(entry, Mapping):
        return Decimal(1)
    return number(entry.get("fast")) or Decimal(1)


def _ratio(info: Mapping[str, object], tier: str) -> Decimal | None:
    """The one ratio of a tier's rates to the standard ones; None where they differ."""
    bases = ("input_cost_per_token", "output_cost_per_token", "ocr_cost_per_page")
    ratios = {
        special / standard
        for base in bases
        if (standard := number(info.get(base))) and (special := number(info.get(base + tier)))
    }
    return ratios.pop() if len(ratios) == 1 else None


def _rate(row: Mapping[str, Any], info: Mapping[str, object], name: str) -> Decimal | None:
    key = _PER_TOKEN[name]
    rates = {**info, **_off_peak(info, row)}
    tier = "" if {"batch_multiplier", "priority_multiplier"} & row["prices"].keys() else _tier(row)
    threshold = _threshold(row, rates, key, tier)
    for end in (f"{threshold}{tier}", tier, threshold, ""):
        value = number(rates.get(key + end))
        if value is not None:
            return value
    if name in _FALLBACK:
        return _rate(row, info, _FALLBACK[name])
    return None


def _tier(row: Mapping[str, Any]) -> str:
    if row.get("batch"):
        return "_batches"
    tier = row.get("service_tier", "")
    return f"_{tier}" if tier in ("priority", "flex") else ""


def _threshold(row: Mapping[str, Any], info: Mapping[str, object], key: str, tier: str) -> str:
    """The ending of the highest threshold that the row's input is above (xAI: at)."""
    tokens = sum(row["meters"].get(meter, 0) for meter in _INPUT_METERS)
    pattern = re.compile(rf"{key}(_above_([0-9]+)(k?)_tokens){tier}")
    reached = [
        (above, match[1])
        for each in info
        if (match := pattern.fullmatch(each))
        for above in [int(match[2]) * (1000 if match[3] else 1)]
        if tokens > above or (row["provider"] == "xai" and tokens == above)
    ]
    return max(reached)[1] if reached else ""


def _off_peak(info: Mapping[str, object], row: Mapping[str, Any]) -> dict[str, object]:
    cheap = info.get("off_peak_pricing")
    if not isinstance(cheap, Mapping) or "at" not in row:
        return {}
    at = datetime.fromisoformat(row["at"]).astimezone(UTC)
    if not _is_off_peak(cheap, at):
        return {}
    return {key: value for key, value in cheap.items() if key.endswith(("_cost", "_token"))}


def _is_off_peak(cheap: Mapping[str, Any], at: datetime) -> bool:
    minute = at.hour * 60 + at.minute
    for window in cheap["windows"]:
        hours = window.get("hours_utc", "00:00-00:00")
        if at.date().isoformat() not in window.get("dates", [at.date().isoformat()]):
            continue
        for span in [hours] if isinstance(hours, str) else hours:
            start, end = (_minute(part) for part in span.split("-"))
            if at.isoweekday() in window.get("weekdays", range(8)) and start <= minute < (
                end or 1440
            ):
                return True
    return False


def _minute(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)
