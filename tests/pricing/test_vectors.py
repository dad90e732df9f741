"""Every hand-worked row: the provider's usage becomes these meters, and they cost this much."""

import pytest

from pricing import cost
from tests.pricing.vectors import Row, meters, others, rows, sheet, unread, used

ROWS = dict(rows())
ROWS_LEAST = 242

each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


def test_there_are_as_many_rows_as_were_worked_out() -> None:
    """No file of vectors can go missing without a failing test."""
    assert len(ROWS) >= ROWS_LEAST


@each_row
def test_a_usage_object_becomes_the_meters_that_were_counted_by_hand(row: Row) -> None:
    """Each counter of each provider ends in exactly one meter, in the one that the row says."""
    assert used(row).meters == meters(row)


@each_row
def test_the_api_is_recognised(row: Row) -> None:
    """Whoever does not say which API an object is from gets the same meters and facts."""
    assert used(row, api=None) == used(row)


@each_row
def test_a_row_costs_what_was_worked_out_by_hand(row: Row) -> None:
    """To the nano-dollar, at the row's own prices, everything else in the sheet being absurd."""
    assert not unread(row)
    read = used(row)
    assert cost(sheet(row), read.meters, read.facts, others=others(row)) == row["cost_nusd"]
