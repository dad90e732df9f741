"""A run as a screen shows it: its steps, how they are, and what they have spent."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comptroller.commands.outcome import printable
from comptroller.commands.output import Column, Row, field
from comptroller.commands.run_rows import (
    duration_words,
    entries_words,
    hints,
    spent_words,
    step_rows,
)
from comptroller.commands.tables import Fitted

_STYLES = {
    "done": "green", "running": "bold", "failed": "red", "waiting": "yellow", "again": "yellow",
    "pending": "dim", "skipped": "dim", "stopped": "dim", "asking": "yellow", "halted": "red",
    "cancelled": "red",
}  # fmt: skip


def frame(run: Mapping[str, Any], now_ms: int) -> RenderableType:
    """The whole of it."""
    head = Text(f"{run['workflow']} v{run['version']}  {run['id']}  ", style="bold")
    head.append(run["status"], style=_STYLES.get(run["status"], ""))
    head.append(f"  {duration_words(run['created_ms'], run['ended_ms'], now_ms)}")
    if spent := spent_words(run):
        head.append(f"  {spent}")
    parts: list[RenderableType] = [head, Fitted(step_rows(run, now_ms), STEPS, style=_style)]
    if run["error"]:
        parts.append(Text(printable(run["error"]), style="red"))
    parts += [Text(printable(each), style="yellow") for each in hints(run)]
    return Group(*parts)


def _style(row: Row) -> str:
    return _STYLES.get(str(row["status"]), "")


STEPS = (
    Column("step", lambda row: "  " * int(row["level"]) + str(row["id"])),
    field("kind"),
    field("status"),
    Column("entries", entries_words),
    field("attempt", is_number=True),
    field("duration", is_number=True),
    field("spent", is_number=True),
    field("error", ""),
)
