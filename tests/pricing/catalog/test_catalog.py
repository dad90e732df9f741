"""The catalogue as callers see it: names, moments, two opinions or one."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import PriceInvalid
from pricing.catalog import Catalog, ModelUnknown
from pricing.catalog.merging import DEARER
from pricing.catalog.names import candidates
from pricing.catalog.overlay import Overlay
from pricing.catalog.providers import PROVIDERS
from pricing.catalog.source import Listed
from pricing.model_info import read_model_info
from tests.pricing.catalog.reading import at_ms, differences, vectors

CATALOG = Catalog.load()
ALONE = replace(CATALOG, second=None)
NOTHING = Overlay((), {})


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = ms("2026-11-28T12:00:00")


@dataclass(frozen=True)
class Said:
    """A list that says one thing of each name."""

    name: str
    models: dict[str, Listed]
    version: str = "1"

    def find(self, lists: Sequence[str], names: Iterable[str], at_ms: int) -> Listed | None:  # noqa: ARG002
        return next((self.models[name] for name in names if name in self.models), None)

    def names(self, lists: Sequence[str]) -> Iterator[str]:  # noqa: ARG002
        yield from self.models


def said(name: str, info: dict[str, object], **more: Any) -> Said:
    return Said(name, {"m": Listed("m", info, **more)})


def test_both_lists_are_installed_where_tests_run() -> None:
    """Else the comparison would be tested with nothing to compare."""
    assert CATALOG.second is not None


@pytest.mark.parametrize(
    ("spelt", "provider"),
    [("gemini", "google"), ("aws", "bedrock"), ("x-ai", "xai"), ("Mistralai", "mistral")],
)
def test_a_provider_is_found_under_each_of_its_names(spelt: str, provider: str) -> None:
    """And the entry has the canonical one, by which usage is read."""
    model = {"google": "gemini-2.5-pro", "bedrock": "amazon.nova-pro-v1:0", "xai": "grok-4.3"}
    entry = CATALOG.find(spelt, model.get(provider, "mistral-large-2512"), NOW)
    assert entry.provider == provider


def test_an_unknown_model_says_what_there_is() -> None:
    """The nearest names, and what to write instead."""
    with pytest.raises(ModelUnknown, match=r"the nearest: gpt-5-mini.*base_model") as caught:
        CATALOG.find("openai", "gpt-5-minni", NOW)
    assert caught.value.nearest[0] == "gpt-5-mini"


@given(st.text(max_size=40), st.text(max_size=300), st.integers(0, 4 * 10**12))
@settings(max_examples=40, deadline=None)
def test_whatever_is_asked_is_answered_or_refused(provider: str, model: str, at: int) -> None:
    """No name and no moment is a fault of ours."""
    with contextlib.suppress(ModelUnknown):
        ALONE.find(provider, model, at)


@pytest.mark.parametrize("provider", ["hosted_vllm", "custom_openai", "", "../x"])
def test_nobody_lists_your_own_server(provider: str) -> None:
    """A local model that has a famous name is not billed by its maker."""
    with pytest.raises(ModelUnknown, match="give model_info"):
        CATALOG.find(provider, "gpt-5-mini", NOW)


def test_prices_change_on_their_day_and_the_change_is_announced() -> None:
    """Introductory prices end; whoever keeps a price over that day gets the dearer one."""
    entry = CATALOG.find("google", "gemini-3.8-flash", NOW)
    assert entry.info["input_cost_per_token"] == "0.00000075"
    assert entry.changes_ms == (ms("2027-01-01"),)
    later = CATALOG.find("google", "gemini-3.8-flash", ms("2027-01-01"))
    assert later.info["input_cost_per_token"] == "0.0000015"
    kept = CATALOG.find_dearest("google", "gemini-3.8-flash", NOW, ms("2027-01-01"))
    assert kept.info["input_cost_per_token"] == "0.0000015"
    assert "2027-01-01" in kept.notes[-1]
    before = CATALOG.find_dearest("google", "gemini-3.8-flash", NOW, ms("2026-12-31"))
    assert before.info == entry.info


def test_a_list_without_dates_does_not_speak_of_another_time() -> None:
    """LiteLLM's map has today's price: it is no second opinion on one that has changed since, but
    its limits are."""
    first = said("a", {"input_cost_per_token": "1"}, changes=(date(2026, 6, 1),))
    second = said("b", {"input_cost_per_token": "9", "max_input_tokens": 5})
    catalog = Catalog(first, second, NOTHING)
    assert catalog.find("openai", "m", ms("2026-05-31")).info == {
        "input_cost_per_token": "1",
        "max_input_tokens": 5,
        "max_output_tokens": 5,
    }
    assert catalog.find("openai", "m", ms("2026-06-01")).info["input_cost_per_token"] == "9"
    dated = replace(catalog, overlay=Overlay((), {("b", "1"): "2026-05-01"}))
    assert dated.find("openai", "m", ms("2026-06-01")).info["input_cost_per_token"] == "1"
    assert dated.find("openai", "m", ms("2026-05-31")).info["input_cost_per_token"] == "9"


def test_the_dearer_opinion_counts_and_is_told() -> None:
    """With both values, and who said them."""
    catalog = Catalog(said("a", {"input_cost_per_token": "1"}),
                      said("b", {"input_cost_per_token": "2"}), NOTHING)  # fmt: skip
    entry = catalog.find("openai", "m", NOW)
    [each] = entry.disagreements
    assert (each.key, each.said, each.taken, each.because) == (
        "input_cost_per_token",
        (("a", "1"), ("b", "2")),
        "2",
        DEARER,
    )
    assert entry.opinions == 2
    assert entry.source == "a 1 (m); b 1 (m)"


@pytest.mark.parametrize(
    ("confirmed_on", "at", "stale"),
    [
        ("2025-11-28", "2026-11-28", False),
        ("2025-11-27", "2026-11-28", True),
        ("2026-11-29", "2025-01-01", False),
        ("", "2026-11-28", False),
    ],
)
def test_a_price_that_nobody_has_confirmed_for_a_year_says_so(
    confirmed_on: str, at: str, stale: bool
) -> None:
    """One without a date cannot be old; it says that it has none."""
    catalog = Catalog(said("a", {"x_cost": "1"}, confirmed_on=confirmed_on), None, NOTHING)
    entry = catalog.find("openai", "m", ms(at))
    assert (entry.confirmed_on, entry.is_stale) == (confirmed_on, stale)


def test_without_a_bound_of_the_output_the_context_window_is_one() -> None:
    """It is noted, and an embedding has no output to pay for."""
    info = {"input_cost_per_token": "1", "max_input_tokens": 8, "mode": "embedding"}
    entry = Catalog(said("a", info), None, NOTHING).find("openai", "m", NOW)
    assert entry.info["max_output_tokens"] == 8
    assert entry.info["output_cost_per_token"] == "0"
    assert "context window" in entry.notes[0]


def test_a_price_that_repeats_another_follows_it_in_every_tier() -> None:
    """Reasoning that costs what text costs would else be dearer than text in a cheaper tier."""
    info: dict[str, object] = {
        "output_cost_per_token": "2",
        "output_cost_per_token_flex": "1",
        "output_cost_per_reasoning_token": "2",
        "output_cost_per_audio_token": "3",
    }
    entry = Catalog(said("a", info), None, NOTHING).find("openai", "m", NOW)
    assert "output_cost_per_reasoning_token" not in entry.info
    assert entry.info["output_cost_per_audio_token"] == "3"


def test_a_bare_name_is_its_makers() -> None:
    """And a name with a provider is that provider's, whatever else has it."""
    assert CATALOG.search("gpt-5-mini", NOW).provider == "openai"
    assert CATALOG.search("azure/gpt-5-mini", NOW).provider == "azure"
    assert CATALOG.search("openai/gpt-oss-20b", NOW).provider in ("openai", "groq")
    with pytest.raises(ModelUnknown, match="openai/gpt-5-mini"):
        CATALOG.search("gpt-5-minni", NOW)


