"""LiteLLM's model_info: each key has one meaning, and none is skipped in silence."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.model_info import read_model_info
from pricing.rates import PriceInvalid
from pricing.ratetable import BATCH_TIER, DEFAULT_TIER
from pricing.sheet import price_from_model_info

TOKENS: dict[str, object] = {"input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06}
ALWAYS_BILLED = [
    "citation_cost_per_token",
    "cost_per_second",
    "input_cost_per_second",
    "output_cost_per_second_1080p",
    "output_cost_per_image_4K",
    "input_cost_per_query",
    "ocr_cost_per_credit",
]
UNBOUNDED = [
    "output_cost_per_image_token",
    "output_cost_per_image_token_priority",
    "input_cost_per_character_above_128k_tokens",
    "ocr_cost_per_page_batches",
]
WHEN_ASKED = [
    "search_context_cost_per_query",
    "google_maps_grounding_cost_per_query",
    "code_interpreter_cost_per_session",
    "file_search_cost_per_1k_calls",
    "input_cost_per_image_above_128k_tokens",
    "output_cost_per_image",
    "input_cost_per_video_token",
    "regional_processing_uplift_multiplier_eu",
    "regional_endpoint_uplift_multiplier",
]


@pytest.mark.parametrize(
    ("key", "cell", "name"),
    [
        ("input_cost_per_token", ("default", 0), "input"),
        ("output_cost_per_token", ("default", 0), "output"),
        ("cache_read_input_token_cost", ("default", 0), "cached_input"),
        ("input_cost_per_token_cache_hit", ("default", 0), "cached_input"),
        ("cache_creation_input_token_cost", ("default", 0), "cache_write_5m"),
        ("cache_creation_input_token_cost_above_1hr", ("default", 0), "cache_write_1h"),
        ("cache_creation_input_token_cost_above_12hr", ("default", 0), "cache_write_1h"),
        ("input_cost_per_audio_token", ("default", 0), "audio_input"),
        ("input_cost_per_image_token", ("default", 0), "image_input"),
        ("output_cost_per_reasoning_token", ("default", 0), "reasoning_output"),
        ("output_cost_per_audio_token", ("default", 0), "audio_output"),
        ("input_cost_per_token_above_200k_tokens", ("default", 200_000), "input"),
        ("output_cost_per_token_above_128000_tokens", ("default", 128_000), "output"),
        ("cache_read_input_token_cost_above_272k_tokens", ("default", 272_000), "cached_input"),
        (
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
            ("default", 200_000),
            "cache_write_1h",
        ),
        ("input_cost_per_token_priority", ("priority", 0), "input"),
        (
            "cache_creation_input_token_cost_above_272k_tokens_flex",
            ("flex", 272_000),
            "cache_write_5m",
        ),
    ],
)
def test_a_key_says_meter_threshold_and_tier(key: str, cell: tuple[str, int], name: str) -> None:
    """Each rate key is put into exactly one cell: its meter, threshold and service tier."""
    table = read_model_info("p", "m", {key: "0.00003"})
    assert table.rates == {cell: {f"{name}_nusd_per_mtok": 30_000_000_000}}
    assert not table.unpriced


def test_the_dearest_of_two_keys_of_one_meter_holds() -> None:
    """Two keys that price the same meter cannot make it cheaper than either says."""
    info = {"cache_read_input_token_cost": 1e-07, "input_cost_per_token_cache_hit": 2e-07}
    for pairs in (info.items(), reversed(info.items())):
        table = read_model_info("p", "m", dict(pairs))
        assert table.rates[DEFAULT_TIER, 0] == {"cached_input_nusd_per_mtok": 200_000_000}


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("input_cost_per_tokens", "input_cost_per_token"),
        ("Input_Cost_Per_Token", "input_cost_per_token"),
        ("output_cost_per_reasoning_tokens", "output_cost_per_reasoning_token"),
        ("cache_read_token_cost", "cache_read_input_token_cost"),
        ("input_cost_per_token_above_200k", "input_cost_per_token"),
        ("input_cost_per_token_turbo", "input_cost_per_token"),
        ("input_cost_per_token_priority_above_200k_tokens", "input_cost_per_token"),
        ("tiered_prices", "tiered_pricing"),
        ("regional_uplift_multiplier", "regional_endpoint_uplift_multiplier"),
    ],
)
@pytest.mark.parametrize("value", [1e-06, None, "x"])
def test_an_unknown_price_key_is_an_error(key: str, nearest: str, value: object) -> None:
    """A key about money that is not understood is refused with its name and the nearest known."""
    with pytest.raises(PriceInvalid, match=rf"^{key} .* {nearest} \("):
        read_model_info("p", "m", TOKENS | {key: value})


@settings(deadline=None)
@given(word=st.from_regex(r"[a-z_]{0,12}cost[a-z_]{0,12}", fullmatch=True))
def test_no_key_with_cost_in_it_is_ignored(word: str) -> None:
    """Whatever contains "cost" either fills a cell, is reported, or raises: never nothing."""
    try:
        table = read_model_info("p", "m", {word: 0.5})
    except PriceInvalid:
        return
    assert table.rates or table.unpriced or table.request_nusd


@pytest.mark.parametrize("key", [1, None, b"input_cost_per_token", ("a",)])
def test_a_key_that_is_not_text_is_refused(key: object) -> None:
    """YAML allows keys of any type; such a key cannot be checked, so it is refused."""
    with pytest.raises(PriceInvalid, match="key must be text"):
        read_model_info("p", "m", {key: 1})  # type: ignore[dict-item]  # hostile on purpose


def test_other_keys_are_ignored() -> None:
    """What LiteLLM keeps beside prices does not matter and is not validated."""
    info = {
        "mode": "chat",
        "id": object(),
        "litellm_provider": "openai",
        "supports_vision": True,
        "supported_regions": ["eu"],
        "prompt_cache_min_tokens": 1024.0,
        "token_count_model": {"model": "x"},
        "tpm": -1,
        "metadata": {"input_cost_per_token": math.nan},
    }
    assert read_model_info("p", "m", info) == read_model_info("p", "m", {})


def test_null_values_are_absent() -> None:
    """LiteLLM's API lists each known key, most of them null: those say nothing."""
    nulls = dict.fromkeys(["cache_read_input_token_cost", "tiered_pricing", "cost_per_second"])
    assert read_model_info("p", "m", TOKENS | nulls) == read_model_info("p", "m", TOKENS)


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, True, 1.01, "free", [], {}])
@pytest.mark.parametrize(
    "key",
    [
        "input_cost_per_token",
        "output_cost_per_token_above_200k_tokens",
        "cache_read_input_token_cost_flex",
        "input_cost_per_token_batches",
    ],
)
def test_a_hostile_rate_is_refused(key: str, value: object) -> None:
    """No rate is negative, not finite, a boolean, absurd or no number; the message has the key."""
    with pytest.raises(PriceInvalid, match=rf"^{key} "):
        read_model_info("p", "m", TOKENS | {key: value})


