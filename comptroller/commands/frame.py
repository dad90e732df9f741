"""One frame of `comptroller top`, drawn with Rich from its figures."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comptroller.commands.bars import bar_of, used_share
from comptroller.commands.money import amount_words, limit_words
from comptroller.commands.outcome import printable
from comptroller.commands.output import Column, Row, field
from comptroller.commands.tables import Fitted
from pricing import dollars

_TIGHT, _TIGHTER = 0.75, 0.95


def frame(shown: Mapping[str, Any], now: datetime) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_heading(shown, now)]
    if shown["trouble"]:
        parts.append(Text(printable(shown["trouble"]), style="yellow"))
    parts.append(Fitted(shown["minutes"], _MINUTES, title="by minute (UTC)"))
    if shown["in_flight"]:
        parts.append(Fitted(shown["in_flight"], _IN_FLIGHT, title="in flight"))
    tightest = Fitted(shown["tightest"], _TIGHTEST, title="tightest budgets", style=_style_of)
    return Group(*parts, tightest, Fitted(shown["events"], _EVENTS, title="last events (UTC)"))


def _heading(shown: Mapping[str, Any], now: datetime) -> Text:
    rows = shown["minutes"]
    spent = sum(int(row["charged_nusd"]) for row in rows)
    calls = sum(int(row["requests"]) for row in rows)
    refused = sum(int(row["refused"]) for row in rows)
    text = Text(f"comptroller top   {now:%H:%M:%SZ}   ", style="bold")
    text.append(f"${dollars(spent)} spent, {calls} requests, {refused} refused in the last minutes")
    return text.append("   (q quits)", style="dim")


def _style_of(limit: Row) -> str:
    share = used_share(limit)
    return "red" if share >= _TIGHTER else "yellow" if share >= _TIGHT else ""


def _spent(row: Row) -> str:
    nusd = int(row["charged_nusd"])
    return f"${dollars(nusd)}" if nusd else ""


def _amount(name: str) -> Column:
    return Column(name, lambda row: amount_words(row["dimension"], row[name]), is_number=True)


_MINUTES = (
    field("minute", is_id=True),
    field("requests", is_number=True),
    field("refused", is_number=True),
    Column("spent", lambda row: _spent(row) or "$0.00", is_number=True, untold=()),
)
_LIMIT = (field("scope"), Column("limit", limit_words))
_IN_FLIGHT = (*_LIMIT, _amount("reserved"))
_TIGHTEST = (
    *_LIMIT,
    _amount("free"),
    Column("spent|reserved|free", bar_of, is_id=True, spare=1),
    Column("state", lambda row: str(row.get("state") or ""), untold=("", "open")),
)
_EVENTS = (
    Column("time", lambda row: str(row["time"])[11:19], is_id=True),
    field("event_type", "event"),
    *map(field, ("scope", "agent", "model")),
    Column("cost", _spent, is_number=True),
    field("error"),
)
