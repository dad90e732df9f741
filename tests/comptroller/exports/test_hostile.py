"""Somebody else's file: whatever is in it, the answer is an export or an error with its place, in
bounded time and memory."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.exports import ExportInvalid, read, reading
from tests.comptroller.exports.test_formats import (
    ANTHROPIC_COST_CSV,
    ANTHROPIC_USAGE_CSV,
    OPENAI_CSV,
    OPENAI_USAGE_CSV,
    anthropic_page,
    exported,
    openai_cost,
    openai_page,
)


def openai_row(**changes: str) -> str:
    """The cost export with another value in its last line."""
    head, last = OPENAI_CSV.splitlines()[0].split(","), OPENAI_CSV.splitlines()[2]
    values = last.replace('"gpt-5-nano-2025-08-07, input"', "gpt").split(",")
    row = {**dict(zip(head, values, strict=True)), **changes}
    return "\n".join((*OPENAI_CSV.splitlines()[:2], ",".join(row.values())))


WRONG = {
    "an empty file": ("openai", "", "no day"),
    "only a header": ("openai", OPENAI_CSV.splitlines()[0], "no day"),
    "another table": ("openai", "a,b\n1,2\n", "line 1: no export that is known"),
    "another provider's": ("anthropic", OPENAI_CSV, "line 1: no export that is known"),
    "a column twice": ("openai", "start_time,start_time\n1,2\n", "line 1: a column"),
    "a short row": ("openai", OPENAI_CSV + "1,2\n", "line 4: 2 fields"),
    "an open quote": ("openai", OPENAI_CSV + '1,"2\n', "line 4"),
    "a NUL": ("openai", OPENAI_CSV + "\0", "line 4: it holds a NUL"),
    "no amount": ("openai", openai_row(amount_value="free"), "line 3: amount_value"),
    "not a number": ("openai", openai_row(amount_value="NaN"), "line 3: amount_value"),
    "infinity": ("openai", openai_row(amount_value="Infinity"), "line 3: amount_value"),
    "a huge exponent": ("openai", openai_row(amount_value="1e99"), "line 3: amount_value"),
    "too many digits": ("openai", openai_row(amount_value="0." + "1" * 99), "line 3"),
    "a billion more": ("openai", openai_row(amount_value="1000000001"), "line 3"),
    "another currency": ("openai", openai_row(amount_currency="eur"), "line 3: amounts are in eur"),
    "no item": ("openai", openai_row(line_item=""), "line 3 has no line_item"),
    "no time": ("openai", openai_row(start_time="soon"), "line 3: start_time is a time"),
    "a time beyond all": ("openai", openai_row(start_time="9" * 30), "line 3: start_time"),
    "the last of all days": ("openai", openai_row(start_time="9999-12-31"), "line 3: start_time"),
    "the first of all days": ("openai", openai_row(end_time="0001-01-01"), "line 3: end_time"),
    "the end of time": ("anthropic", ANTHROPIC_COST_CSV.replace("2026", "9999"), "line 2: usage_d"),
    "a week": ("anthropic", ANTHROPIC_COST_CSV.replace("2026-09-28", "2026-W40-1"), "a day, as in"),
    "two days": ("openai", openai_row(end_time="1790726400"), "line 3: start_time to end_time"),
    "backwards": ("openai", openai_row(end_time="1790553600"), "line 3: start_time to end_time"),
    "half a token": ("openai", OPENAI_USAGE_CSV.replace("7162.0", "7162.5"), "line 2: input_tok"),
    "less than none": ("openai", OPENAI_USAGE_CSV.replace("7162.0", "-1"), "line 2: input_tokens"),
    "a day that is none": (
        "anthropic",
        ANTHROPIC_COST_CSV.replace("09-28", "09-31"),
        "line 2: usage_date_utc",
    ),
    "no model": (
        "anthropic",
        ANTHROPIC_USAGE_CSV.replace("claude-haiku-4-5-20251001", ""),
        "line 2 has no model_version",
    ),
    "half of JSON": ("openai", openai_page(openai_cost(1))[:-9], "line 1, column"),
    "a comma too many": ("openai", '{"data": [],\n\n}', "line 3, column 1"),
    "no page": ("openai", "[1]", "page 1 is no object"),
    "no data": ("openai", '{"object": "page"}', "page 1: data is a list"),
    "a field twice": ("openai", '{"data": [], "data": []}', "a field is there twice"),
    "NaN in JSON": ("openai", openai_page(openai_cost(float("nan"))), "NaN is not JSON"),
    "a list for an amount": ("openai", openai_page(openai_cost([])), "results[0].amount: value"),
    "true for an amount": ("openai", openai_page(openai_cost(True)), "results[0].amount: value"),
    "no line_item": ("openai", openai_page(openai_cost(1, None)), "no line_item: group"),
    "a number for an item": ("openai", openai_page(openai_cost(1, 5)), "line_item is a text"),
    "a usage of images": ("openai", openai_page({"images": 5}), "results[0] is neither"),
    "no model of a usage": (
        "openai",
        openai_page({"num_model_requests": 1, "model": None}),
        "no model: group",
    ),
    "nobody's cents": (
        "anthropic",
        anthropic_page({"currency": "USD", "amount": "1"}),
        "no model: group the report by description",
    ),
    "depth": ("openai", '{"data": ' + "[" * 100_000, "from line 1 on"),
    "a number of many digits": ("openai", '{"data": ' + "9" * 5_000 + "}", "from line 1 on"),
}


@pytest.mark.parametrize(("provider", "content", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_an_error_with_its_place(
    tmp_path: Path, provider: str, content: str, said: str
) -> None:
    """The line of a CSV, line and column of JSON, or the path in it."""
    with pytest.raises(ExportInvalid) as caught:
        exported(tmp_path, provider, content)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    """As a spreadsheet or an archive would be."""
    file = tmp_path / "export"
    file.write_bytes(b"start_time,end_time\n\xff\xfe")
    with pytest.raises(ExportInvalid, match="line 2: it is not UTF-8"):
        read("openai", file)


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, before anything is read into rows; in lines; and in a field."""
    monkeypatch.setattr(reading, "FILE_BYTES_MAX", 1_000)
    with pytest.raises(ExportInvalid, match="larger than 1000 bytes"):
        exported(tmp_path, "openai", OPENAI_CSV + "x" * 1_000)
    monkeypatch.undo()
    monkeypatch.setattr(reading, "LINES_MAX", 2)
    with pytest.raises(ExportInvalid, match="line 3: more than 2 lines"):
        exported(tmp_path, "openai", OPENAI_CSV)
    with pytest.raises(ExportInvalid, match="more than 2 results"):
        exported(tmp_path, "openai", openai_page(*[openai_cost(1)] * 3))
    monkeypatch.undo()
    with pytest.raises(ExportInvalid, match="line 3: field larger than"):
        exported(tmp_path, "openai", openai_row(line_item="x" * 70_000))


@given(
    st.sampled_from(
        [OPENAI_CSV, OPENAI_USAGE_CSV, openai_page(openai_cost(1)), ANTHROPIC_COST_CSV]
    ),
    st.integers(0, 400),
    st.text(max_size=8),
    st.sampled_from(["openai", "anthropic"]),
)
def test_damage_anywhere_is_an_export_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str, at: int, put: str, provider: str
) -> None:
    """Whatever stands in place of a few characters."""
    damaged = (content[:at] + put + content[at + len(put) :]).encode("utf-8", "surrogatepass")
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(damaged)
    with contextlib.suppress(ExportInvalid):
        found = read(provider, file)
        assert found.from_day < found.until_day
