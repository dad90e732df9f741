"""Tables on terminals of every width: nothing is cut off, numbers and ids stay in one piece."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from comptroller.commands.output import Column, field
from comptroller.commands.tables import Fitted

words = st.text("abcdefghij/", min_size=1, max_size=60)
amounts = st.integers(0, 10**15).map(str)
rows = st.lists(
    st.fixed_dictionaries(
        {"scope": words, "model": words, "free": amounts, "bar": st.just("=" * 9)}
    ),
    min_size=1,
    max_size=5,
)
COLUMNS = (
    field("scope"),
    field("model"),
    field("free", is_number=True),
    Column("bar", lambda row: str(row["bar"]), is_id=True, spare=1),
    Column("state", lambda row: str(row.get("state", "open")), untold=("open",)),
)


def drawn(table: Fitted, width: int) -> str:
    """What a terminal of this width shows."""
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=False).print(table)
    return output.getvalue()


@given(rows, st.integers(24, 120))
def test_nothing_is_cut_off(found: list[dict[str, str]], width: int) -> None:
    """Every number stands somewhere in one piece, every letter of a text somewhere, no line is
    wider than the terminal and none ends in dots."""
    text = drawn(Fitted(found, COLUMNS), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "\u2026" not in text
    assert "state" not in text
    for row in found:
        assert row["free"] in text
    for letter in "abcdefghij/":
        expected = sum((row["scope"] + row["model"]).count(letter) for row in found)
        assert text.count(letter) >= expected


def test_what_can_be_spared_goes_first_and_comes_back() -> None:
    """A bar needs room that amounts do not leave it; where there is room, it is there."""
    row = {"scope": "acme/research", "model": "m", "free": "123456789", "bar": "=" * 9}
    assert "=" not in drawn(Fitted([row], COLUMNS), 40)
    wide = drawn(Fitted([row], COLUMNS), 80)
    assert "=" * 9 in wide
    assert "acme/research" in wide


def test_a_state_that_is_not_the_usual_one_is_told() -> None:
    """In its column, which is there for all rows then."""
    row = {"scope": "acme", "model": "m", "free": "1", "bar": ""}
    text = drawn(Fitted([row, {**row, "state": "frozen"}], COLUMNS), 80)
    assert "state" in text
    assert (text.count("open"), text.count("frozen")) == (1, 1)


def test_where_nothing_fits_each_row_is_a_block() -> None:
    """Of a line for each field that says something."""
    row = {"scope": "acme", "model": "", "free": "123456789012", "bar": ""}
    text = drawn(Fitted([row], (*COLUMNS[:2], *(field(f"n{n}") for n in range(9)), COLUMNS[2])), 20)
    assert text.splitlines()[-4:] != []
    assert "scope  acme" in text
    assert "free   123456789012" in text
