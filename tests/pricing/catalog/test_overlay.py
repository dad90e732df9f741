"""Our own rows decide, so each has a source, a day and a model that exists."""

import json
from datetime import date
from typing import Any

import pytest

from pricing.catalog.info import is_money
from pricing.catalog.merging import DEARER, Disagreement
from pricing.catalog.overlay import Row, decided, load_overlay, parse_overlay
from pricing.catalog.providers import PROVIDERS
from pricing.model_info import read_model_info

OVERLAY = load_overlay()


@pytest.mark.parametrize("row", OVERLAY.rows, ids=lambda row: f"{row.provider} {row.source[:40]}")
def test_each_row_can_be_checked_by_whoever_doubts_it(row: Row) -> None:
    """It names where it was read, when, and why the lists do not suffice; its provider is known,
    its names are as they are compared, and every key of it is a price that is understood."""
    assert row.source
    assert row.why
    assert date.fromisoformat(row.date) <= date(2100, 1, 1)
    assert row.provider in PROVIDERS
    assert all(name == name.casefold().strip() for name in row.models)
    assert not row.until_ms or row.from_ms < row.until_ms
    assert all(is_money(key) for key in row.info)
    read_model_info(row.provider, "x", {k: v for k, v in row.info.items() if v is not None})


def _document(**row: Any) -> bytes:
    whole = {"provider": "openai", "models": ["m"], "info": {}, "source": "s", "date": "2026-11-28"}
    return json.dumps({"editions": {}, "rows": [{**whole, **row}]}).encode()


@pytest.mark.parametrize("row", [{"date": "soon"}, {"from": "soon"}, {"date": None}])
def test_a_row_without_a_day_does_not_load(row: dict[str, Any]) -> None:
    """A mistake in the file is found when it is read, not when a price is wrong."""
    with pytest.raises(ValueError, match="isoformat"):
        parse_overlay(_document(**row))


def test_a_row_holds_from_its_moment_until_its_end() -> None:
    """To the second, in UTC, for the provider and the whole names that it lists."""
    [row] = parse_overlay(
        _document(**{"from": "2026-08-16T16:00:00+00:00", "until": "2026-08-17T00:00:00+00:00"})
    ).rows
    begun = 1_786_896_000_000
    names = frozenset({"m"})
    assert not row.holds("openai", names, begun - 1)
    assert row.holds("openai", names, begun)
    assert not row.holds("openai", names, begun + 8 * 3_600_000)
    assert not row.holds("azure", names, begun)
    assert not row.holds("openai", frozenset({"m-2"}), begun)


def _row(info: dict[str, object], *, whole: bool = False) -> Row:
    return Row("p", frozenset({"m"}), 0, 0, info, whole, "page", "2026-11-28", "because")


def test_a_row_decides_its_keys_and_says_what_it_overrules() -> None:
    """What lists disagreed on is told with what each said; other keys stay, null takes one away."""
    said = (
        Disagreement("input_cost_per_token", (("a", "1"), ("b", "2")), "2"),
        Disagreement("output_cost_per_token", (("a", "3"), ("b", "4")), "4"),
    )
    info = {"input_cost_per_token": "2", "output_cost_per_token": "4", "cost_per_second": "1"}
    row = _row({"input_cost_per_token": "1", "cost_per_second": None})
    result, left = decided(info, said, row)
    assert result == {"input_cost_per_token": "1", "output_cost_per_token": "4"}
    assert [(each.key, each.because) for each in left] == [
        ("output_cost_per_token", DEARER),
        ("input_cost_per_token", "because"),
        ("cost_per_second", "because"),
    ]
    assert left[1].said == (("a", "1"), ("b", "2"))


def test_a_whole_row_leaves_no_other_price_and_all_limits() -> None:
    """Prices of another time do not shine through; the context window is the same at any time."""
    info = {"input_cost_per_token": "2", "output_cost_per_token_flex": "4", "max_input_tokens": 9}
    result, _ = decided(info, (), _row({"input_cost_per_token": "1"}, whole=True))
    assert result == {"input_cost_per_token": "1", "max_input_tokens": 9}