@pytest.mark.parametrize("key", ["input_cost_per_token_above_0k_tokens", "x_cost_above_1_tokens"])
def test_a_threshold_is_at_least_two(key: str) -> None:
    """A tier above nothing is not a tier: it would hide the base price."""
    with pytest.raises(PriceInvalid, match="threshold"):
        read_model_info("p", "m", {key: 1e-06})


def test_rates_of_other_apis_are_checked_but_not_used() -> None:
    """Rates of an API that nobody here reads never become the price of a request."""
    table = read_model_info("p", "m", TOKENS | {"input_cost_per_token_decisions": 1e-06})
    assert table == read_model_info("p", "m", TOKENS)


def test_batch_rates_are_a_tier_of_their_own() -> None:
    """Batch rates are lower: they stand apart, and are no service tier that a request can name."""
    batch = {"input_cost_per_token_batches": 1e-06, "output_cost_per_token_batches": 4e-06}
    table = read_model_info("p", "m", TOKENS | batch)
    assert table.rates[BATCH_TIER, 0]["input_nusd_per_mtok"] == 10**9
    assert table.rates[DEFAULT_TIER, 0]["input_nusd_per_mtok"] == 2 * 10**9
    limits = {"max_input_tokens": 10, "max_output_tokens": 10}
    with pytest.raises(PriceInvalid, match="has no complete price"):
        price_from_model_info("p", "m", TOKENS | batch | limits, service_tier=BATCH_TIER)


