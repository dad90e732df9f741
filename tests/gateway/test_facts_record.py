"""What an event keeps of what decides a price: all of it comes back, or that it was left out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.contract import Usage
from gateway.events import provider_name
from gateway.facts_record import (
    DETAIL_CHARS_MAX,
    FactsLeftOut,
    facts_detail,
    facts_of,
    tier_served,
)
from pricing import STANDARD, Facts, Meters, SubUse

NOON_MS = 1_795_000_000_000
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
COUNT = st.integers(1, 10**9)
METERS = st.builds(Meters, text_input=COUNT, text_output=COUNT, characters=COUNT)
FACTS = st.builds(
    Facts,
    service_tier=NAMES,
    batch=st.booleans(),
    region=st.just("") | NAMES,
    fast=st.booleans(),
    at_ms=st.just(NOON_MS),
    cached_audio=st.integers(0, 10**9),
    tools=st.lists(st.tuples(NAMES, COUNT), max_size=4).map(tuple),
    sub_uses=st.lists(st.builds(SubUse, NAMES, METERS), max_size=3).map(tuple),
)


@given(FACTS)
def test_facts_come_back(facts: Facts) -> None:
    """From the tier's column, the detail and the request's time; the text fits its column."""
    detail = facts_detail(facts, bool)
    assert len(detail) <= DETAIL_CHARS_MAX
    assert facts_of(detail, facts.service_tier, NOON_MS) == facts


def test_most_events_have_no_detail() -> None:
    """A tier has its column, and a cost its own."""
    for facts in (STANDARD, Facts(service_tier="flex", reported_cost_nusd=7, at_ms=1)):
        assert facts_detail(facts, bool) == ""


@given(FACTS)
def test_no_word_is_kept_where_none_may_be(facts: Facts) -> None:
    """What has not the form of a name is nowhere in the detail, and that is said."""
    detail = facts_detail(facts, provider_name)
    words = [facts.region, *(k for k, _ in facts.tools), *(each.model for each in facts.sub_uses)]
    if all(provider_name(each) == each for each in words):
        assert detail == facts_detail(facts, bool)
        return
    assert detail == '{"facts":{"left_out":true}}'
    with pytest.raises(FactsLeftOut, match="left out"):
        facts_of(detail, "flex", NOON_MS)


def test_what_is_too_long_is_left_out() -> None:
    """A provider can name ten thousand models; an event that is too long would be none at all."""
    many = tuple(SubUse(f"model-{n}", Meters(text_input=1)) for n in range(10_000))
    with pytest.raises(FactsLeftOut):
        facts_of(facts_detail(Facts(sub_uses=many), bool), "default", NOON_MS)


@pytest.mark.parametrize(
    "detail",
    [
        "nonsense",
        "[]",
        "{}",
        '{"facts":{"fast":1}}',
        '{"facts":{"sub_uses":[["m",{"no_meter":1}]]}}',
        '{"facts":{"sub_uses":[["m",{"text_input":-1}]]}}',
    ],
)
def test_a_detail_of_somebody_else_is_no_facts(detail: str) -> None:
    """It is told, not guessed at."""
    with pytest.raises(FactsLeftOut):
        facts_of(detail, "default", NOON_MS)


def test_a_tier_tells_that_usage_was_there() -> None:
    """`default` where the answer names none, nothing where it says nothing of its usage."""
    meters = Meters(text_input=1)
    assert tier_served(Usage(None, facts=Facts(service_tier="flex"))) == ""
    assert tier_served(Usage(meters)) == "default"
    assert tier_served(Usage(meters, facts=Facts(service_tier="flex"))) == "flex"
    assert msgspec.structs.replace(Usage(meters)).facts is STANDARD
