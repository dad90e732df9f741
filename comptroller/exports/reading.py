"""A file of a provider's, within its bounds: JSON pages of its API, or the CSV of its console."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn

from comptroller.exports.contract import Dialect, Export, ExportInvalid, Line, Record, next_day

FILE_BYTES_MAX: Final = 64 * 2**20
LINES_MAX: Final = 1_000_000
FIELD_CHARS_MAX: Final = 64 * 1024
_MORE = "the export ends before its end (has_more): ask for the pages that follow, too"


def read_export(dialect: Dialect, file: Path) -> Export:
    """What a file says. Raises ExportInvalid, OSError."""
    with file.open("rb") as opened:
        content = opened.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ExportInvalid(
            f"it is larger than {FILE_BYTES_MAX} bytes: export fewer days, or by day and model"
        )
    text = _decoded(content)
    if text.lstrip().startswith(("{", "[")):
        return _from_json(dialect, text)
    return _from_csv(dialect, text)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ExportInvalid(f"line {line}: it is not UTF-8 text") from None


def _from_json(dialect: Dialect, text: str) -> Export:
    lines: list[Line] = []
    days: set[str] = set()
    more = False
    for page in _pages(text):
        more = page.fields.get("has_more") is True
        for bucket in page.parts("data"):
            day = bucket.day(dialect.start, dialect.end)
            days.add(day)
            lines += dialect.pages(bucket, day)
            if len(lines) > LINES_MAX:
                raise ExportInvalid(f"{bucket.place}: more than {LINES_MAX} results")
    return _export(lines, days, (_MORE,) if more else ())


def _pages(text: str) -> Iterator[Record]:
    """One page, a list of them, or one after the other as a loop of calls has written them."""
    decoder = json.JSONDecoder(
        parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_unique
    )
    at, number = _next(text, 0), 0
    while at < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise ExportInvalid(f"{place}: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise ExportInvalid(f"in the JSON from line {line} on: {error}") from None
        at = _next(text, at)
        for each in document if isinstance(document, list) else [document]:
            number += 1
            if not isinstance(each, dict):
                raise ExportInvalid(f"page {number} is no object with `data`")
            yield Record(f"page {number}", each)


def _next(text: str, at: int) -> int:
    """Where the next that is no space stands."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _from_csv(dialect: Dialect, text: str) -> Export:
    lines: list[Line] = []
    days: set[str] = set()
    for row in _rows(dialect, text):
        days.add(dialect.row_day(row))
        line = dialect.row(row)
        if line is not None:
            lines.append(line)
    return _export(lines, days, ())


def _rows(dialect: Dialect, text: str) -> Iterator[Record]:
    """Each row under its header, empty ones left out."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ExportInvalid(f"line {line}: it holds a NUL character: it is neither JSON nor CSV")
    csv.field_size_limit(FIELD_CHARS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for row in reader:
            if not header:
                header = _header(dialect, row)
            elif row:
                if len(row) != len(header):
                    raise ExportInvalid(
                        f"line {reader.line_num}: {len(row)} fields, and the header has "
                        f"{len(header)}"
                    )
                if reader.line_num > LINES_MAX:
                    raise ExportInvalid(f"line {reader.line_num}: more than {LINES_MAX} lines")
                yield Record(f"line {reader.line_num}", dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise ExportInvalid(f"line {reader.line_num}: {error}") from None


def _header(dialect: Dialect, row: list[str]) -> list[str]:
    names = [each.strip() for each in row]
    if len(set(names)) != len(names):
        raise ExportInvalid("line 1: a column is there twice")
    if not any(wanted <= set(names) for wanted in dialect.columns):
        known = "; or ".join(", ".join(sorted(each)) for each in dialect.columns)
        raise ExportInvalid(f"line 1: no export that is known; it has the columns {known}")
    return names


def _export(lines: list[Line], days: set[str], notes: tuple[str, ...]) -> Export:
    if not days:
        raise ExportInvalid("it speaks of no day: nothing to compare")
    return Export(tuple(lines), min(days), next_day(max(days)), notes)