@pytest.mark.parametrize("key", WHEN_ASKED)
def test_a_charge_that_can_be_asked_for_is_reported(key: str) -> None:
    """A fee outside the rates stands in `unpriced`, so that a request for it can be refused."""
    assert read_model_info("p", "m", TOKENS | {key: 0.01}).unpriced == {key}
    assert not read_model_info("p", "m", TOKENS | {key: 0}).unpriced


def test_multipliers_of_request_options_are_reported_each() -> None:
    """Anthropic's `us` and `fast` multiply the price when a request asks: both are reported."""
    info = {"provider_specific_entry": {"us": 1.1, "fast": 2.0}}
    assert read_model_info("anthropic", "m", TOKENS | info).unpriced == {
        "provider_specific_entry.us",
        "provider_specific_entry.fast",
    }
    assert not read_model_info("p", "m", {"provider_specific_entry": "titan_v2"}).unpriced


@pytest.mark.parametrize("key", ALWAYS_BILLED)
def test_a_charge_without_a_meter_is_refused(key: str) -> None:
    """What is billed on a meter that does not exist here cannot be bounded: no price."""
    with pytest.raises(PriceInvalid, match=rf"^{key} bills something that has no meter"):
        read_model_info("p", "m", TOKENS | {key: 0.001})
    assert read_model_info("p", "m", TOKENS | {key: 0.0}) == read_model_info("p", "m", TOKENS)


@pytest.mark.parametrize("key", UNBOUNDED)
def test_what_nothing_bounds_beforehand_has_no_price_for_quotes(key: str) -> None:
    """Pages, characters and drawn images are metered afterwards; a request cannot be quoted."""
    info = TOKENS | {"max_input_tokens": 10, "max_output_tokens": 10}
    assert read_model_info("p", "m", info | {key: 0.001}).unbounded == {key}
    with pytest.raises(PriceInvalid, match=f"{key} bills what nothing"):
        price_from_model_info("p", "m", info | {key: 0.001})
    assert price_from_model_info("p", "m", info | {key: 0}).rates.input_nusd_per_mtok


@pytest.mark.parametrize("side", ["input", "output"])
def test_free_tokens_beside_a_price_per_image_are_refused(side: str) -> None:
    """A model whose tokens are free but whose images are not is not a free model."""
    info = TOKENS | {f"{side}_cost_per_token": 0, f"{side}_cost_per_image": 0.04}
    with pytest.raises(PriceInvalid, match=f"{side}_cost_per_image bills what its tokens do not"):
        read_model_info("p", "m", info)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("perplexity", "sonar"),
        ("openai", "gpt-4o-search-preview"),
        ("openai", "gpt-5-search-api-2025-10-14"),
    ],
)
def test_a_search_that_nobody_asked_for_is_in_the_fee(provider: str, model: str) -> None:
    """A model that searches on each request costs at least its dearest search."""
    fees = {"search_context_size_low": 0.005, "search_context_size_high": 0.012}
    table = read_model_info(provider, model, TOKENS | {"search_context_cost_per_query": fees})
    assert (table.request_nusd, table.unpriced) == (12_000_000, set())


