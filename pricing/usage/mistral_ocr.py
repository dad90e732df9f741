"""Documents read by Mistral's OCR models, billed by the page. Source: Mistral's API reference,
"OCR", `usage_info`."""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output


def _recognises(usage: Mapping[str, object]) -> bool:
    return "pages_processed" in usage


def _read(usage: Counters, _output: Output) -> Used:
    return Used(Meters(pages=usage.count("pages_processed", required=True)))


API = Api("mistral-ocr", _recognises, _read)
