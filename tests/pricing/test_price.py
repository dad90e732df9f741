"""Price: complete, immutable, and the same everywhere."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.demo import PRICES
from pricing.meters import TOKENS_MAX
from pricing.price import VERSION_CHARS, Price, Tier
from pricing.rates import RATE_NAMES, REQUEST_NUSD_MAX, PriceInvalid, Rates
from pricing.sheet import price_from_model_info

LIMITS: dict[str, object] = {"max_input_tokens": 128_000, "max_output_tokens": 16_384}
INFO: dict[str, object] = {
    "input_cost_per_token": 1e-06,
    "output_cost_per_token": 2e-06,
    "mode": "chat",
    **LIMITS,
}
LONG: dict[str, object] = {
    "input_cost_per_token_above_200k_tokens": 3e-06,
    "output_cost_per_token_above_200k_tokens": 5e-06,
}
PLAIN = Rates(*[7] * len(RATE_NAMES))


def price(**changes: object) -> Price:
    fields: dict[str, object] = {
        "provider": "p",
        "model": "m",
        "rates": PLAIN,
        "max_input_tokens": 1000,
        "max_output_tokens": 100,
    }
    return Price(**cast("dict[str, int]", fields | changes))  # type: ignore[arg-type]  # any field


def parse(info: Mapping[str, object], model: str = "m", provider: str = "p") -> Price:
    return price_from_model_info(provider, model, info)


def test_the_designs_example_is_read() -> None:
    """The model_info of the example configuration gives its rates, limits and defaults."""
    read = price_from_model_info(
        "openai",
        "gpt-5-mini",
        {
            "input_cost_per_token": 0.000001,
            "output_cost_per_token": 0.000002,
            "max_input_tokens": 128000,
            "max_output_tokens": 16384,
        },
    )
    assert read.rates.input_nusd_per_mtok == 10**9
    assert read.rates.cached_input_nusd_per_mtok == 10**9
    assert read.rates.cache_write_5m_nusd_per_mtok == 1_250_000_000
    assert read.rates.output_nusd_per_mtok == 2 * 10**9
    assert (read.max_input_tokens, read.max_output_tokens) == (128_000, 16_384)
    assert (read.tiers, read.request_nusd, read.unpriced) == ((), 0, frozenset())
    assert read.service_tiers == {"default", "standard"}
    assert not read.cache_write_unasked


@pytest.mark.parametrize("form", [7.5e-08, "7.5e-08", "0.000000075"])
def test_numbers_and_text_give_the_same_price(form: object) -> None:
    """A float and the text that PyYAML leaves (1e-06 has no dot) mean the same price."""
    read = parse(INFO | {"input_cost_per_token": form})
    assert read == parse(INFO | {"input_cost_per_token": 0.000000075})
    assert read.rates.input_nusd_per_mtok == 75_000_000


@pytest.mark.parametrize(
    "key", ["input_cost_per_token", "output_cost_per_token", "max_input_tokens"]
)
@pytest.mark.parametrize("absent", [True, False])
def test_what_is_needed_is_never_assumed(key: str, *, absent: bool) -> None:
    """Without input cost, output cost or context window there is no price; null is without."""
    info = INFO | {key: None}
    if absent:
        del info[key]
    with pytest.raises(PriceInvalid, match=rf"^price of p/m: {key} is missing"):
        parse(info)


def test_an_explicit_zero_is_a_price() -> None:
    """A free model is one that says so."""
    read = parse(LIMITS | {"input_cost_per_token": 0, "output_cost_per_token": "0.0"})
    assert read.rates == Rates(*[0] * len(RATE_NAMES))


def test_max_tokens_bounds_the_output_only() -> None:
    """LiteLLM's older max_tokens can be the output's limit: taken as input it would underbound."""
    info = {key: value for key, value in INFO.items() if not key.startswith("max_")}
    with pytest.raises(PriceInvalid, match="max_input_tokens is missing"):
        parse(info | {"max_tokens": 4096})
    read = parse(info | {"max_tokens": 4096, "max_input_tokens": "128000"})
    assert (read.max_input_tokens, read.max_output_tokens) == (128_000, 4096)
    with pytest.raises(PriceInvalid, match="max_output_tokens is missing"):
        parse(info | {"max_input_tokens": 1})


def test_an_embedding_needs_nothing_of_an_output() -> None:
    """Neither its price nor its bound: it has none. What is said of it holds all the same, but for
    LiteLLM's 0, which would be refused of any other model."""
    info = {"mode": "embedding", "input_cost_per_token": "1e-6", "max_input_tokens": 512}
    for more in ({}, {"max_output_tokens": 0}, {"max_tokens": 512}):
        read = parse(info | more)
        assert read.rates.input_nusd_per_mtok == 10**9
        assert read.rates.output_nusd_per_mtok == 0
        assert read.max_output_tokens == 512
    assert parse(info | {"output_cost_per_token": "2e-6"}).rates.output_nusd_per_mtok == 2 * 10**9
    for missing in ("input_cost_per_token", "max_input_tokens"):
        with pytest.raises(PriceInvalid, match=f"{missing} is missing"):
            parse({key: value for key, value in info.items() if key != missing})
    with pytest.raises(PriceInvalid, match="output_cost_per_token is missing"):
        parse(info | {"mode": "completion", "max_output_tokens": 1})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", TOKENS_MAX + 1, []])
