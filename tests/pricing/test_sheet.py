"""Sheets: what was served decides the price, and nothing that was used is free by accident."""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import (
    Facts,
    Meters,
    PriceInvalid,
    PriceSheet,
    SubUse,
    cost,
    cost_nusd,
    price_from_model_info,
    sheet_from_model_info,
)

USD = 10**9  # nano-dollars
INFO: dict[str, object] = {
    "input_cost_per_token": "0.000002",
    "cache_read_input_token_cost": "0.0000002",
    "output_cost_per_token": "0.00001",
    "input_cost_per_token_priority": "0.000004",
    "output_cost_per_token_priority": "0.00002",
    "input_cost_per_token_batches": "0.000001",
    "cache_read_input_token_cost_batches": "0.00000015",
    "output_cost_per_token_batches": "0.000005",
    "search_context_cost_per_query": {"search_context_size_low": 0.005, "high": 0.01},
    "file_search_cost_per_1k_calls": 2.5,
    "code_interpreter_cost_per_session": 0.03,
    "regional_processing_uplift_multiplier_eu": 1.1,
    "regional_processing_uplift_multiplier_us": "1.25",
    "provider_specific_entry": {"fast": 2},
}
TOKENS = Meters(text_input=1000, cached_input=1000, text_output=100)
NO_CHANGES: Mapping[str, object] = {}
STANDARD_NUSD = 2_000_000 + 200_000 + 1_000_000
COUNT = st.integers(0, 10**6)
USED = ("text_input", "cached_input", "cache_write_5m", "text_output", "reasoning_output")
METERS = st.builds(Meters, **dict.fromkeys(USED, COUNT))


def sheet(changes: Mapping[str, object] = NO_CHANGES, provider: str = "openai") -> PriceSheet:
    """The sheet of INFO with these changes; null takes a key away."""
    info = {key: value for key, value in {**INFO, **changes}.items() if value is not None}
    return sheet_from_model_info(provider, "m", info)


def costs(facts: Facts, meters: Meters = TOKENS, changes: Mapping[str, object] = NO_CHANGES) -> int:
    return cost(sheet(changes), meters, facts)


