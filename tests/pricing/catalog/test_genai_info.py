"""genai-prices' units, tiers, dates and variants become `model_info` without getting cheaper."""

from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from pricing import PriceInvalid
from pricing.catalog.genai import _indexed
from pricing.catalog.genai_info import info_of

DAY = date(2026, 11, 28)
D = Decimal


def model(prices: Any, variants: Any = None, name: str = "m") -> ModelInfo:
    return ModelInfo(
        id=name,
        match=ClauseEquals(name),
        context_window=100,
        prices=prices,
        price_variants=variants,
    )


def info(prices: Any, variants: Any = None, *, day: date = DAY, name: str = "m") -> dict[str, Any]:
    return dict(info_of(model(prices, variants, name), day, inclusive=False))


def test_each_unit_becomes_the_price_of_one() -> None:
    """Million tokens, thousand calls or pages, hours of sound: dollars for one, exactly."""
    said = info(
        ModelPrice(
            input_mtok=D("2.5"),
            audio_hours=D("0.36"),
            input_document_kpages=D(4),
            web_searches_kcount=D(10),
            storage_searches_kcount=D("2.5"),
        )
    )
    assert said == {
        "input_cost_per_token": "0.0000025",
        "input_cost_per_second": "0.0001",
        "ocr_cost_per_page": "0.004",
        "search_context_cost_per_query": {
            f"search_context_size_{size}": "0.01" for size in ("low", "medium", "high")
        },
        "file_search_cost_per_1k_calls": "2.5",
        "max_input_tokens": 100,
    }


def test_thresholds_are_named_as_litellm_names_them() -> None:
    """`above_200k`; xAI's own are one below, because it bills the higher rate from there on."""
    prices = ModelPrice(input_mtok=TieredPrices(base=D(1), tiers=[Tier(200000, D(2))]))
    assert info(prices)["input_cost_per_token_above_200k_tokens"] == "0.000002"
    prices = ModelPrice(input_mtok=TieredPrices(base=D(1), tiers=[Tier(199999, D(2))]))
    said = info_of(model(prices), DAY, inclusive=True)
    assert said["input_cost_per_token_above_200k_tokens"] == "0.000002"


def test_the_price_is_that_of_the_day() -> None:
    """A price holds from its date on; before all dates the first one."""
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=D(1))),
        ConditionalPrice(
            StartDateConstraint(date(2026, 8, 17)), prices=ModelPrice(input_mtok=D(2))
        ),
    ]
    assert info(prices, day=date(2026, 8, 16))["input_cost_per_token"] == "0.000001"
    assert info(prices, day=date(2026, 8, 17))["input_cost_per_token"] == "0.000002"


def test_of_hours_the_dearest_holds_all_day() -> None:
    """A daily window knows no weekends, so it may only ever make a request dearer."""
    peak = TimeOfDateConstraint(time(1), time(4))
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=D(1), output_mtok=D(9))),
        ConditionalPrice(peak, prices=ModelPrice(input_mtok=D(2), output_mtok=D(3))),
    ]
    said = info(prices)
    assert (said["input_cost_per_token"], said["output_cost_per_token"]) == ("0.000002", "0.000009")


def variant(key: str, value: str, start: date | None = None, **prices: Any) -> PriceVariant:
    since = StartDateConstraint(start) if start else None
    return PriceVariant(when={key: value}, prices=ModelPrice(**prices), constraint=since)


def test_a_tier_has_all_rates_and_what_it_does_not_say_costs_what_it_always_costs() -> None:
    """Batch that halves input and output leaves cached tokens at their price."""
    standard = ModelPrice(input_mtok=D(2), cache_read_mtok=D("0.2"), output_mtok=D(8))
    batch = variant("processing", "batch", input_mtok=D(1), output_mtok=D(4))
    said = info(standard, [batch])
    assert said["input_cost_per_token_batches"] == "0.000001"
    assert said["cache_read_input_token_cost_batches"] == "0.0000002"
    assert said["output_cost_per_token_batches"] == "0.000004"


