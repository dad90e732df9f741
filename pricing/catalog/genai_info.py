"""One model of genai-prices as `model_info`: units, tiers, dates, variants in LiteLLM's keys.

Two things that it says cannot be said of a whole day and a whole model in `model_info`, and become
the dearest of them: hours of the day (its windows know no weekends), and variants that a request
does not choose (an aggregator's route).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from pricing.catalog.info import Info, decimal_text, divided, number
from pricing.rates import PriceInvalid

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant

_MILLION, _THOUSAND, _HOUR_S = 10**6, 10**3, 3600

# Its price key -> (key of model_info, units in its price). `data_units.py` of the package.
_KEYS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input_cost_per_token", _MILLION),
    "output_mtok": ("output_cost_per_token", _MILLION),
    "cache_read_mtok": ("cache_read_input_token_cost", _MILLION),
    "cache_write_mtok": ("cache_creation_input_token_cost", _MILLION),
    "cache_write_5m_mtok": ("cache_creation_input_token_cost", _MILLION),
    "cache_write_1h_mtok": ("cache_creation_input_token_cost_above_1hr", _MILLION),
    "input_audio_mtok": ("input_cost_per_audio_token", _MILLION),
    "input_image_mtok": ("input_cost_per_image_token", _MILLION),
    "input_video_mtok": ("input_cost_per_video_token", _MILLION),
    "cache_audio_read_mtok": ("cache_read_input_audio_token_cost", _MILLION),
    "cache_image_read_mtok": ("cache_read_input_image_token_cost", _MILLION),
    "output_reasoning_mtok": ("output_cost_per_reasoning_token", _MILLION),
    "output_audio_mtok": ("output_cost_per_audio_token", _MILLION),
    "output_image_mtok": ("output_cost_per_image_token", _MILLION),
    "output_video_mtok": ("output_cost_per_video_token", _MILLION),
    "output_citation_mtok": ("citation_cost_per_token", _MILLION),
    "input_mchars": ("input_cost_per_character", _MILLION),
    "audio_hours": ("input_cost_per_second", _HOUR_S),
    "input_audio_hours": ("input_cost_per_second", _HOUR_S),
    "input_document_kpages": ("ocr_cost_per_page", _THOUSAND),
    "input_annotated_document_kpages": ("annotation_cost_per_page", _THOUSAND),
    "input_text_messages_kcount": ("input_cost_per_text_message", _THOUSAND),
    "requests_kcount": ("input_cost_per_request", _THOUSAND),
    "storage_searches_kcount": ("file_search_cost_per_1k_calls", 1),
    "web_searches_kcount": ("search_context_cost_per_query", _THOUSAND),
}
_SEARCH = "search_context_cost_per_query"
_SEARCH_SIZES = ("low", "medium", "high")
_SPEED = "provider_specific_entry"

# What a request can choose, as genai-prices names it -> the service tier's ending of a key.
_TIERS = {
    ("processing", "batch"): "_batches",
    ("service_tier", "flex"): "_flex",
    ("service_tier", "priority"): "_priority",
}
# The same rates under the base's or another tier's name, as OpenAI's API has them.
_SAME = {("service_tier", "default"): "", ("service_tier", "fast"): "_priority"}
_FAST = ("speed", "fast")
# What is free is listed without a price; what has none for another reason must not become free.
_FREE = ":free"
_FREE_OF = ("input_cost_per_token", "output_cost_per_token")
_THRESHOLD = re.compile(r"_above_[0-9]+k?_tokens")


@dataclass(frozen=True, slots=True)
class Conditions:
    """A model's prices by day: `starts` are the days on which the standard price changes,
    `all_starts` those of its variants, too."""

    dated: tuple[tuple[date, "ModelPrice"], ...]
    daily: tuple["ModelPrice", ...]
    all_starts: tuple[date, ...]

    @property
    def starts(self) -> list[date]:
        return sorted(start for start, _ in self.dated if start > date.min)

    @classmethod
    def of(cls, model: "ModelInfo") -> "Conditions":
        prices = model.prices if isinstance(model.prices, list) else []
        dated = [(_start(each), each.prices) for each in prices if not _is_daily(each)]
        if not isinstance(model.prices, list):
            dated = [(date.min, model.prices)]
        variants = [_start(each) for each in model.price_variants or ()]
        starts = {start for start, _ in dated} | set(variants)
        return cls(
            dated=tuple(dated),
            daily=tuple(each.prices for each in prices if _is_daily(each)),
            all_starts=tuple(sorted(starts - {date.min})),
        )

    def standard(self, day: date) -> "ModelPrice":
        """The last price that has begun; before all of them the first, as genai-prices has it."""
        begun = [price for start, price in self.dated if start <= day]
        return begun[-1] if begun else self.dated[0][1]


def _start(conditional: "ConditionalPrice | PriceVariant") -> date:
    start = getattr(conditional.constraint, "start_date", date.min)
    assert isinstance(start, date)
    return start


def _is_daily(conditional: "ConditionalPrice") -> bool:
    return hasattr(conditional.constraint, "start_time")


def info_of(model: "ModelInfo", day: date, *, inclusive: bool) -> Info:
    """The model's `model_info` on a day. `inclusive`: its thresholds are one token below the round
    number from which the provider bills the higher rate (xAI).

    Raises PriceInvalid for a price key or a variant that has no meaning here.
    """
    conditions = Conditions.of(model)
    standard = conditions.standard(day)
    info: dict[str, object] = {}
    for price in (standard, *conditions.daily):
        _keep_dearest(info, _cells(vars(price), "", inclusive=inclusive))
    for when, variant in _variants(model, conditions, day):
        _add_variant(info, when, standard, variant, inclusive=inclusive)
    if model.id.endswith(_FREE) and not info:
        info |= dict.fromkeys(_FREE_OF, "0")
    if model.context_window is not None:
        info["max_input_tokens"] = model.context_window
    return info


def _keep_dearest(info: dict[str, object], cells: Iterator[tuple[str, str]]) -> None:
    for key, text in cells:
        if key == _SEARCH:
            known = info.get(_SEARCH)
            least = max(known.values(), key=Decimal) if isinstance(known, dict) else "0"
            dearest = max(text, least, key=Decimal)
            info[_SEARCH] = {f"search_context_size_{size}": dearest for size in _SEARCH_SIZES}
        else:
            info[key] = max(str(info.get(key, "0")), text, key=Decimal)


def _cells(
    prices: Mapping[str, object], tier: str, *, inclusive: bool
) -> Iterator[tuple[str, str]]:
    """(key of model_info, dollars) of everything in a price."""
    from genai_prices.types import TieredPrices  # noqa: PLC0415  # with the prices

    for name, value in prices.items():
        if value is None:
            continue
        if name not in _KEYS:
            raise PriceInvalid(
                f"genai-prices has a price {name}, which has no meaning here; give the prices "
                "of this model in model_info"
            )
        key, per = _KEYS[name]
        if isinstance(value, Decimal):
            yield key + tier, divided(value, per)
            continue
        assert isinstance(value, TieredPrices)
        yield key + tier, divided(value.base, per)
        for step in value.tiers:
            yield f"{key}{_above(step.start, inclusive=inclusive)}{tier}", divided(step.price, per)


def _above(start: int, *, inclusive: bool) -> str:
    tokens = start + int(inclusive)
    text = f"{tokens // _THOUSAND}k" if tokens % _THOUSAND == 0 else str(tokens)
    return f"_above_{text}_tokens"


def _variants(
    model: "ModelInfo", conditions: Conditions, day: date
) -> Iterator[tuple[tuple[str, str], "ModelPrice"]]:
    """(choice, overrides) of what a request can choose on a day, one for each choice.

    A variant that begins later than `day` counts all the same while the standard price is the one
    at its beginning: that is the day on which somebody first looked it up.
    """
    by_choice: dict[tuple[str, str], list[PriceVariant]] = {}
    for each in model.price_variants or ():
        if len(each.when) != 1:
            raise PriceInvalid(f"genai-prices has a variant for {each.when}, unknown here")
        by_choice.setdefault(next(iter(each.when.items())), []).append(each)
    for choice, variants in by_choice.items():
        begun = [each for each in variants if _start(each) <= day]  # the first that holds counts
        earliest = min(variants, key=_start)
        if begun:
            yield choice, begun[0].prices
        elif conditions.standard(_start(earliest)) == conditions.standard(day):
            yield choice, earliest.prices


def _add_variant(
    info: dict[str, object],
    choice: tuple[str, str],
    standard: "ModelPrice",
    variant: "ModelPrice",
    *,
    inclusive: bool,
) -> None:
    if choice in _TIERS:
        info.update(_tier(standard, variant, _TIERS[choice], inclusive=inclusive))
    elif choice in _SAME:
        cells = dict(_cells(vars(variant), _SAME[choice], inclusive=inclusive))
        if any(info.get(key) != text for key, text in cells.items()):
            _keep_dearest(info, iter(cells.items()))
    elif choice == _FAST:
        info[_SPEED] = {"fast": _ratio(standard, variant)}
    else:  # a route or a kind of search: the request's price is one of them
        _keep_dearest(info, _cells(vars(variant), "", inclusive=inclusive))


def _tier(
    standard: "ModelPrice", variant: "ModelPrice", tier: str, *, inclusive: bool
) -> dict[str, str]:
    """All rates of a service tier: what the variant does not say costs what it always costs.

    Where the standard price has a long-context rate and the tier's is flat, that rate is the least:
    providers serve long prompts of such a tier as standard ones (OpenAI, "Priority processing").
    """
    rates = {name: price for name, price in vars(standard).items() if name.endswith("_mtok")}
    cells = dict(_cells({**rates, **vars(variant)}, tier, inclusive=inclusive))
    for key, text in _cells(rates, tier, inclusive=inclusive):
        if key not in cells:
            cells[key] = max(cells[_THRESHOLD.sub("", key)], text, key=Decimal)
    return cells


def _ratio(standard: "ModelPrice", variant: "ModelPrice") -> str:
    """How many times the standard rates a variant costs; the dearest of its ratios."""
    ratios = [
        price / base
        for name, price in vars(variant).items()
        if (base := number(vars(standard).get(name))) and isinstance(price, Decimal)
    ]
    if not ratios:
        raise PriceInvalid("genai-prices has a speed without a rate: give it in model_info")
    return decimal_text(max(ratios))