@pytest.mark.parametrize("key", ["max_input_tokens", "max_output_tokens"])
def test_hostile_limits_are_refused(key: str, value: object) -> None:
    """A context window is a positive, plausible whole number."""
    with pytest.raises(PriceInvalid, match=key):
        parse(INFO | {key: value})


def test_errors_name_the_model() -> None:
    """In a file of a hundred models, the message says which one is wrong."""
    with pytest.raises(PriceInvalid, match=r"^price of p/m: input_cost_per_tokn .*"):
        parse(INFO | {"input_cost_per_tokn": 1})


def test_long_context_reprices_the_whole_request() -> None:
    """A tier holds strictly above its threshold, for every meter."""
    read = parse(INFO | LONG)
    [tier] = read.tiers
    assert read.rates_for(200_000) is read.rates
    assert read.rates_for(200_001) is tier.rates
    assert read.rates_up_to(200_000) == (read.rates,)
    assert read.rates_up_to(200_001) == (read.rates, tier.rates)
    assert tier.rates.input_nusd_per_mtok == 3 * 10**9
    assert tier.rates.output_nusd_per_mtok == 5 * 10**9


def test_what_a_tier_does_not_say_is_not_cheaper_than_the_base() -> None:
    """A tier's missing rate is the dearer one of its own default and of what the base says."""
    base: dict[str, object] = {
        "input_cost_per_audio_token": 4e-05,
        "cache_read_input_token_cost": 1e-07,
    }
    [tier] = parse(INFO | LONG | base).tiers
    assert tier.rates.audio_input_nusd_per_mtok == 4 * 10**10
    assert tier.rates.cached_input_nusd_per_mtok == 3 * 10**9
    [said] = parse(INFO | LONG | {"cache_read_input_token_cost_above_200k_tokens": 3e-07}).tiers
    assert said.rates.cached_input_nusd_per_mtok == 3 * 10**8


@pytest.mark.parametrize("key", LONG)
def test_half_a_tier_is_refused(key: str) -> None:
    """A threshold with only one of input and output is unknown, and unknown is an error."""
    with pytest.raises(PriceInvalid, match="above 200000 tokens, give input and output"):
        parse(INFO | {key: 3e-06})


def test_a_tier_of_one_meter_keeps_the_base_for_the_others() -> None:
    """A threshold that only re-prices audio leaves text at its base rates."""
    [tier] = parse(INFO | {"input_cost_per_audio_token_above_200k_tokens": 9e-06}).tiers
    assert tier.rates.input_nusd_per_mtok == 10**9
    assert tier.rates.audio_input_nusd_per_mtok == 9 * 10**9


def test_service_tiers_are_priced_when_complete() -> None:
    """Priority has its own rates; a tier without all of them is refused, not guessed."""
    priority: dict[str, object] = {
        "input_cost_per_token_priority": 2e-06,
        "output_cost_per_token_priority": 4e-06,
        "cache_read_input_token_cost": 1e-07,
        "input_cost_per_token_flex": 5e-07,
    }
    info = INFO | priority
    assert parse(info).service_tiers == {"default", "standard", "priority"}
    read = price_from_model_info("p", "m", info, service_tier="priority")
    assert (read.service_tier, read.rates.input_nusd_per_mtok) == ("priority", 2 * 10**9)
    assert read.rates.cached_input_nusd_per_mtok == 2 * 10**9  # not the default tier's discount
    assert read.rates.output_nusd_per_mtok == 4 * 10**9
    assert price_from_model_info("p", "m", info, service_tier="standard") == parse(info)
    for unpriced in ("flex", "scale", ""):
        with pytest.raises(PriceInvalid, match=r"service tier .* has no complete price"):
            price_from_model_info("p", "m", info, service_tier=unpriced)


def test_a_service_tier_needs_its_own_long_context_rates() -> None:
    """Priority at default long-context rates would be a guess: priced once it has its own."""
    priority: dict[str, object] = {
        "input_cost_per_token_priority": 2e-06,
        "output_cost_per_token_priority": 4e-06,
    }
    assert "priority" not in parse(INFO | LONG | priority).service_tiers
    own = {f"{key}_priority": 9e-06 for key in LONG}
    read = price_from_model_info("p", "m", INFO | LONG | priority | own, service_tier="priority")
    assert [tier.rates.input_nusd_per_mtok for tier in read.tiers] == [9 * 10**9]