def test_a_flat_tier_costs_at_least_the_long_context_rate() -> None:
    """A provider may serve a long prompt of that tier as a standard one, at the higher rate."""
    standard = ModelPrice(
        input_mtok=TieredPrices(base=D(2), tiers=[Tier(1000, D(6))]),
        output_mtok=TieredPrices(base=D(2), tiers=[Tier(1000, D(3))]),
    )
    said = info(standard, [variant("service_tier", "priority", input_mtok=D(4), output_mtok=D(4))])
    assert said["input_cost_per_token_above_1k_tokens_priority"] == "0.000006"
    assert said["output_cost_per_token_above_1k_tokens_priority"] == "0.000004"


def test_a_tier_counts_before_its_date_while_the_standard_price_is_the_same() -> None:
    """Its date is that of the first look, not of its beginning; with another standard price nobody
    knows what the tier cost."""
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=D(1))),
        ConditionalPrice(StartDateConstraint(date(2026, 1, 1)), prices=ModelPrice(input_mtok=D(2))),
    ]
    flex = [variant("service_tier", "flex", date(2026, 10, 12), input_mtok=D(1))]
    assert "input_cost_per_token_flex" in info(prices, flex, day=date(2026, 6, 1))
    assert "input_cost_per_token_flex" not in info(prices, flex, day=date(2025, 6, 1))


def test_fast_mode_is_a_factor_and_a_route_the_dearest_of_them() -> None:
    """What a request chooses is an option; what it cannot choose is in its price."""
    standard = ModelPrice(input_mtok=D(5), output_mtok=D(25))
    fast = variant("speed", "fast", input_mtok=D(10), output_mtok=D(50))
    assert info(standard, [fast])["provider_specific_entry"] == {"fast": "2"}
    route = variant("route", "mistral/eu", input_mtok=D(6))
    assert info(standard, [route])["input_cost_per_token"] == "0.000006"


def test_another_name_of_a_tier_only_makes_it_dearer() -> None:
    """OpenAI's `fast` is its priority tier; where the two differ, the dearer counts."""
    tiers = [
        variant("service_tier", "priority", input_mtok=D(2)),
        variant("service_tier", "fast", input_mtok=D(3)),
    ]
    assert info(ModelPrice(input_mtok=D(1)), tiers)["input_cost_per_token_priority"] == "0.000003"


def test_what_is_free_is_listed_as_free_and_what_has_no_price_is_not() -> None:
    """`:free` has an explicit zero; a model without a price is not given away."""
    assert info(ModelPrice(), name="a:free")["output_cost_per_token"] == "0"
    assert "output_cost_per_token" not in info(ModelPrice(), name="a")


@pytest.mark.parametrize(
    ("prices", "variants"),
    [
        (ModelPrice(input_gpixels=D(1)), None),
        (
            ModelPrice(input_mtok=D(1)),
            [PriceVariant(when={"a": "b", "c": "d"}, prices=ModelPrice())],
        ),
        (ModelPrice(input_mtok=D(1)), [variant("speed", "fast")]),
    ],
)
def test_what_has_no_meaning_here_is_refused(prices: Any, variants: Any) -> None:
    """A unit or a choice that nobody counts is an error, never nothing."""
    with pytest.raises(PriceInvalid, match="genai-prices"):
        info(prices, variants)


def test_only_whole_names_are_names() -> None:
    """Ids, "equals" and anchored patterns are; beginnings, substrings and alternatives are not."""
    clauses = [
        ClauseEquals("Alias"),
        ClauseRegex(r"^dated-\d{8}$"),
        ClauseRegex(r"^loose"),
        ClauseRegex(r"^a$|b$"),
        ClauseStartsWith("begin"),
        ClauseContains("inside"),
        ClauseAnd([ClauseEquals("part"), ClauseContains("x")]),
    ]
    listed = ModelInfo(id="id", match=ClauseOr(clauses), prices=ModelPrice())
    index = _indexed([listed])
    for name in ("id", "alias", "dated-20261128"):
        assert index.find(name) is listed, name
    for name in ("loose", "begin", "beginning", "inside", "part", "a", "dated-20261128-x"):
        assert index.find(name) is None, name
