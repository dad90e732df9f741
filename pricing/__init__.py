"""Prices, bounds, quotes and costs: the pure core, on which everything that refuses money stands.

No I/O, no clock, no float: the same inputs give the same nano-dollars in the gateway, in a report
and in an audit. Import from here.
"""

from pricing.bound import json_tokens_max, overhead_tokens, text_tokens_max
from pricing.cost import cost_nusd
from pricing.demo import PRICES as DEMO_PRICES
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid, meters_from_openai_chat
from pricing.price import Price, Tier, price_from_model_info
from pricing.quote import CacheWrite, Quote, QuoteTooLarge, quote
from pricing.rates import PriceInvalid, Rates

__all__ = [
    "DEMO_PRICES",
    "TOKENS_MAX",
    "CacheWrite",
    "Meters",
    "Price",
    "PriceInvalid",
    "Quote",
    "QuoteTooLarge",
    "Rates",
    "Tier",
    "UsageInvalid",
    "cost_nusd",
    "json_tokens_max",
    "meters_from_openai_chat",
    "overhead_tokens",
    "price_from_model_info",
    "quote",
    "text_tokens_max",
]
