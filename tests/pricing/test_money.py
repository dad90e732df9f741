"""Dollars are printed exactly, with two decimals at least, and never through a float."""

from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from pricing import dollars

NUSD_PER_USD = 10**9


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (10_000_000, "0.01"),
        (100_000_000, "0.10"),
        (12_000_500, "0.0120005"),
        (NUSD_PER_USD, "1.00"),
        (-1_500_000_000, "-1.50"),
        (8 * 10**15 + 1, "8000000.000000001"),
    ],
)
def test_amounts_are_written_as_people_read_them(nusd: int, text: str) -> None:
    """Two decimals, and as many more as it takes."""
    assert dollars(nusd) == text


@given(st.integers(-(10**30), 10**30))
@example(2**53 + 1)
def test_nothing_is_lost(nusd: int) -> None:
    """The text is the amount, to the nano-dollar, with no zero at its end beyond cents."""
    text = dollars(nusd)
    digits = text.lstrip("-")
    whole, _, decimals = digits.partition(".")
    assert int(whole + decimals.ljust(9, "0")) * (-1 if text[0] == "-" else 1) == nusd
    assert Decimal(text).as_tuple().exponent in range(-9, -1)
    assert len(decimals) == 2 or decimals[-1] != "0"
