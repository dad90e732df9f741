"""A route's prices: the same money as `pricing.cost` says, whatever is remembered on the way."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NotPriced
from gateway.route_prices import KEPT_MAX, Charge, RoutePrices
from pricing import (
    DEMO_PRICES,
    STANDARD,
    Facts,
    Meters,
    Price,
    PriceInvalid,
    PriceSheet,
    SubUse,
    cost,
    cost_nusd,
    quote,
)
from tests.gateway.served import INFO, sheet
from tests.pricing.vectors import Row, rows, used
from tests.pricing.vectors import sheet as sheet_of

TOKENS = Meters(text_input=1_000, text_output=100)
EUROPE = {"regional_processing_uplift_multiplier_eu": 1.1}
ROWS = dict(rows())
COUNT = st.integers(0, 10**6)
NAMED = ("text_input", "cached_input", "cache_write_5m", "text_output", "reasoning_output")
METERS = st.builds(Meters, **dict.fromkeys(NAMED, COUNT))


def prices(changes: Mapping[str, object] | None = None, default_tier: str = "") -> RoutePrices:
    made = sheet(changes)
    return RoutePrices(made.price(), made, default_tier)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_row_is_charged_as_it_was_worked_out_by_hand(row: Row) -> None:
    """Each of them, twice: by a price that is made, and by one that is remembered. The time of a
    request is no fact of an answer: rows that depend on it cost the dearer hours here; parts that
    another model has used have no price."""
    whole, read = sheet_of(row), used(row)
    facts = replace(read.facts, at_ms=None)
    known = RoutePrices(whole.price(), whole)
    if any(each.model != row["model"] for each in facts.sub_uses):
        assert known.charge(read.meters, facts).nusd is None
        return
    wanted = row["cost_nusd"] if "at" not in row else cost(whole, read.meters, facts)
    for _ in range(2):
        assert known.charge(read.meters, facts).nusd == wanted


@given(METERS)
def test_a_standard_answer_costs_what_the_standard_price_says(meters: Meters) -> None:
    """Whatever name the standard tier is given, and its version is the quote's."""
    known, standard = prices(), sheet().price()
    for facts in (STANDARD, *(Facts(service_tier=each) for each in ("default", "auto", "scale"))):
        assert known.charge(meters, facts) == Charge(cost_nusd(standard, meters), standard.version)


def test_a_model_of_one_price_has_no_other() -> None:
    """The demo's: without a sheet there is the standard tier alone."""
    for standard in DEMO_PRICES.values():
        known = RoutePrices(standard)
        assert known.quoted("") is known.quoted("auto") is standard
        assert known.charge(TOKENS, STANDARD).nusd == cost_nusd(standard, TOKENS)
        assert known.charge(TOKENS, Facts(service_tier="default")).price_version == standard.version
        assert known.charge(TOKENS, Facts(service_tier="priority")).nusd is None
        with pytest.raises(NotPriced, match="use auto or default or standard"):
            known.quoted("priority")


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that names a region of its own each time costs no memory, and is charged all the
    same; tiers that nobody has are not kept at all."""
    made: list[Facts] = []
    plain = PriceSheet.price

    def price(self: PriceSheet, facts: Facts = STANDARD) -> Price:
        made.append(facts)
        return plain(self, facts)

    known = prices(EUROPE)
    monkeypatch.setattr(PriceSheet, "price", price)
    for _ in range(3):
        for tier in ("priority", "flex", "default"):
            assert known.charge(TOKENS, Facts(service_tier=tier)).nusd is not None
    assert len(made) == 2
    for n in range(3 * KEPT_MAX):
        assert known.charge(TOKENS, Facts(region=f"r{n}")).nusd == 1_320_000
        assert known.charge(TOKENS, Facts(service_tier=f"t{n}")).nusd is None
    assert len(known._served) == KEPT_MAX
    with pytest.raises(NotPriced):
        known.quoted("t1")
    assert not known._quoted


@given(METERS, st.none() | st.integers(0, 10**12), st.sampled_from(["", "flex", "nobody's"]))
def test_what_the_provider_bills_wins(meters: Meters, reported: int | None, tier: str) -> None:
    """Over any price, and where there is none; both are told."""
    facts = Facts(service_tier=tier, reported_cost_nusd=reported)
    charge = prices().charge(meters, facts)
    computed = None
    if tier != "nobody's":
        computed = cost(sheet(), meters, Facts(service_tier=tier))
    assert charge.nusd == (computed if reported is None else reported)
    assert charge.reported_nusd == reported
    assert charge.computed_nusd == (None if reported is None else computed)
    assert bool(charge.why) == (charge.nusd is None)


def test_parts_that_other_models_used_have_their_own_prices() -> None:
    """The route's own model is one; another's price is not known to a route. Parts that are more
    than their whole are refused, not charged."""
    part = Meters(text_input=10)
    own, other = (SubUse(model, part) for model in ("upstream-model", "an-adviser"))
    known = prices()
    whole = cost_nusd(sheet().price(), TOKENS)
    assert known.charge(TOKENS, Facts(sub_uses=(own,))).nusd == whole
    assert "an-adviser" in known.charge(TOKENS, Facts(sub_uses=(other,))).why
    assert known.charge(Meters(), Facts(sub_uses=(own,))).nusd is None


@given(
    meters=METERS,
    asked=st.sampled_from(["", "auto", "default", "flex", "priority"]),
    account=st.sampled_from(["", "flex", "priority"]),
    flex=st.fixed_dictionaries(
        {f"{key}_flex": st.integers(1, 9).map(lambda n: n * 1e-6) for key in list(INFO)[:2]}
    ),
)
def test_whatever_may_serve_it_is_below_the_quote(
    meters: Meters, asked: str, account: str, flex: Mapping[str, object]
) -> None:
    """The tier that was asked for, the account's default, the standard one."""
    limits = {"max_input_tokens": 10**8, "max_output_tokens": 10**8}
    known = prices({**flex, **limits}, account)
    quoted = quote(
        known.quoted(asked),
        meters.input_tokens,
        output_tokens_wanted=meters.output_tokens,
        output_tokens_least=0,
        n=1,
        cache_write="5m",
    )
    for tier in {asked, account, "default"}:
        charge = known.charge(meters, Facts(service_tier=tier))
        assert charge.nusd is not None
        assert charge.nusd <= quoted.ceiling_nusd(meters.output_tokens)
    assert known.quoted(asked) is known.quoted(asked)


def test_an_account_s_tier_must_have_a_price() -> None:
    """It is checked where it is declared; a route that has one without refuses its requests."""
    with pytest.raises((NotPriced, PriceInvalid)):
        prices(default_tier="ultrafast").quoted("")
