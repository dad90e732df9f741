"""What a provider says that it has billed: it wins over every price list.

OpenRouter, "Usage accounting": `usage.cost` is the total amount charged; with a key of one's own
(BYOK) it is the fee alone, and the provider bills `cost_details.upstream_inference_cost` besides.
xAI, "Cost tracking": `cost_in_usd_ticks`, 10^10 to the dollar. Perplexity's API reference:
`usage.cost.total_cost`, dollars. From anybody else a cost is not believed.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pricing.meters import UsageInvalid
from pricing.rates import REQUEST_NUSD_MAX, PriceInvalid, nusd_from_usd, nusd_from_usd_sum
from pricing.usage.counts import Counters, shown

TICKS_PER_NUSD = 10
_TICKS = "cost_in_usd_ticks"


def reported_cost_nusd(provider: str, usage: Counters) -> int | None:
    """What the provider says that it bills, in nano-dollars, rounded up; None if it does not say.
    Raises UsageInvalid."""
    read = _READERS.get(provider)
    return read(usage) if read else None


def _openrouter(usage: Counters) -> int | None:
    cost = usage.values.get("cost")
    if cost is None:
        return None
    upstream = usage.inside("cost_details").values.get("upstream_inference_cost")
    own_key = usage.values.get("is_byok")
    if own_key is not None and not isinstance(own_key, bool):
        raise UsageInvalid(f"is_byok must be true or false, not {shown(own_key)}")
    if own_key is None:  # the older form of the object: only a bill besides exceeds the charge
        own_key = upstream is not None and _nusd(upstream, "cost_details") > _nusd(cost, "cost")
    if not own_key:
        return _nusd(cost, "cost")
    if upstream is None:
        return None  # what the provider bills is not known
    return _added(cost, upstream)


def _xai(usage: Counters) -> int | None:
    ticks = usage.values.get(_TICKS)
    if ticks is None:
        return None
    if type(ticks) is not int or not 0 <= ticks <= TICKS_PER_NUSD * REQUEST_NUSD_MAX:
        raise UsageInvalid(
            f"{_TICKS} must be a whole number from 0 to {TICKS_PER_NUSD * REQUEST_NUSD_MAX}"
        )
    return -(-ticks // TICKS_PER_NUSD)


def _perplexity(usage: Counters) -> int | None:
    total = usage.inside("cost").values.get("total_cost")
    return None if total is None else _nusd(total, "cost.total_cost")


def _nusd(amount: object, key: str) -> int:
    try:
        return nusd_from_usd(amount, key)
    except PriceInvalid as error:
        raise UsageInvalid(str(error)) from None


def _added(cost: object, upstream: object) -> int:
    try:
        return nusd_from_usd_sum({"cost": cost, "upstream_inference_cost": upstream})
    except PriceInvalid as error:
        raise UsageInvalid(str(error)) from None


_READERS: Mapping[str, Callable[[Counters], int | None]] = MappingProxyType(
    {"openrouter": _openrouter, "xai": _xai, "perplexity": _perplexity}
)
