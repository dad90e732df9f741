"""Variants: what nobody says is decided towards the dearer side, or as the provider's page says."""

import pytest

from pricing import Facts, Meters, cost, sheet_from_model_info
from pricing.rates import RATE_NAMES

BASE: dict[str, object] = {
    "input_cost_per_token": "0.000010",
    "cache_read_input_token_cost": "0.000001",
    "cache_creation_input_token_cost": "0.0000125",
    "output_cost_per_token": "0.000050",
}
BATCH = {"input_cost_per_token_batches": "0.000005", "output_cost_per_token_batches": "0.000025"}
LONG = {
    "input_cost_per_token_above_1k_tokens": "0.000020",
    "output_cost_per_token_above_1k_tokens": "0.000100",
    "cache_read_input_token_cost_above_1k_tokens": "0.000002",
}


def batch_rates(provider: str, **info: object) -> dict[str, int]:
    """Nano-dollars per token of a provider's batch."""
    rates = sheet_from_model_info(provider, "m", {**BASE, **info}).price(Facts(batch=True)).rates
    return {
        name.removesuffix("_nusd_per_mtok"): getattr(rates, name) // 10**6 for name in RATE_NAMES
    }


@pytest.mark.parametrize(
    ("provider", "cached", "written"),
    [
        ("anthropic", 500, 6250),  # all of it halved
        ("mistral", 500, 6250),
        ("xai", 500, 6250),
        ("google", 1000, 12500),  # the cache as ever
        ("gemini", 1000, 12500),
        ("groq", 5000, 12500),  # the cache as other input
        ("openai", 5000, 12500),  # nobody says: never too low
    ],
)
def test_a_batch_without_cache_prices_has_those_of_its_page(
    provider: str, cached: int, written: int
) -> None:
    """Input and output are given; what the cache costs then is each provider's own rule."""
    rates = batch_rates(provider, **BATCH)
    assert (rates["input"], rates["output"]) == (5000, 25_000)
    assert (rates["cached_input"], rates["cache_write_5m"]) == (cached, written)


@pytest.mark.parametrize("provider", ["anthropic", "google", "groq", "openai"])
def test_a_batch_price_that_is_given_holds(provider: str) -> None:
    """A rule never replaces what the source says."""
    assert (
        batch_rates(provider, **BATCH, cache_read_input_token_cost_batches="0.000003")[
            "cached_input"
        ]
        == 3000
    )


def test_a_batch_nobody_has_a_price_for_costs_the_standard_price() -> None:
    """No discount is assumed."""
    assert batch_rates("anthropic")["input"] == 10_000


def test_a_batch_factor_is_for_all_tokens_but_groqs_cache() -> None:
    """Groq's cached tokens cost what its batch input costs: the discounts do not stack."""
    factor = {"provider_specific_entry": {"batch": "0.5"}}
    assert batch_rates("bedrock", **factor)["cached_input"] == 500
    groq = batch_rates("groq", **factor)
    assert (groq["input"], groq["cached_input"]) == (5000, 5000)


def test_batches_have_a_long_context_too() -> None:
    """A batch is scaled above the threshold as below; elsewhere nothing cheaper is assumed."""
    long = Meters(text_input=1001)
    scaled = sheet_from_model_info("anthropic", "m", {**BASE, **BATCH, **LONG})
    assert cost(scaled, long, Facts(batch=True)) == 1001 * 10_000
    unsaid = sheet_from_model_info("openai", "m", {**BASE, **BATCH, **LONG})
    assert cost(unsaid, long, Facts(batch=True)) == 1001 * 20_000


def test_free_output_needs_no_batch_price() -> None:
    """Embeddings have no output: their batch price is whole without one."""
    info = {"input_cost_per_token": "0.00000013", "output_cost_per_token": 0}
    sheet = sheet_from_model_info(
        "openai", "m", info | {"input_cost_per_token_batches": "0.000000065"}
    )
    assert cost(sheet, Meters(text_input=777), Facts(batch=True)) == 50_505


def test_hours_are_for_the_standard_price_alone() -> None:
    """A tier has one price all day, and a request whose time is not known has the dearer one."""
    priority = {
        "input_cost_per_token_priority": "0.000020",
        "output_cost_per_token_priority": "0.000100",
    }
    hours = {"input_cost_per_token": "0.000005", "windows": [{"hours_utc": "00:00-12:00"}]}
    sheet = sheet_from_model_info("p", "m", {**BASE, **priority, "off_peak_pricing": hours})
    meters = Meters(text_input=1000, cached_input=1000, text_output=1000)
    rest = 1_000_000 + 50_000_000
    assert cost(sheet, meters, Facts(at_ms=0)) == 5_000_000 + rest
    assert cost(sheet, meters, Facts(at_ms=12 * 3_600_000)) == 10_000_000 + rest
    assert cost(sheet, meters, Facts()) == 10_000_000 + rest
    asked = Facts(at_ms=0, service_tier="priority")
    assert cost(sheet, Meters(text_input=1000), asked) == 20_000_000


def test_a_tier_without_a_rate_does_not_take_it_from_the_night() -> None:
    """What priority does not say comes from the standard price of the day, at any hour."""
    info = {
        **BASE,
        "input_cost_per_token_priority": "0.000020",
        "output_cost_per_token_priority": "0.000100",
        "input_cost_per_audio_token": "0.000080",
        "off_peak_pricing": {
            "input_cost_per_audio_token": "0.000001",
            "windows": [{"hours_utc": "00:00-12:00"}],
        },
    }
    sheet = sheet_from_model_info("p", "m", info)
    heard = Meters(audio_input=1)
    assert cost(sheet, heard, Facts(at_ms=0)) == 1_000
    assert cost(sheet, heard, Facts(at_ms=0, service_tier="priority")) == 80_000
