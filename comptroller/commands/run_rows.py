"""Runs and their steps as rows of tables and lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from comptroller.commands.output import Row

ENDED = ("done", "failed", "halted", "cancelled")


def step_rows(run: Mapping[str, Any], now_ms: int) -> list[dict[str, Any]]:
    """A row for each step, below what it needs."""
    levels: dict[str, int] = {}
    left = list(run["steps"])
    while left:
        ready = [each for each in left if all(need in levels for need in each["needs"])]
        for each in ready or left:  # a definition without cycles has some that are ready
            levels[each["id"]] = max((levels.get(n, 0) + 1 for n in each["needs"]), default=0)
        left = [each for each in left if each["id"] not in levels]
    is_over = run["status"] in ENDED
    rows = [
        {
            **each,
            "level": levels[each["id"]],
            "attempt": each["attempt"] or each["attempts"] or "",
            "duration": _duration(each, now_ms, is_over=is_over),
            "spent": _spent(each.get("cost")),
        }
        for each in run["steps"]
    ]
    return sorted(rows, key=lambda row: row["level"])


def _duration(step: Mapping[str, Any], now_ms: int, *, is_over: bool) -> str:
    if step["begun_ms"] is None or (is_over and step["ended_ms"] is None):
        return ""
    return duration_words(step["begun_ms"], step["ended_ms"], now_ms)


def _spent(cost: Mapping[str, Any] | None) -> str:
    return f"${cost['charged_usd']}" if cost and cost["charged_nusd"] else ""


def duration_words(begun_ms: int, ended_ms: int | None, now_ms: int) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h10m`."""
    seconds = max(0, (now_ms if ended_ms is None else ended_ms) - begun_ms) / 1000
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"


def entries_words(row: Row) -> str:
    """Of a foreach: `7 done, 2 running`."""
    entries = row.get("entries") or {}
    return ", ".join(f"{count} {status}" for status, count in entries.items())


def spent_words(run: Mapping[str, Any]) -> str:
    """`$0.12 of $2.00`, by the ledger; by the records where it says nothing."""
    for limit in run["limits"]:
        if limit["dimension"] == "usd" and limit["window"] == "total" and "spent" in limit:
            return f"${limit['spent']} of ${limit['limit']}"
    return _spent(run.get("cost"))


def hints(run: Mapping[str, Any]) -> Iterator[str]:
    """What somebody is waited for to type."""
    id_ = run["id"]
    if run["status"] == "asking":
        yield f"it asks for more budget: comptroller run approve {id_} --budget usd=..."
    if run["status"] == "paused":
        yield f"it is paused: comptroller run resume {id_}"
    if run["status"] in ENDED:
        return
    for step in run["steps"]:
        if step["kind"] == "approval" and step["status"] == "waiting":
            each = "'[ENTRY]'" if step["entries"] else ""
            yield f"{step['id']} asks: comptroller run approve {id_} {step['id']}{each}"


def changes(before: Mapping[str, Any] | None, run: Mapping[str, Any]) -> Iterator[str]:
    """What is new since, in lines: of the run, and of its steps."""
    known = {each["id"]: _state(each) for each in before["steps"]} if before else {}
    for step in run["steps"]:
        state = _state(step)
        if state != known.get(step["id"], ("pending", None, 0, "")):
            words = [step["status"], entries_words(step), step["error"]]
            yield "\t".join([step["id"], *(each for each in words if each)])
    if before is None or before["status"] != run["status"]:
        yield "\t".join(each for each in (run["id"], run["status"], run["error"]) if each)


def _state(step: Mapping[str, Any]) -> tuple[object, ...]:
    return step["status"], step["entries"], step["attempt"], step["error"]
