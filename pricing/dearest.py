"""One price for a request of which it is not known by which of several it will be billed.

A request for the flex tier may be served as a standard one. Its ceiling must hold either way, and
neither price need be dearer in all: flex can be cheap in tokens and dear in cached ones. So the
dearest of each rate counts.
"""

from collections.abc import Sequence

from pricing.price import Price, Tier
from pricing.rates import FEE_NAMES, RATE_NAMES, Fees, Rates


def dearest(prices: Sequence[Price]) -> Price:
    """A price that no request costs more by than by any of `prices`, which are of one model.

    One of them where it is the dearest in all, so that its version names a price that exists; else
    a combined one, whose version is its own. Raises ValueError for no prices.
    """
    if not prices:
        raise ValueError("the dearest of no prices is none")
    combined = _combined(prices)
    return next((each for each in prices if _is_as_dear(each, combined)), combined)


def _combined(prices: Sequence[Price]) -> Price:
    first = prices[0]
    thresholds = sorted({tier.above_input_tokens for each in prices for tier in each.tiers})
    return Price(
        provider=first.provider,
        model=first.model,
        rates=_rates([each.rates for each in prices]),
        max_input_tokens=max(each.max_input_tokens for each in prices),
        max_output_tokens=max(each.max_output_tokens for each in prices),
        request_nusd=max(each.request_nusd for each in prices),
        tiers=tuple(
            Tier(above, _rates([each.rates_for(above + 1) for each in prices]))
            for above in thresholds
        ),
        service_tier="+".join(dict.fromkeys(each.service_tier for each in prices)),
        service_tiers=first.service_tiers,
        unpriced=frozenset().union(*(each.unpriced for each in prices)),
        cache_write_unasked=any(each.cache_write_unasked for each in prices),
        framing_tokens=max(each.framing_tokens for each in prices),
        tool_framing_tokens=max(each.tool_framing_tokens for each in prices),
        fees=Fees(**{name: _fee(prices, name) for name in FEE_NAMES}),
    )


def _rates(each: Sequence[Rates]) -> Rates:
    return Rates(**{name: max(getattr(rates, name) for rates in each) for name in RATE_NAMES})


def _fee(prices: Sequence[Price], name: str) -> int | None:
    """A fee that any of them does not know is not known."""
    fees = [getattr(each.fees, name) for each in prices]
    return None if None in fees else max(fees)


def _is_as_dear(price: Price, combined: Price) -> bool:
    beside = ("max_input_tokens", "max_output_tokens", "request_nusd", "unpriced", "fees")
    framing = ("cache_write_unasked", "framing_tokens", "tool_framing_tokens")
    return (
        price.rates == combined.rates
        and all(
            price.rates_for(tier.above_input_tokens + 1) == tier.rates for tier in combined.tiers
        )
        and all(getattr(price, name) == getattr(combined, name) for name in beside + framing)
    )
