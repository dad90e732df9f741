"""Anthropic: usage and cost reports, of the Admin API and of the console's CSV.

Admin API, "Get Usage Report for Messages" (four disjoint kinds of input tokens; it does not count
requests) and "Get Cost Report" (`amount` is in cents, as decimal text; `model` is null for what is
not tokens). The console's CSVs have days (`usage_date_utc`), and amounts in dollars of two digits.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from comptroller.exports.contract import Dialect, ExportInvalid, Line, Record

START: Final = "starting_at"
END: Final = "ending_at"
DAY: Final = "usage_date_utc"
CENTS_DIGITS: Final = 2
_ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INPUTS = (
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read",
)
_COST = frozenset({DAY, "model", "cost_usd"})
_USAGE = frozenset({DAY, "model_version", "usage_output_tokens", *_INPUTS})


def _results(bucket: Record, day: str) -> Iterator[Line]:
    for result in bucket.parts("results"):
        if "amount" in result.fields:
            yield _cost(result, day)
        elif "uncached_input_tokens" in result.fields:
            yield _usage(result, day)
        else:
            raise ExportInvalid(
                f"{result.place} is neither of costs nor of usage of messages: export one of these"
            )


def _cost(result: Record, day: str) -> Line:
    currency = result.text("currency")
    if currency.upper() != "USD":
        raise ExportInvalid(f"{result.place}: amounts are in {currency or 'nothing'}, not in USD")
    billed = result.text("model") or result.text("description") or result.text("cost_type")
    if not billed:
        raise ExportInvalid(f"{result.place} has no model: group the report by description")
    sign, digits, exponent = result.dollars("amount").as_tuple()
    assert isinstance(exponent, int)
    return Line(day, billed, amount_usd=Decimal((sign, digits, exponent - CENTS_DIGITS)))


def _usage(result: Record, day: str) -> Line:
    model = result.text("model")
    if not model:
        raise ExportInvalid(f"{result.place} has no model: group the report by it")
    written = result.part("cache_creation") if result.fields.get("cache_creation") else None
    writes = (
        0
        if written is None
        else written.count("ephemeral_5m_input_tokens") + written.count("ephemeral_1h_input_tokens")
    )
    read = result.count("uncached_input_tokens") + result.count("cache_read_input_tokens")
    return Line(day, model, input_tokens=read + writes, output_tokens=result.count("output_tokens"))


def _row(row: Record) -> Line | None:
    day = _row_day(row)
    if "cost_usd" in row.fields:
        billed = row.text("model") or row.text("cost_type") or row.text("usage_type")
        if not billed:
            raise ExportInvalid(f"{row.place} has no model")
        amount = row.dollars("cost_usd")
        exponent = amount.as_tuple().exponent
        assert isinstance(exponent, int)
        half = Decimal((0, (5,), exponent - 1))
        return Line(day, billed, amount_usd=amount, rounding_usd=half)
    model = row.text("model_version")
    if not model:
        raise ExportInvalid(f"{row.place} has no model_version")
    return Line(
        day,
        model,
        input_tokens=sum(row.count(each) for each in _INPUTS),
        output_tokens=row.count("usage_output_tokens"),
    )


def _row_day(row: Record) -> str:
    day = row.text(DAY)
    if not _ISO_DAY.fullmatch(day):
        raise row.wrong(DAY, "a day, as in 2026-11-28")
    row.moment(DAY)
    return day


DIALECT: Final = Dialect(START, END, _results, _row, _row_day, (_COST, _USAGE))
