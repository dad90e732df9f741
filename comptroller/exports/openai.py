"""OpenAI: the organization's usage and costs, of the API and of the dashboard's CSV.

API reference, "Usage" (`organization.usage.completions.result`, `...embeddings.result`) and "Costs"
(`organization.costs.result`, whose `line_item` is `<model>, <kind of token>`, or what else is
billed). The dashboard exports the same fields, flat. Input includes cached tokens.
"""

from collections.abc import Iterator
from typing import Final

from comptroller.exports.contract import Dialect, ExportInvalid, Line, Record

START: Final = "start_time"
END: Final = "end_time"
_COST = frozenset({START, END, "amount_value", "amount_currency", "line_item"})
_USAGE = frozenset({START, END, "model", "num_model_requests", "input_tokens"})


def _results(bucket: Record, day: str) -> Iterator[Line]:
    for result in bucket.parts("results"):
        if "amount" in result.fields:
            yield _cost_of_api(result, day)
        elif "num_model_requests" in result.fields:
            yield _usage(result, day)
        else:
            raise ExportInvalid(
                f"{result.place} is neither of costs nor of usage by model: export one of these"
            )


def _cost_of_api(result: Record, day: str) -> Line:
    amount = result.part("amount")
    return _cost(result, day, amount, "value", amount.text("currency"))


def _cost(result: Record, day: str, amount: Record, name: str, currency: str) -> Line:
    if currency.lower() != "usd":
        raise ExportInvalid(f"{result.place}: amounts are in {currency or 'nothing'}, not in usd")
    item = result.text("line_item")
    if not item:
        raise ExportInvalid(f"{result.place} has no line_item: group the export by it")
    return Line(day, item.partition(",")[0].strip(), amount_usd=amount.dollars(name))


def _usage(result: Record, day: str) -> Line:
    model = result.text("model")
    if not model:
        raise ExportInvalid(f"{result.place} has no model: group the export by it")
    return Line(
        day,
        model,
        requests=result.count("num_model_requests"),
        input_tokens=result.count("input_tokens"),
        output_tokens=result.count("output_tokens"),
    )


def _row(row: Record) -> Line | None:
    """A bucket in which nothing was billed has a row without values."""
    day = _row_day(row)
    if "amount_value" in row.fields:
        if not row.fields["amount_value"]:
            return None
        return _cost(row, day, row, "amount_value", row.text("amount_currency"))
    return _usage(row, day) if row.fields["num_model_requests"] else None


def _row_day(row: Record) -> str:
    return row.day(START, END)


DIALECT: Final = Dialect(START, END, _results, _row, _row_day, (_COST, _USAGE))