def test_one_list_alone_has_the_standard_prices_of_every_vector() -> None:
    """LiteLLM's map is a second opinion and may be absent: what a request costs that asks for
    nothing special does not depend on it."""
    standard = [row for row in vectors() if not row.keys() & {"region", "service_tier", "batch"}]
    unknown = set()
    for row in standard:
        try:
            entry = ALONE.find(row["provider"], row["model"], at_ms(row))
        except ModelUnknown:
            unknown.add(row["model"])
            continue
        if "us_inference_multiplier" not in row["prices"]:
            assert differences(row, entry.info) == [], row["name"]
    assert unknown == {"gemini-3.1-pro-preview-customtools"}
    assert len(standard) > 150


def test_no_rewriting_of_a_name_leads_to_a_lower_price() -> None:
    """Of each name that LiteLLM's map has itself: where the other list has it under another one
    only, that is not cheaper. (Europe, Azure and the government's regions would have been; of one
    old model Google's price in genai-prices is that of Anthropic, under any name.)"""
    second = CATALOG.second
    assert second is not None
    compared, lower = 0, set()
    for seller in PROVIDERS.values():
        for name in set(second.names(seller.litellm)):
            names = dict(candidates(seller, name))
            listed = second.find(seller.litellm, [name], NOW)
            alone = CATALOG.first.find(seller.genai, names, NOW)
            assert listed is not None
            if alone is not None and set(names[alone.under]) - {"provider prefix"}:
                compared += 1
                lower |= {name for key in _COSTS if _below(alone.info, listed.info, key)}
    assert compared > 100
    assert lower == {"claude-3-5-haiku@20241022", "vertex_ai/claude-3-5-haiku@20241022"}


_COSTS = ("input_cost_per_token", "output_cost_per_token")


def _below(one: Mapping[str, object], other: Mapping[str, object], key: str) -> bool:
    return key in one and key in other and Decimal(str(one[key])) < Decimal(str(other[key]))


def test_what_the_lists_have_is_understood() -> None:
    """Every model of the table's providers that the first list has is priced or refused with a
    reason: at least nineteen of twenty can be read, and no value is below zero."""
    read, refused = 0, []
    for entry in CATALOG.entries("", NOW):
        assert all(
            Decimal(str(value)) >= 0
            for key, value in entry.info.items()
            if key.endswith("_per_token")
        )
        try:
            read_model_info(entry.provider, entry.model, entry.info)
            read += 1
        except PriceInvalid as error:
            refused.append(str(error))
    assert read > 1000
    assert len(refused) < read / 20, refused[:5]
