"""How answers are printed: JSON for programs, a Rich table on a terminal, tabs in a pipe."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from comptroller.commands.outcome import printable

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, what it shows of a row, and whether it is a number or an id, which a
    terminal shows in one line. There it is left out where all rows have a text that is `untold`,
    and, the highest `spare` first, where the terminal is too narrow."""

    title: str
    text: Callable[[Row], str]
    is_number: bool = False
    is_id: bool = False
    untold: tuple[str, ...] = ("",)
    spare: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it is only useful in one piece."""
        return self.is_number or self.is_id


def field(name: str, title: str = "", *, is_number: bool = False, is_id: bool = False) -> Column:
    """The column of a field of that name."""
    return Column(title or name, lambda row: text_of(row.get(name)), is_number, is_id)


def show_rows(rows: Iterable[Row], columns: tuple[Column, ...], *, as_json: bool) -> None:
    """A list: one JSON object a line, or a table."""
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif sys.stdout.isatty():
        _show_table(rows, columns)
    else:
        typer.echo("\t".join(column.title for column in columns))
        for row in rows:
            typer.echo("\t".join(printable(column.text(row)) for column in columns))


def show_pairs(pairs: Iterable[tuple[str, object]], document: Row, *, as_json: bool) -> None:
    """One thing: the document as JSON, or a line for each pair that has something to say."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    said = [(name, printable(text_of(value))) for name, value in pairs if text_of(value)]
    width = max((len(name) for name, _ in said), default=0)
    for name, text in said:
        gap = " " * (width - len(name) + 2) if sys.stdout.isatty() else "\t"
        typer.echo(f"{name}{gap}{text}")


def _show_table(rows: Iterable[Row], columns: tuple[Column, ...]) -> None:
    from rich.console import Console

    from comptroller.commands.tables import Fitted

    shown = list(rows)
    Console().print(Fitted(shown, columns))
    if not shown:
        typer.echo("none", err=True)


def text_of(value: object) -> str:
    """A value of an answer as people read it; empty for what is absent."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(each) for each in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text_of(each)}" for name, each in value.items())
    return str(value)


def time_text(value: object) -> str:
    """Milliseconds since 1970 as UTC; a text as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
    return text_of(value)
