"""docs/quotes.md: what its tables say is what the code does."""

import re
from pathlib import Path

import pytest

from gateway.counting import WAITING_MAX
from pricing import bound
from pricing.counting import COUNTED_BYTES_MAX, family_of
from pricing.images import Image, Size
from pricing.vision import images_tokens_max

TEXT = (Path(__file__).parent.parent.parent / "docs" / "quotes.md").read_text(encoding="utf-8")


def rows(columns: int) -> list[list[str]]:
    """The rows of the tables that have so many columns and begin with a model."""
    lines = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines if len(line) == columns]


def test_the_tables_are_there() -> None:
    """A doc that was rewritten past these tests would be tested by nothing."""
    assert (len(rows(3)), len(rows(4))) == (3, 16)


@pytest.mark.parametrize("row", rows(3), ids=lambda row: str(row[1]))
def test_the_families_that_are_counted(row: list[str]) -> None:
    """Every model of a row has its tokenizer and its framing."""
    models = re.findall(r"`([^`]+)`", row[0])
    assert models
    for model in models:
        family = family_of("openai", model)
        assert family is not None, model
        assert (f"`{family.encoding}`", str(family.framing_tokens)) == (row[1], row[2])


@pytest.mark.parametrize("row", rows(4), ids=lambda row: " ".join(row[:3]))
def test_the_tokens_of_pictures(row: list[str]) -> None:
    """To the token."""
    model, picture, detail, tokens = row
    sides = re.fullmatch(r"([0-9]+) x ([0-9]+)", picture)
    size = Size(int(sides[1]), int(sides[2])) if sides else None
    found = images_tokens_max("openai", model.strip("`"), [Image(size, detail)])
    assert tokens == ("the context window" if found is None else str(found))


def test_the_overheads_and_limits() -> None:
    """The numbers in the prose are the constants."""
    around = (
        f"{bound.REQUEST_OVERHEAD_TOKENS} tokens a request, {bound.MESSAGE_OVERHEAD_TOKENS} a "
        f"message, {bound.TEXT_OVERHEAD_TOKENS} a text, {bound.TOOL_OVERHEAD_TOKENS} a tool, "
        f"{bound.IMAGE_OVERHEAD_TOKENS} a picture"
    )
    assert around in TEXT
    assert f"more than {COUNTED_BYTES_MAX // 2**20} MiB" in TEXT
    assert f"while {WAITING_MAX} are being counted" in TEXT
