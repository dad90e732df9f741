"""Several entries of `model_list` with one name: which of them is asked first, and how often.

As LiteLLM writes it. Its limits of a deployment are budgets here, and refused with the words that
say so.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Any, Final

from comptroller.document import DecimalText, Value

ORDER_LAST: Final = 10**9
WEIGHT_MAX: Final = 10**6
RETRIES_MAX: Final = 10
# A budget holds each of these exactly, and over all workers.
_LIMITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rpm": "{requests: 600, window: minute, models: [<this model_name>]}",
        "tpm": "{tokens: 100000, window: minute, models: [<this model_name>]}",
        "max_parallel_requests": "{concurrency: 20, models: [<this model_name>]}",
    }
)


def refuse_limits(item: Value) -> None:
    """LiteLLM reads them in litellm_params and beside it."""
    params = item.fields().get("litellm_params")
    places = [item.fields(), params.fields() if params is not None else {}]
    for name, budget in _LIMITS.items():
        for fields in places:
            if name in fields and fields[name].content is not None:
                raise fields[name].error(
                    f"{name} is not supported, remove it: a budget with {budget} holds it exactly"
                )


def routing_of(params: Mapping[str, Value], info: Value | None) -> dict[str, Any]:
    """weight, order, retries and deployment of an entry. LiteLLM's SDK clients have max_retries,
    its router num_retries: here there is one place that tries again."""
    found: dict[str, Any] = {}
    if "weight" in params:
        found["weight"] = _weight(params["weight"])
    if "order" in params:
        found["order"] = _whole(params["order"], ORDER_LAST)
    retries = params.get("num_retries") or params.get("max_retries")
    if retries is not None:
        found["retries"] = _whole(retries, RETRIES_MAX)
    id_ = info.fields().get("id") if info is not None else None
    if id_ is not None and id_.content is not None:
        found["deployment"] = id_.text("id")
    return found


def _whole(value: Value, most: int) -> int:
    if type(value.content) is not int or not 0 <= value.content <= most:
        raise value.error(f"{value.name} is a whole number from 0 to {most}")
    return value.content


def _weight(value: Value) -> int:
    """In thousandths, and not 0 for what is more than 0."""
    plain = value.content
    if isinstance(plain, DecimalText | int) and not isinstance(plain, bool):
        weight = Decimal(plain)
        if 0 <= weight <= WEIGHT_MAX:
            return int((weight * 1000).to_integral_value(ROUND_CEILING))
    raise value.error(f"weight is a number from 0 to {WEIGHT_MAX}")
