"""Our own rows: what the lists do not say or say wrongly, each with its source and the day on which
somebody looked. They decide."""

import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from pricing.catalog.info import is_money
from pricing.catalog.merging import Disagreement, shown

FILE = "overlay.json"


@dataclass(frozen=True, slots=True)
class Row:
    """Prices of some models of one provider, from one moment until another.

    `models`: whole names, lower case. `from_ms`, `until_ms`: UTC milliseconds, 0 for always.
    `info`: keys of `model_info` that this row decides; null takes a key away. `whole`: prices of
    other sources do not count at all, only their limits.
    """

    provider: str
    models: frozenset[str]
    from_ms: int
    until_ms: int
    info: Mapping[str, object]
    whole: bool
    source: str
    date: str
    why: str

    def holds(self, provider: str, names: frozenset[str], at_ms: int) -> bool:
        """Whether it speaks of this model at this moment."""
        begun = not self.from_ms or at_ms >= self.from_ms
        ended = bool(self.until_ms) and at_ms >= self.until_ms
        return provider == self.provider and bool(names & self.models) and begun and not ended


@dataclass(frozen=True, slots=True)
class Overlay:
    """All rows, and the days on which known editions of the lists came out."""

    rows: tuple[Row, ...]
    editions: Mapping[tuple[str, str], str]

    def changes_ms(self, provider: str, names: frozenset[str]) -> set[int]:
        """When rows about this model begin or end, UTC milliseconds."""
        rows = (row for row in self.rows if row.provider == provider and names & row.models)
        return {moment for row in rows for moment in (row.from_ms, row.until_ms) if moment}

    def holding(self, provider: str, names: frozenset[str], at_ms: int) -> tuple[Row, ...]:
        """The rows that hold, in the order of the file: the later decides."""
        return tuple(row for row in self.rows if row.holds(provider, names, at_ms))


@cache
def load_overlay() -> Overlay:
    """The rows that come with the product."""
    content = pkgutil.get_data(__package__ or "pricing.catalog", FILE)
    assert content is not None
    return parse_overlay(content)


def parse_overlay(content: bytes) -> Overlay:
    """From the file's bytes. Raises ValueError, KeyError for a row without source and date."""
    document = json.loads(content)
    editions = {
        (name, version): day
        for name, days in document["editions"].items()
        for version, day in days.items()
    }
    return Overlay(tuple(_row(each) for each in document["rows"]), editions)


def _row(row: Mapping[str, object]) -> Row:
    models, info = row["models"], row["info"]
    assert isinstance(models, list)
    assert isinstance(info, dict)
    source, date = str(row["source"]), str(row["date"])
    datetime.fromisoformat(date)
    return Row(
        provider=str(row["provider"]),
        models=frozenset(str(each) for each in models),
        from_ms=_moment_ms(row.get("from")),
        until_ms=_moment_ms(row.get("until")),
        info=info,
        whole=row.get("whole") is True,
        source=source,
        date=date,
        why=str(row.get("why", "")),
    )


def _moment_ms(text: object) -> int:
    return int(datetime.fromisoformat(str(text)).timestamp()) * 1000 if text else 0


def decided(
    info: Mapping[str, object], said: tuple[Disagreement, ...], row: Row
) -> tuple[dict[str, object], tuple[Disagreement, ...]]:
    """(`info` as the row decides it, `said` with what it overrules). A whole row takes the place of
    every price; of others the limits stay."""
    kept = {key: value for key, value in info.items() if not (row.whole and is_money(key))}
    result = {key: value for key, value in {**kept, **row.info}.items() if value is not None}
    before = {each.key: each for each in said}
    open_ones = [each for each in said if each.key not in row.info and each.key in result]
    overruled = [
        Disagreement(
            key,
            before[key].said if key in before else (("lists", shown(info[key])),),
            shown(value),
            row.why or row.source,
        )
        for key, value in row.info.items()
        if key in info and shown(info[key]) != shown(value)
    ]
    return result, (*open_ones, *overruled)
