"""Both sides by day and model, and every nano-dollar of the difference in a part with a name."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.exports import Export, Line
from comptroller.reconciliation import (
    ONLY_EXPORT,
    ONLY_RECORDED,
    OPEN,
    REST,
    ROUNDING,
    UNTOLD,
    Named,
    Reconciled,
    Recorded,
    StillOpen,
    model_key,
    reconciled,
)

DAY = "2026-09-28"
MODELS = ("gpt-5", "gpt-5-mini", "o9")


def cost(model: str, usd: str, rounding: str = "0") -> Line:
    """A line of a cost export."""
    return Line(DAY, model, amount_usd=Decimal(usd), rounding_usd=Decimal(rounding))


def recorded(model: str, nusd: int, **changes: Any) -> Recorded:
    """One request, told."""
    plain = {
        "told_requests": 1,
        "untold_requests": 0,
        "input_tokens": 10,
        "output_tokens": 5,
        "untold_nusd": 0,
    }
    return Recorded(DAY, model, charged_nusd=nusd, **{**plain, **changes})


def export_of(*lines: Line) -> Export:
    """Of one day."""
    return Export(lines, DAY, "2026-09-29")


def parts(found: Reconciled) -> dict[str, Named]:
    """By name."""
    return {each.name: each for each in found.residual}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-20241022"),
        ("anthropic/claude-opus-5", "claude-opus-5"),
        ("GPT-5.4", "gpt-5-4"),
    ],
)
def test_names_that_mean_the_same_model_meet(one: str, other: str) -> None:
    """Without the day of a snapshot, and as people write them."""
    assert model_key(one) == model_key(other)


def test_names_of_different_models_do_not() -> None:
    """A beginning is not enough."""
    assert len({model_key(each) for each in ("gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-4o-0613")}) == 4


AMOUNTS = st.integers(0, 10**12)
SIDES = st.dictionaries(st.sampled_from(MODELS), AMOUNTS)


@given(billed=SIDES, charged=SIDES)
def test_the_parts_add_up_to_the_difference(
    billed: dict[str, int], charged: dict[str, int]
) -> None:
    """To the nano-dollar: what only one side has, and what is left of what both have."""
    lines = [cost(model, f"{Decimal(nusd).scaleb(-9):f}") for model, nusd in billed.items()]
    found = reconciled(export_of(*lines), [recorded(*each) for each in charged.items()], [])
    named = parts(found)
    if not billed:
        return
    total = sum(row.difference_nusd for row in found.rows)
    assert total == sum(billed.values()) - sum(charged.values())
    exact = (ONLY_EXPORT, ONLY_RECORDED, REST)
    assert total == sum(named[each].least_nusd or 0 for each in exact if each in named)


def test_what_only_one_side_has_is_named_and_never_explained() -> None:
    """A model that nobody recorded is one that was asked without the gateway."""
    found = reconciled(export_of(cost("gpt-5", "1")), [recorded("o9", 5)], [])
    named = parts(found)
    assert named[ONLY_EXPORT].models == ("gpt-5",)
    assert named[ONLY_EXPORT].least_nusd == named[ONLY_EXPORT].most_nusd == 10**9
    assert (named[ONLY_RECORDED].models, named[ONLY_RECORDED].least_nusd) == (("o9",), -5)
    assert not found.explained


def test_requests_without_usage_bound_what_they_cost() -> None:
    """They are charged at most too much: the provider billed between nothing and all of it."""
    rows = [recorded("gpt-5", 2 * 10**9, untold_requests=3, untold_nusd=10**9)]
    found = reconciled(export_of(cost("gpt-5", "1.2")), rows, [])
    assert parts(found)[UNTOLD] == Named(UNTOLD, 3, ("gpt-5",), -(10**9), 0)
    assert found.explained
    assert not reconciled(export_of(cost("gpt-5", "0.9")), rows, []).explained
    assert not reconciled(export_of(cost("gpt-5", "2.1")), rows, []).explained


def test_open_requests_bound_what_the_provider_may_have_billed_already() -> None:
    """At most what is reserved for them."""
    still_open = [StillOpen(DAY, "gpt-5", 2, 10**8)]
    rows = [recorded("gpt-5", 10**9)]
    found = reconciled(export_of(cost("gpt-5", "1.1")), rows, still_open)
    assert parts(found)[OPEN] == Named(OPEN, 2, ("gpt-5",), 0, 10**8)
    assert found.explained
    assert not reconciled(export_of(cost("gpt-5", "1.2")), rows, still_open).explained


def test_an_export_in_cents_agrees_up_to_half_a_cent_a_line() -> None:
    """And no further."""
    lines = [cost("Claude Haiku 4.5", "0.05", "0.005")] * 2
    rows = [recorded("claude-haiku-4-5-20251001", 109_000_000)]
    found = reconciled(export_of(*lines), rows, [])
    assert (parts(found)[ROUNDING].most_nusd or 0) in range(10_000_000, 10_000_010)
    assert found.explained
    rows = [recorded("claude-haiku-4-5-20251001", 111_000_000)]
    assert not reconciled(export_of(*lines), rows, []).explained


def test_a_usage_export_is_compared_in_requests_and_tokens() -> None:
    """It has no amounts: none are made up. A request more is no agreement."""
    line = Line(DAY, "gpt-5", requests=1, input_tokens=10, output_tokens=5)
    found = reconciled(export_of(line), [recorded("gpt-5-2025-08-07", 7)], [])
    assert (found.has_amounts, found.has_requests, found.has_tokens) == (False, True, True)
    assert found.explained
    assert found.residual == ()
    more = reconciled(export_of(line, line), [recorded("gpt-5", 7)], [])
    assert not more.explained