def test_searches_without_end_are_refused() -> None:
    """Deep research searches an unknown number of times: no bound, no price for quotes; afterwards
    each search has its fee."""
    info = TOKENS | {"search_context_cost_per_query": 0.035}
    limits = {"max_input_tokens": 10, "max_output_tokens": 10}
    with pytest.raises(PriceInvalid, match="search_context_cost_per_query bills what nothing"):
        price_from_model_info("gemini", "deep-research-preview-04-2026", info | limits)
    table = read_model_info("gemini", "deep-research-preview-04-2026", info)
    assert table.fees == {(DEFAULT_TIER, "search_calls_nusd_per_m"): 35 * 10**12}
    assert read_model_info("gemini", "research-2", info).request_nusd == 0


def test_a_fee_per_request_is_read() -> None:
    """input_cost_per_request is dollars for each request."""
    assert read_model_info("p", "m", {"input_cost_per_request": 0.005}).request_nusd == 5_000_000


def test_ranges_become_thresholds() -> None:
    """Alibaba's ranges are the base price and thresholds, in whatever order they are listed."""
    rows = [
        {"range": [256000.0, 1000000.0], "input_cost_per_token": 3e-06},
        {"range": [0, 32000], "input_cost_per_token": 1e-06, "output_cost_per_token": None},
        {"range": [32000, 256000], "input_cost_per_token": "2e-06"},
    ]
    rates = read_model_info("dashscope", "m", {"tiered_pricing": rows}).rates
    assert {cell: rate["input_nusd_per_mtok"] for cell, rate in rates.items()} == {
        ("default", 0): 10**9,
        ("default", 32_000): 2 * 10**9,
        ("default", 256_000): 3 * 10**9,
    }


@pytest.mark.parametrize(
    "rows",
    [
        "cheap",
        {"range": [0, 1]},
        ["cheap"],
        [{"input_cost_per_token": 1e-06}],
        [{"range": [0], "input_cost_per_token": 1e-06}],
        [{"range": [5, 10], "input_cost_per_token": 1e-06}],
        [{"range": [0, 0], "input_cost_per_token": 1e-06}],
        [{"range": [0, 10]}, {"range": [20, 30]}],
        [{"range": [0, 10]}, {"range": [5, 30]}],
        [{"range": [0, math.inf]}],
        [{"range": [-1, 10]}],
        [{"range": [0, 10], "input_price": 1}],
        [{"range": [0, 10], "input_cost_per_token_priority": 1e-06}],
        [{"range": [0, 10], "input_cost_per_token": -1}],
    ],
)
def test_ranges_that_leave_a_gap_are_refused(rows: object) -> None:
    """Ranges that do not cover each input exactly once, or hold unknown prices, are refused."""
    with pytest.raises(PriceInvalid, match="tiered_pricing"):
        read_model_info("p", "m", TOKENS | {"tiered_pricing": rows})


def test_cheaper_hours_are_ignored_and_dearer_ones_refused() -> None:
    """The base rates hold all day: safe for a discount, refused for a surcharge."""
    cheap = {"input_cost_per_token": 1e-06, "windows": [{"hours_utc": "00:00-06:00"}]}
    assert read_model_info("p", "m", TOKENS | {"off_peak_pricing": cheap}).rates == (
        read_model_info("p", "m", TOKENS).rates
    )
    dear = [{"input_cost_per_token": 3e-06}, {"output_cost_per_image": 1}, {"surcharge": 1}, "x"]
    for value in dear:
        with pytest.raises(PriceInvalid, match="off_peak_pricing"):
            read_model_info("p", "m", TOKENS | {"off_peak_pricing": value})


def test_xai_thresholds_include_the_threshold() -> None:
    """xAI's long-context rate begins at the threshold itself, others' one token later."""
    info = {"input_cost_per_token_above_128k_tokens": 1e-06}
    assert read_model_info("xai", "grok", info).thresholds(DEFAULT_TIER) == [127_999]
    assert read_model_info("other", "grok", info).thresholds(DEFAULT_TIER) == [128_000]
