"""What a provider says beside what was recorded, by day and model, and what of the difference has a
name: pure.

Names are compared without the day of a snapshot: cost exports leave it out, or write `Claude Haiku
4.5` for `claude-haiku-4-5-20251001`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from comptroller.exports.contract import Export, Line

NUSD: Final = 10**9
HALF_NUSD_USD: Final = Fraction(1, 2 * NUSD)
"""What a line of an export is rounded by here, when it is shown in nano-dollars."""
UNTOLD: Final = "requests without usage from the provider"
OPEN: Final = "requests still open"
ONLY_EXPORT: Final = "models that only the export has"
ONLY_RECORDED: Final = "models that only the records have"
ROUNDING: Final = "rounding of the export"
REST: Final = "what is left of models that both have"
_SEPARATORS = re.compile(r"[ ._]+")
_SNAPSHOT = re.compile(r"-(?:20[0-9]{2}-[0-9]{2}-[0-9]{2}|20[0-9]{6})$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Requests that ended on a day, by model: a row of clickhouse/queries/reconcile_ended.sql."""

    day: str
    model: str
    told_requests: int
    untold_requests: int
    input_tokens: int
    output_tokens: int
    charged_nusd: int
    untold_nusd: int


@dataclass(frozen=True, slots=True)
class StillOpen:
    """Requests that have not ended: a row of clickhouse/queries/reconcile_open.sql."""

    day: str
    model: str
    requests: int
    reserved_nusd: int


@dataclass(slots=True)
class Side:
    """One side of a row. None: the export does not say. `rounding_usd`: how far the sum of amounts
    can be from what they were rounded from."""

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    amount_usd: Fraction | None = None
    rounding_usd: Fraction = Fraction(0)

    @property
    def amount_nusd(self) -> int | None:
        """To the nearest nano-dollar."""
        return None if self.amount_usd is None else _nusd(self.amount_usd)


@dataclass(slots=True)
class Row:
    """A day and model. `export` is None where only the records have it, and the other way round."""

    day: str
    model: str
    export: Side | None = None
    recorded: Side | None = None
    untold_requests: int = 0
    untold_nusd: int = 0
    open_requests: int = 0
    open_nusd: int = 0

    @property
    def difference_nusd(self) -> int:
        """What the provider says beyond what was charged; 0 where it says no amounts."""
        export, recorded = self.export or Side(), self.recorded or Side()
        return (export.amount_nusd or 0) - (recorded.amount_nusd or 0)


@dataclass(frozen=True, slots=True)
class Named:
    """A part of the difference. `least_nusd` to `most_nusd`: between which it lies; None where no
    amounts are compared."""

    name: str
    requests: int = 0
    models: tuple[str, ...] = ()
    least_nusd: int | None = None
    most_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows by day and model, and the difference in parts. `explained`: what is left lies within
    what can be said of it."""

    rows: tuple[Row, ...]
    residual: tuple[Named, ...]
    has_amounts: bool
    has_requests: bool
    has_tokens: bool
    explained: bool = field(default=True)


def model_key(name: str) -> str:
    """A model's name as both sides have it."""
    plain = _SEPARATORS.sub("-", name.strip().casefold()).rpartition("/")[2]
    return _SNAPSHOT.sub("", plain)


def reconciled(
    export: Export, recorded: Iterable[Recorded], still_open: Iterable[StillOpen]
) -> Reconciled:
    """Both sides together."""
    rows: dict[tuple[str, str], Row] = {}

    def row(day: str, model: str) -> Row:
        key = (day, model_key(model))
        return rows.setdefault(key, Row(*key))

    for line in export.lines:
        _add_line(row(line.day, line.model), line)
    for each in recorded:
        _add_recorded(row(each.day, each.model), each)
    for each_open in still_open:
        into = row(each_open.day, each_open.model)
        into.open_requests += each_open.requests
        into.open_nusd += each_open.reserved_nusd
    found = tuple(rows[key] for key in sorted(rows))
    has_amounts = any(each.amount_usd is not None for each in export.lines)
    residual = tuple(_residual(found, has_amounts))
    return Reconciled(
        rows=found,
        residual=residual,
        has_amounts=has_amounts,
        has_requests=any(each.requests is not None for each in export.lines),
        has_tokens=any(each.input_tokens is not None for each in export.lines),
        explained=_is_explained(found, residual, has_amounts),
    )


