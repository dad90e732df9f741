"""One frame of `comptroller top`, drawn with Rich from its figures."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from comptroller.commands.bars import bar_of, used_share
from comptroller.commands.money import amount_words, limit_words
from comptroller.commands.outcome import printable
from gateway.money import dollars

_TIGHT, _TIGHTER = 0.75, 0.95


def frame(shown: Mapping[str, Any], now: datetime) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_heading(shown, now)]
    if shown["trouble"]:
        parts.append(Text(printable(shown["trouble"]), style="yellow"))
    parts.append(_minutes(shown["minutes"]))
    if shown["in_flight"]:
        parts.append(_in_flight(shown["in_flight"]))
    parts += [_tightest(shown["tightest"]), _events(shown["events"])]
    return Group(*parts)


def _heading(shown: Mapping[str, Any], now: datetime) -> Text:
    rows = shown["minutes"]
    spent = sum(int(row["charged_nusd"]) for row in rows)
    calls = sum(int(row["requests"]) for row in rows)
    refused = sum(int(row["refused"]) for row in rows)
    text = Text(f"comptroller top   {now:%H:%M:%SZ}   ", style="bold")
    text.append(f"${dollars(spent)} spent, {calls} requests, {refused} refused in the last minutes")
    return text.append("   (q quits)", style="dim")


def _table(title: str, *columns: str) -> Table:
    """Columns whose name ends in `>` are numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip(">"), justify="right" if column[-1] == ">" else "left")
    return table


def _minutes(rows: list[dict[str, Any]]) -> Table:
    table = _table("by minute (UTC)", "minute", "requests>", "refused>", "spent>")
    for row in rows:
        spent = f"${dollars(int(row['charged_nusd']))}"
        _add(table, row["minute"], row["requests"], row["refused"], spent)
    return table


def _in_flight(rows: list[dict[str, Any]]) -> Table:
    table = _table("in flight", "scope", "limit", "reserved>")
    for row in rows:
        reserved = amount_words(row["dimension"], row["reserved"])
        _add(table, row["scope"], limit_words(row), reserved)
    return table


def _tightest(rows: list[dict[str, Any]]) -> Table:
    table = _table("tightest budgets", "scope", "limit", "free>", "spent|reserved|free", "state")
    for row in rows:
        free = amount_words(row["dimension"], row["free"])
        share = used_share(row)
        style = "red" if share >= _TIGHTER else "yellow" if share >= _TIGHT else ""
        cells = (row["scope"], limit_words(row), free, bar_of(row), row.get("state") or "")
        _add(table, *cells, style=style)
    return table


def _events(rows: list[dict[str, Any]]) -> Table:
    table = _table("last events", "time", "event", "scope", "agent", "model", "cost>", "error")
    for row in rows:
        cost = int(row["charged_nusd"])
        _add(
            table,
            str(row["time"])[11:23],
            *(row["event_type"], row["scope"], row["agent"], row["model"]),
            f"${dollars(cost)}" if cost else "",
            row["error"],
        )
    return table


def _add(table: Table, *cells: object, style: str = "") -> None:
    """As Text: what clients named is neither markup nor a terminal's command."""
    table.add_row(*(Text(printable(str(cell))) for cell in cells), style=style)
