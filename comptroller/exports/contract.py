"""What every export comes to, whoever wrote it, and how its values are read.

An export is somebody else's file: whatever is in it that cannot be meant is an error with its
place, never a zero.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

COUNT_MAX: Final = 10**15
DOLLARS_MAX: Final = Decimal(10**9)
EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""No provider has billed anything before or after."""
NAME_CHARS_MAX: Final = 256
_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{0,60})?([eE]-?[0-9]{1,2})?", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,16}(\.0{1,9})?", re.ASCII)
_SHOWN_CHARS = 60


class ExportInvalid(ValueError):
    """An export that cannot be used; the message names the line or the place, and what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sum of one day (UTC, ISO) and model. `model`: the provider's name of it, or of what else it
    bills; None where the export does not say how many; `amount_usd` exact, negative for credits;
    `rounding_usd`: how far it can be from what was rounded for the export."""

    day: str
    model: str
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    amount_usd: Decimal | None = None
    rounding_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Export:
    """All lines; from the first day until the day behind the last that it speaks of (also where
    nothing was billed); and what is to be known of it."""

    lines: tuple[Line, ...]
    from_day: str
    until_day: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """An object of JSON or a row of CSV, and where it stands."""

    place: str
    fields: Mapping[str, Any]

    def count(self, name: str) -> int:
        """A whole number; an absent or empty one is 0. Raises ExportInvalid."""
        value = self.fields.get(name)
        if value is None or value == "":
            return 0
        text = str(value)
        if isinstance(value, bool) or not _COUNT.fullmatch(text) or Decimal(text) > COUNT_MAX:
            raise self.wrong(name, f"a whole number from 0 to {COUNT_MAX}")
        return int(Decimal(text))

    def dollars(self, name: str) -> Decimal:
        """An amount, exactly as it is written. Raises ExportInvalid."""
        value = self.fields.get(name)
        text = str(value)
        if (
            isinstance(value, bool)
            or not _AMOUNT.fullmatch(text)
            or abs(Decimal(text)) > DOLLARS_MAX
        ):
            raise self.wrong(name, f"an amount of at most {DOLLARS_MAX} dollars")
        return Decimal(text)

    def text(self, name: str) -> str:
        """Empty where it is absent or null. Raises ExportInvalid."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > NAME_CHARS_MAX:
            raise self.wrong(name, f"a text of at most {NAME_CHARS_MAX} characters")
        return value

    def moment(self, name: str) -> datetime:
        """Seconds since 1970, or ISO 8601 (UTC where it names no zone). Raises ExportInvalid."""
        found = _moment(self.fields.get(name))
        if found is None or not EARLIEST <= found < LATEST:
            raise self.wrong(name, "a time: seconds since 1970, or 2026-11-28T00:00:00Z")
        return found

    def day(self, start: str, end: str) -> str:
        """The day in which a bucket lies. Raises ExportInvalid for one that lies in several."""
        begun, ended = self.moment(start), self.moment(end)
        last = ended - timedelta(seconds=1)
        if not begun < ended or begun.date() != last.date():
            raise ExportInvalid(
                f"{self.place}: {start} to {end} is no day, or no part of one (UTC): export by day"
            )
        return begun.date().isoformat()

    def part(self, name: str) -> "Record":
        """The object in a field. Raises ExportInvalid."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Record(f"{self.place}.{name}", value)

    def parts(self, name: str) -> "Iterator[Record]":
        """The objects of a list in a field. Raises ExportInvalid."""
        value = self.fields.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        for n, each in enumerate(value):
            place = f"{self.place}.{name}[{n}]"
            if not isinstance(each, dict):
                raise ExportInvalid(f"{place} is no object")
            yield Record(place, each)

    def wrong(self, name: str, wanted: str) -> ExportInvalid:
        """A field that is not what it should be."""
        shown = repr(self.fields.get(name))[:_SHOWN_CHARS]
        return ExportInvalid(f"{self.place}: {name} is {wanted}, not {shown}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider writes. `pages`: the lines of a page of its API; `row`: the line of a row of
    its CSV, None for one that says nothing; `columns`: of which one set has to be in its header.
    `start`, `end`: of a bucket of its API."""

    start: str
    end: str
    pages: Callable[[Record, str], Iterable[Line]]
    row: Callable[[Record], Line | None]
    row_day: Callable[[Record], str]
    columns: tuple[frozenset[str], ...]


def _moment(value: object) -> datetime | None:
    try:
        if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            return datetime.fromtimestamp(int(value), UTC)
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def next_day(day: str) -> str:
    """The day after."""
    return (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