@pytest.mark.parametrize(
    ("facts", "nusd"),
    [
        (Facts(), STANDARD_NUSD),
        (Facts(service_tier="default"), STANDARD_NUSD),
        (Facts(service_tier="standard"), STANDARD_NUSD),
        (Facts(service_tier="priority"), 2_000_000 * 2 + 4_000_000 + 2_000_000),
        (Facts(batch=True), 1_000_000 + 150_000 + 500_000),
        (Facts(service_tier="batch"), 1_000_000 + 150_000 + 500_000),
        (Facts(batch=True, service_tier="priority"), 1_000_000 + 150_000 + 500_000),
        (Facts(fast=True), 2 * STANDARD_NUSD),
        (Facts(region="eu"), STANDARD_NUSD * 11 // 10),
        (Facts(region="us"), STANDARD_NUSD * 5 // 4),
        (Facts(region="eu", fast=True), STANDARD_NUSD * 11 // 5),
        (Facts(region="eu", batch=True), 1_650_000 * 11 // 10),
    ],
    ids=str,
)
def test_what_was_served_decides(facts: Facts, nusd: int) -> None:
    """Tier, batch, speed and region each choose their price, and regions and speed stack. Priority
    has no rate for cached tokens here, so they cost what its input costs."""
    assert costs(facts) == nusd


def test_a_region_nobody_has_a_price_for_has_the_dearest() -> None:
    """A region without a multiplier is not cheaper than one with; a model without any is."""
    assert costs(Facts(region="jp")) == STANDARD_NUSD * 5 // 4
    nothing: dict[str, object] = dict.fromkeys(key for key in INFO if key.startswith("regional"))
    assert costs(Facts(region="jp"), changes=nothing) == STANDARD_NUSD
    anywhere = nothing | {"regional_endpoint_uplift_multiplier": "1.1"}
    assert costs(Facts(region="jp"), changes=anywhere) == STANDARD_NUSD * 11 // 10


@pytest.mark.parametrize("facts", [Facts(service_tier="ultra"), Facts(fast=True)], ids=str)
def test_a_variant_without_a_price_is_refused(facts: Facts) -> None:
    """A tier or speed that the sheet does not know has no price that could be guessed."""
    with pytest.raises(PriceInvalid, match=r"has no price; priced: .*priority"):
        costs(facts, changes={"provider_specific_entry": None})


def test_tiers_that_are_paid_beforehand_have_the_list_price() -> None:
    """Names of the standard price by provider; elsewhere the same name is unknown."""
    for provider, tier in (("groq", "flex"), ("anthropic", "priority"), ("openai", "scale")):
        own = sheet({"input_cost_per_token_priority": None}, provider)
        assert cost(own, TOKENS, Facts(service_tier=tier)) == STANDARD_NUSD
        with pytest.raises(PriceInvalid, match="has no price"):
            cost(replace(own, provider="p"), TOKENS, Facts(service_tier=tier))


def test_a_factor_prices_a_tier_that_has_no_rates() -> None:
    """Mistral's priority is 1.75 times every price, cached ones and long context included."""
    factor = {
        "provider_specific_entry": {"priority": "1.75"},
        "input_cost_per_token_priority": None,
    }
    assert costs(Facts(service_tier="priority"), changes=factor) == STANDARD_NUSD * 7 // 4
    assert "priority" in sheet(factor).service_tiers


def test_a_reported_cost_wins() -> None:
    """What the provider bills is what it cost, whatever the sheet knows or does not know."""
    reported = Facts(service_tier="unheard of", reported_cost_nusd=7)
    assert cost(sheet(), Meters(pages=5), reported) == 7
    assert cost(sheet(), TOKENS, Facts(reported_cost_nusd=0)) == 0


def test_calls_are_priced_by_their_kind() -> None:
    """A search has the dearest of its sizes; each tool has its own fee, whatever the region."""
    meters = Meters(search_calls=2, tool_calls=5)
    facts = Facts(tools=(("code_interpreter", 1), ("file_search", 4)), region="eu")
    assert costs(facts, meters) == 2 * USD // 100 + 3 * USD // 100 + 4 * USD // 400
    unknown = Facts(tools=(("oracle", 1),))
    with pytest.raises(PriceInvalid, match=r"1 calls of oracle .* oracle_cost_per_1k_calls"):
        costs(unknown, Meters(tool_calls=1))
    assert costs(unknown, Meters(tool_calls=1), {"oracle_cost_per_1k_calls": 2}) == 2 * USD // 1000
    assert costs(unknown, Meters(tool_calls=1), {"oracle_cost_per_1k_calls": 0}) == 0


def test_calls_of_no_kind_have_the_dearest_fee() -> None:
    """Calls that nobody told apart cost what the dearest tool costs."""
    assert costs(Facts(), Meters(tool_calls=1)) == 3 * USD // 100


@pytest.mark.parametrize(
    ("meters", "info"),
    [
        (Meters(search_calls=1), {"search_context_cost_per_query": None}),
        (Meters(audio_ms=1), {}),
        (Meters(pages=1), {}),
        (Meters(characters=1), {}),
        (Meters(text_output=1), {"output_cost_per_token": None}),
        (Meters(image_output=1), {"output_cost_per_token": None}),
        (
            Meters(cached_input=1),
            {"input_cost_per_token": None, "cache_read_input_token_cost": None},
        ),
    ],
    ids=str,
)
def test_what_has_no_price_is_not_free(meters: Meters, info: dict[str, object]) -> None:
    """Anything used that the sheet has no rate for is an error, never zero."""
    with pytest.raises(PriceInvalid, match="were used"):
        costs(Facts(), meters, info)
    assert costs(Facts(), Meters(), info) == 0


def test_an_own_rate_is_enough() -> None:
    """A model that only draws has no price of text, and none is needed."""
    only_images = {"output_cost_per_token": None, "output_cost_per_image_token": "0.00003"}
    assert costs(Facts(), Meters(image_output=10), only_images) == 300_000


def test_sound_and_pages_are_billed_by_the_piece() -> None:
    """Seconds of sound, pages and characters; in a batch at its own fee or factor, if any."""
    sound = sheet_from_model_info(
        "openai",
        "whisper",
        {
            "mode": "audio_transcription",
            "input_cost_per_second": 0.0001,
            "output_cost_per_second": 0.0001,
        },
    )
    assert cost(sound, Meters(audio_ms=1500)) == 150_000
    pages: dict[str, object] = {"ocr_cost_per_page": 0.004, "input_cost_per_character": "0.000015"}
    read = Meters(pages=3, characters=1000)
    assert cost(sheet_from_model_info("m", "ocr", pages), read, Facts(batch=True)) == 27_000_000
    half = pages | {"provider_specific_entry": {"batch": 0.5}}
    assert cost(sheet_from_model_info("m", "ocr", half), read, Facts(batch=True)) == 13_500_000
    own = half | {"ocr_cost_per_page_batches": 0.001}
    assert cost(sheet_from_model_info("m", "ocr", own), read, Facts(batch=True)) == 10_500_000
    assert cost(sheet_from_model_info("m", "ocr", own), read) == 27_000_000


def test_a_part_that_another_model_served_has_its_price() -> None:
    """Tokens of an adviser are billed at its own sheet; without it nothing is guessed."""
    part = Meters(text_input=10, text_output=10)
    facts = Facts(sub_uses=(SubUse("big", part),), region="eu")
    dear = sheet_from_model_info(
        "openai", "big", {"input_cost_per_token": "0.1", "output_cost_per_token": "0.1"}
    )
    whole = TOKENS.plus(part)
    assert cost(sheet(), whole, facts, others={"big": dear}) == STANDARD_NUSD * 11 // 10 + 2 * USD
    with pytest.raises(PriceInvalid, match="served by 'big', whose price is needed"):
        cost(sheet(), whole, facts)


def test_the_own_name_in_a_part_is_the_own_price() -> None:
    """A fallback that names the model of the sheet needs no other."""
    facts = Facts(sub_uses=(SubUse("m", TOKENS),))
    assert cost(sheet(), TOKENS, facts) == STANDARD_NUSD


@pytest.mark.parametrize(
    ("facts", "nusd"),
    [
        (Facts(), 10_000),
        (Facts(region="eu"), 20_000),
        (Facts(batch=True), 5_000),
        (Facts(at_ms=0), 1_000),
        (Facts(fast=True), 10_000),
        (Facts(service_tier="priority"), 10_000),
    ],
    ids=str,
)
def test_what_is_true_of_the_request_is_true_of_its_parts(facts: Facts, nusd: int) -> None:
    """Region, batch and hour hold for another model's part, too; a speed or a tier that it does
    not have cannot."""
    info = {
        "input_cost_per_token": "0.000010",
        "regional_endpoint_uplift_multiplier": 2,
        "provider_specific_entry": {"batch": "0.5"},
        "off_peak_pricing": {"input_cost_per_token": "0.000001", "windows": [{"weekdays": [4]}]},
    }
    other = sheet_from_model_info("openai", "other", info)
    part = Meters(text_input=1)
    whole = replace(facts, sub_uses=(SubUse("other", part),))
    assert cost(sheet(), part, whole, others={"other": other}) == nusd


def test_a_part_that_has_no_rate_is_not_free() -> None:
    """What another model used is checked like the rest."""
    facts = Facts(sub_uses=(SubUse("other", Meters(text_output=1)),))
    other = sheet_from_model_info("openai", "other", {"input_cost_per_token": 0})
    with pytest.raises(PriceInvalid, match="openai/other: 1 tokens of text_output were used"):
        cost(sheet(), Meters(text_output=1), facts, others={"other": other})


def test_the_fee_of_a_request_is_added_once() -> None:
    """A fixed fee counts whatever was used, and is no token price: no factor is for it."""
    fee = {"input_cost_per_request": "0.005"}
    assert costs(Facts(region="eu"), Meters(), fee) == 5_000_000
    parts = Facts(sub_uses=(SubUse("m", TOKENS),))
    assert costs(parts, TOKENS, fee) == STANDARD_NUSD + 5_000_000


def test_a_search_that_is_in_the_fee_is_not_billed_again() -> None:
    """A model that searches for each request has it in its fixed fee: its count adds nothing."""
    own = sheet({"search_context_cost_per_query": 0.012}, provider="perplexity")
    assert cost(own, Meters(search_calls=3)) == 12_000_000


def test_the_dearest_size_of_a_search_counts_in_any_order() -> None:
    """Which size was asked for is not known afterwards."""
    sizes = {"search_context_size_high": 0.01, "search_context_size_low": 0.005}
    for order in (sizes, dict(reversed(sizes.items()))):
        search = {"search_context_cost_per_query": order}
        assert costs(Facts(), Meters(search_calls=1), search) == 10_000_000


def test_a_batch_does_not_halve_the_fees_of_calls() -> None:
    """The factor of the batch API is for tokens and for what is read, not for searches."""
    half = {"provider_specific_entry": {"batch": "0.5"}}
    assert costs(Facts(batch=True), Meters(search_calls=1), half) == 10_000_000


def test_a_part_does_not_make_the_rest_long() -> None:
    """Another model's tokens are not input of this one: they do not reach its threshold."""
    long = {
        "input_cost_per_token_above_1k_tokens": "0.5",
        "output_cost_per_token_above_1k_tokens": 1,
    }
    own, part = Meters(text_input=1000), Meters(text_input=1)
    facts = Facts(sub_uses=(SubUse("small", part),))
    small = sheet_from_model_info("openai", "small", {"input_cost_per_token": 0})
    assert cost(sheet(long), own.plus(part), facts, others={"small": small}) == 2_000_000


def test_cached_audio_has_its_own_rate() -> None:
    """Of the cached tokens, the audio is priced apart; without a rate, as if it was not cached."""
    info: dict[str, object] = {
        "input_cost_per_audio_token": "0.000001",
        "cache_read_input_audio_token_cost": "0.0000001",
    }
    meters = Meters(cached_input=1000)
    assert costs(Facts(cached_audio=600), meters, info) == 400 * 200 + 600 * 100
    assert costs(Facts(cached_audio=5000), meters, info) == 100_000
    del info["cache_read_input_audio_token_cost"]
    assert costs(Facts(cached_audio=600), meters, info) == 400 * 200 + 600 * 2000


def test_rounding_happens_once_for_all_parts() -> None:
    """Tokens, calls and another model's part are added before anything is rounded up."""
    tiny = {"input_cost_per_token": "0.0000000003", "file_search_cost_per_1k_calls": "0.0000003"}
    facts = Facts(tools=(("file_search", 1),), sub_uses=(SubUse("m", Meters(text_input=1)),))
    assert costs(facts, Meters(text_input=2, tool_calls=1), tiny) == 1


@settings(deadline=None)
@given(meters=METERS, region=st.sampled_from(["", "eu", "us"]), fast=st.booleans())
def test_factors_are_exact(meters: Meters, region: str, fast: bool) -> None:
    """Whatever stacks, the cost is the ceiling of the exact product."""
    own = sheet()
    factor = {"": Fraction(1), "eu": Fraction(11, 10), "us": Fraction(5, 4)}[region] * (1 + fast)
    rates = own.price().rates
    exact = Fraction(
        meters.text_input * rates.input_nusd_per_mtok
        + meters.cached_input * rates.cached_input_nusd_per_mtok
        + meters.cache_write_5m * rates.cache_write_5m_nusd_per_mtok
        + meters.text_output * rates.output_nusd_per_mtok
        + meters.reasoning_output * rates.reasoning_output_nusd_per_mtok,
        10**6,
    )
    assert cost(own, meters, Facts(region=region, fast=fast)) == math.ceil(exact * factor)


@settings(deadline=None)
@given(meters=METERS)
def test_a_sheet_and_a_price_agree(meters: Meters) -> None:
    """What the gateway settles with one price is what the sheet says of the same request."""
    info = INFO | {"max_input_tokens": 10**6, "max_output_tokens": 10**5}
    price = price_from_model_info("openai", "m", info)
    own = sheet_from_model_info("openai", "m", info)
    assert price == own.price()
    assert cost(own, meters) == cost_nusd(price, meters)


def test_a_price_says_the_tier_that_it_is() -> None:
    """Each variant names itself, and those that a request can ask for."""
    assert sheet().price(Facts(service_tier="priority")).service_tier == "priority"
    assert sheet().price(Facts(batch=True)).service_tier == "batches"
    assert sheet().price().service_tiers == {"default", "standard", "priority"}


def test_half_a_tier_in_long_context_is_settled_but_not_quoted() -> None:
    """Priority without a price in long context: no quote, and the dearer of both afterwards."""
    long: dict[str, object] = {
        "input_cost_per_token_above_1k_tokens": "0.000003",
        "output_cost_per_token_above_1k_tokens": "0.00003",
        "max_input_tokens": 10**6,
        "max_output_tokens": 10**5,
    }
    with pytest.raises(PriceInvalid, match="has no complete price"):
        price_from_model_info("openai", "m", INFO | long, service_tier="priority")
    meters = Meters(text_input=2000, text_output=10)
    assert costs(Facts(service_tier="priority"), meters, long) == 2000 * 4000 + 10 * 30_000


@pytest.mark.parametrize(
    "change",
    [
        {"input_cost_per_token": "0.000003"},
        {"input_cost_per_token_batches": "0.0000011"},
        {"file_search_cost_per_1k_calls": 3},
        {"provider_specific_entry": {"fast": 3}},
        {"regional_processing_uplift_multiplier_eu": 1.2},
        {"search_context_cost_per_query": 0.02},
        {"off_peak_pricing": {"input_cost_per_token": 0, "windows": [{"weekdays": [6]}]}},
        {"max_input_tokens": 5},
        {"input_cost_per_request": 1},
    ],
    ids=str,
)
def test_another_content_has_another_version(change: dict[str, object]) -> None:
    """Whatever could change a cost is in the version, and the order of keys is not."""
    assert sheet(change).version != sheet().version
    assert sheet_from_model_info("openai", "m", dict(reversed(INFO.items()))).version == (
        sheet().version
    )
    assert sheet(provider="azure").version != sheet().version


def test_an_unknown_key_is_refused_with_the_models_name() -> None:
    """A sheet cannot be made around a key that speaks of money and is not understood."""
    with pytest.raises(PriceInvalid, match="price of openai/m: surcharge_for_smiling is not"):
        sheet({"surcharge_for_smiling": 1})


@pytest.mark.parametrize("factor", [0, -1, 101, "much", True, "0.001", "nan", None])
@pytest.mark.parametrize("option", ["us", "fast", "batch", "priority"])
def test_a_factor_is_a_plausible_number(option: str, factor: object) -> None:
    """A multiplier of nought, or a percentage, is refused."""
    with pytest.raises(PriceInvalid, match=rf"provider_specific_entry\.{option} (must be|is not)"):
        sheet({"provider_specific_entry": {option: factor}})