def _add_line(row: Row, line: Line) -> None:
    side = row.export = row.export or Side()
    side.requests = _plus(side.requests, line.requests)
    side.input_tokens = _plus(side.input_tokens, line.input_tokens)
    side.output_tokens = _plus(side.output_tokens, line.output_tokens)
    if line.amount_usd is not None:
        side.amount_usd = (side.amount_usd or Fraction(0)) + Fraction(line.amount_usd)
        side.rounding_usd += Fraction(line.rounding_usd) + HALF_NUSD_USD


def _add_recorded(row: Row, each: Recorded) -> None:
    side = row.recorded = row.recorded or Side()
    side.requests = _plus(side.requests, each.told_requests + each.untold_requests)
    side.input_tokens = _plus(side.input_tokens, each.input_tokens)
    side.output_tokens = _plus(side.output_tokens, each.output_tokens)
    side.amount_usd = (side.amount_usd or Fraction(0)) + Fraction(each.charged_nusd, NUSD)
    # Each charge was rounded up to a nano-dollar.
    side.rounding_usd += Fraction(each.told_requests, NUSD)
    row.untold_requests += each.untold_requests
    row.untold_nusd += each.untold_nusd


def _plus(before: int | None, more: int | None) -> int | None:
    return before if more is None else (before or 0) + more


def _residual(rows: tuple[Row, ...], has_amounts: bool) -> Iterable[Named]:
    """The parts that have something to say; amounts are of the export less the records."""
    both = [row for row in rows if row.export and row.recorded]
    only_export = [row for row in rows if row.export and not row.recorded]
    only_recorded = [row for row in rows if row.recorded and not row.export]

    def part(name: str, of: list[Row], requests: int, least: int, most: int) -> Named:
        models = tuple(sorted({row.model for row in of}))
        amounts = (least, most) if has_amounts else (None, None)
        return Named(name, requests, models, *amounts)

    if only_export:
        nusd = sum(row.difference_nusd for row in only_export)
        count = sum(row.export.requests or 0 for row in only_export if row.export)
        yield part(ONLY_EXPORT, only_export, count, nusd, nusd)
    if only_recorded:
        nusd = sum(row.difference_nusd for row in only_recorded) if has_amounts else 0
        count = sum(row.recorded.requests or 0 for row in only_recorded if row.recorded)
        yield part(ONLY_RECORDED, only_recorded, count, nusd, nusd)
    untold = [row for row in both if row.untold_requests]
    if untold:
        count, most = (sum(row.untold_requests for row in untold), _sum(untold, "untold_nusd"))
        yield part(UNTOLD, untold, count, -most, 0)
    opened = [row for row in rows if row.open_requests]
    if opened:
        count, most = (sum(row.open_requests for row in opened), _sum(opened, "open_nusd"))
        yield part(OPEN, opened, count, 0, most)
    if has_amounts and both:
        most = math.ceil(sum((_rounding(row) for row in both), Fraction(0)) * NUSD)
        yield Named(ROUNDING, 0, (), -most, most)
        nusd = sum(row.difference_nusd for row in both)
        yield part(REST, [row for row in both if row.difference_nusd], 0, nusd, nusd)


def _sum(rows: list[Row], name: str) -> int:
    return sum(int(getattr(row, name)) for row in rows)


def _rounding(row: Row) -> Fraction:
    return sum((side.rounding_usd for side in (row.export, row.recorded) if side), Fraction(0))


def _is_explained(rows: tuple[Row, ...], residual: tuple[Named, ...], has_amounts: bool) -> bool:
    """Whether both agree up to what has a name."""
    if any(each.name in (ONLY_EXPORT, ONLY_RECORDED) for each in residual):
        return False
    if not has_amounts:
        return all(_tokens_agree(row) for row in rows if row.export and row.recorded)
    bounds = [each for each in residual if each.name in (UNTOLD, OPEN, ROUNDING)]
    least = sum(each.least_nusd or 0 for each in bounds)
    most = sum(each.most_nusd or 0 for each in bounds)
    rest = next((each.least_nusd or 0 for each in residual if each.name == REST), 0)
    return least <= rest <= most


def _tokens_agree(row: Row) -> bool:
    """Requests of which nobody said what they used, or that are open, have no tokens here."""
    if row.untold_requests or row.open_requests:
        return True
    assert row.export is not None
    assert row.recorded is not None
    pairs = (
        (row.export.requests, row.recorded.requests),
        (row.export.input_tokens, row.recorded.input_tokens),
        (row.export.output_tokens, row.recorded.output_tokens),
    )
    return all(said is None or said == ours for said, ours in pairs)


def _nusd(amount_usd: Fraction) -> int:
    return round(amount_usd * NUSD)