@pytest.mark.parametrize(
    ("model", "unasked"),
    [
        ("gpt-5.6", True),
        ("gpt-5.6-sol", True),
        ("azure/gpt-6-astra", True),
        ("databricks-gpt-5-6-terra", True),
        ("gpt-5.5", False),
        ("gpt-5-2025-08-07", False),
        ("gpt-5-mini", False),
        ("gpt-4.1", False),
        ("gpt-4-0613", False),
        ("gpt-35-turbo", False),
        ("gpt-oss-120b", False),
        ("o3", False),
    ],
)
def test_openai_bills_cache_writes_unasked_from_gpt_56_on(model: str, *, unasked: bool) -> None:
    """From GPT-5.6 on, caching is automatic and its writes cost 1.25 times the input."""
    assert parse(INFO, model=model, provider="openai").cache_write_unasked is unasked


def test_a_dearer_cache_write_counts_unless_only_cache_control_causes_it() -> None:
    """A model with a surcharge for writes may write by itself; Claude only does when asked."""
    info = INFO | {"cache_creation_input_token_cost": 1.25e-06}
    assert parse(info).cache_write_unasked
    assert not parse(info, model="anthropic.claude-sonnet-4-5").cache_write_unasked
    assert not parse(info, model="alias", provider="anthropic").cache_write_unasked
    assert not parse(INFO | {"cache_creation_input_token_cost": 0}).cache_write_unasked


def test_framing_is_said_or_known_by_family() -> None:
    """Hidden prompts that a provider bills are in the price: LiteLLM's figure, else a family's."""
    assert (parse(INFO).framing_tokens, parse(INFO).tool_framing_tokens) == (0, 0)
    claude = parse(INFO, model="claude-sonnet-4-5")
    assert claude.tool_framing_tokens >= 530
    grok = parse(INFO, model="grok-4.3", provider="xai")
    assert (grok.framing_tokens, grok.tool_framing_tokens) >= (185, 302)
    said = parse(INFO | {"token_count_framing": 97, "token_count_responses_tool_framing": 12.0})
    assert (said.framing_tokens, said.tool_framing_tokens) == (97, 12)


def test_other_charges_reach_the_price() -> None:
    """Fees and charges outside the rates are in the price that is handed on."""
    info = INFO | {"search_context_cost_per_query": 0.01, "input_cost_per_request": 0.005}
    read = parse(info)
    assert read.unpriced == {"search_context_cost_per_query"}
    assert read.request_nusd == 5_000_000


def test_a_price_is_immutable() -> None:
    """A price that was quoted cannot change before it is settled."""
    with pytest.raises(FrozenInstanceError):
        price().request_nusd = 1  # type: ignore[misc]  # the assignment that must fail


@pytest.mark.parametrize(
    "change",
    [
        {"max_input_tokens": 0},
        {"max_output_tokens": -1},
        {"max_input_tokens": TOKENS_MAX + 1},
        {"max_output_tokens": True},
        {"max_output_tokens": 1.0},
        {"request_nusd": -1},
        {"request_nusd": REQUEST_NUSD_MAX + 1},
        {"framing_tokens": -1},
        {"tiers": (Tier(0, PLAIN),)},
        {"tiers": (Tier(2, PLAIN), Tier(1, PLAIN))},
        {"tiers": (Tier(1, PLAIN), Tier(1, PLAIN))},
    ],
    ids=str,
)
def test_an_impossible_price_cannot_be_made(change: dict[str, object]) -> None:
    """Limits are positive, fees not negative, tiers in order: checked for every way to make one."""
    with pytest.raises(PriceInvalid):
        price(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "q"},
        {"model": "n"},
        {"rates": replace(PLAIN, image_input_nusd_per_mtok=8)},
        {"max_input_tokens": 1001},
        {"max_output_tokens": 101},
        {"request_nusd": 1},
        {"tiers": (Tier(5, PLAIN),)},
        {"service_tier": "flex"},
        {"unpriced": frozenset({"x"})},
        {"cache_write_unasked": True},
    ],
    ids=str,
)
def test_another_content_has_another_version(change: dict[str, object]) -> None:
    """Each field is in the version, so that an event's version tells what was charged."""
    assert price(**change).version != price().version


def test_the_version_is_short_hexadecimal_and_pinned() -> None:
    """The digest of a fixed price never changes: events of last year name it."""
    assert len(price().version) == VERSION_CHARS
    assert int(price().version, 16) >= 0
    assert PRICES["demo/small"].version == "b32a442c62a9"


def test_the_version_is_the_same_in_another_process() -> None:
    """Sets have another order in each process; the version has not."""
    program = (
        "from pricing import price_from_model_info as f;"
        f"print(f('p', 'm', {INFO | LONG | {'file_search_cost_per_1k_calls': 1}!r} | "
        "{'search_context_cost_per_query': 0.01, 'output_cost_per_image': 0.1}).version)"
    )
    versions = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(versions) == 1


@settings(deadline=None)
@given(keys=st.permutations([*INFO, *LONG]))
def test_the_version_does_not_depend_on_the_order_of_keys(keys: list[str]) -> None:
    """The same file with its lines in another order is the same price with the same version."""
    info = INFO | LONG
    shuffled = parse({key: info[key] for key in keys})
    assert shuffled == parse(info)
    assert shuffled.version == parse(info).version
