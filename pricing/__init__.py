"""Prices, bounds, quotes and costs: the pure core, on which everything that refuses money stands.

No I/O, no clock, no float: the same inputs give the same nano-dollars in the gateway, in a report
and in an audit. Import from here.
"""

from pricing.bound import ByteMeasure, Measure, json_tokens_max, overhead_tokens, text_tokens_max
from pricing.cost import cost_nusd
from pricing.counting import COUNTED_BYTES_MAX, Family, Texts, Tokenizers, family_of
from pricing.dearest import dearest
from pricing.demo import PRICES as DEMO_PRICES
from pricing.facts import STANDARD, Facts, SubUse, Used
from pricing.images import Image, size_of_url
from pricing.meters import TOKENS_MAX, Meters, UsageInvalid
from pricing.money import dollars
from pricing.price import Price, Tier
from pricing.quote import CacheWrite, Quote, QuoteTooLarge, quote
from pricing.rates import Fees, PriceInvalid, Rates
from pricing.sheet import (
    PriceSheet,
    cost,
    price_from_model_info,
    sheet_from_model_info,
    sheet_of_price,
)
from pricing.traits import produces_tokens
from pricing.usage import meters_from_openai_chat, read_usage
from pricing.vision import images_tokens_max

__all__ = [
    "COUNTED_BYTES_MAX",
    "DEMO_PRICES",
    "STANDARD",
    "TOKENS_MAX",
    "ByteMeasure",
    "CacheWrite",
    "Facts",
    "Family",
    "Fees",
    "Image",
    "Measure",
    "Meters",
    "Price",
    "PriceInvalid",
    "PriceSheet",
    "Quote",
    "QuoteTooLarge",
    "Rates",
    "SubUse",
    "Texts",
    "Tier",
    "Tokenizers",
    "UsageInvalid",
    "Used",
    "cost",
    "cost_nusd",
    "dearest",
    "dollars",
    "family_of",
    "images_tokens_max",
    "json_tokens_max",
    "meters_from_openai_chat",
    "overhead_tokens",
    "price_from_model_info",
    "produces_tokens",
    "quote",
    "read_usage",
    "sheet_from_model_info",
    "sheet_of_price",
    "size_of_url",
    "text_tokens_max",
]
