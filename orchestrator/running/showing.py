"""What people see of runs: pages of them, one with its steps, a step with its attempts, outputs.

Whatever may be long is bounded here, so that no question keeps the database from those who work.
Outputs are JSON as it is stored, and are never read on their way.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from budgets.policy import Limit
from orchestrator.kinds import KINDS
from orchestrator.places import PLAIN, TaskId
from orchestrator.progress import ENDED, TASK_ENDED
from orchestrator.running.database import Database, Row, Value, sql
from orchestrator.running.deciding import NoSuchRun
from orchestrator.running.limits import limits_from
from orchestrator.running.rows import number

INPUT_CHARS_MAX = 64 * 1024
OUTPUT_CHARS_MAX = 4_096
"""Longer ones are shown by that they are there."""
ATTEMPTS_MAX = 500
PENDING = "pending"
"""Of a step that nothing has begun of."""
STOPPED = "stopped"
"""Of what was at work, or waited, when its run ended."""


class NoSuchStep(LookupError):
    """The run's definition has no such step."""

    def __init__(self, run: str, step: str) -> None:
        super().__init__(f"run {run} has no step {step}: `comptroller run show {run}` lists them")


class RunLine(msgspec.Struct, frozen=True):
    """A run as a list has it. `wanted`: `pause` of one that is about to; `parent`: the run that it
    is inside of, and `parent_step` the step there that has started it; `wake_at_ms`: of one that
    waits for a time."""

    id: str
    organisation: str
    scope: str
    workflow: str
    version: int
    status: str
    wanted: str
    error: str
    by: str
    name: str
    parent: str
    parent_step: str
    forked_from: str
    created_ms: int
    ended_ms: int | None
    wake_at_ms: int | None


class TaskShown(msgspec.Struct, frozen=True):
    """A step that is no foreach, or one entry of it. `attempt`: the last one's number; `round`: of
    `until`, from 0; `output`: where it is short, else `has_output` says that there is one."""

    step: str
    entry: int | None
    status: str
    attempt: int
    failures: int
    round: int
    begun_ms: int | None
    ended_ms: int | None
    wake_at_ms: int | None
    error: str
    output: msgspec.Raw
    has_output: bool


class StepShown(msgspec.Struct, frozen=True):
    """A step of the definition, whether it has begun or not. `entries`: of a foreach, how many
    there are by how they are; None for another. `attempts`: of all its entries."""

    id: str
    kind: str
    needs: tuple[str, ...]
    status: str
    attempt: int
    attempts: int
    begun_ms: int | None
    ended_ms: int | None
    wake_at_ms: int | None
    error: str
    output: msgspec.Raw
    has_output: bool
    entries: dict[str, int] | None = None


class AttemptShown(msgspec.Struct, frozen=True):
    """One try."""

    entry: int | None
    attempt: int
    status: str
    error: str
    started_ms: int
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class RunWhole:
    """A run with its steps, in the order of its definition. `given`, `output`: JSON, `null` where
    they are long."""

    line: RunLine
    given: msgspec.Raw
    budget: tuple[Limit, ...]
    output: msgspec.Raw
    has_output: bool
    steps: tuple[StepShown, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs; empty: all. `scope`: at it and below; `inside`: of a run, else those that are
    inside of none; `after`: the id that the last page ended with."""

    organisation: str = ""
    scope: str = ""
    workflow: str = ""
    status: str = ""
    inside: str = ""
    after: str = ""


@dataclass(slots=True)
class _Fan:
    """Entries of a foreach that have begun."""

    counts: Counter[str] = field(default_factory=Counter)
    begun_ms: list[int] = field(default_factory=list)
    ended_ms: list[int] = field(default_factory=list)


def page(database: Database, wanted: Wanted, limit: int) -> list[RunLine]:
    """The newest first."""
    conditions: list[tuple[str, Row]] = [
        ("r.parent = ?", (wanted.inside,)) if wanted.inside else ("r.parent is null", ())
    ]
    same = {"org": wanted.organisation, "workflow": wanted.workflow, "status": wanted.status}
    conditions += [(f"r.{name} = ?", (value,)) for name, value in same.items() if value]
    if wanted.scope:
        below = f"{wanted.scope}/"
        said = "(r.scope = ? or substr(r.scope, 1, ?) = ?)"
        conditions.append((said, (wanted.scope, len(below), below)))
    if wanted.after:
        conditions.append(("r.id < ?", (wanted.after,)))
    statement = sql("runs_page").replace(":where", " and ".join(each for each, _ in conditions))
    values = [value for _, some in conditions for value in some]
    return [_line(row) for row in database.rows(statement, (*values, limit))]


def line(database: Database, organisation: str, run: str) -> RunLine:
    """`organisation`: empty for any. Raises NoSuchRun."""
    statement = sql("runs_page").replace(":where", "r.id = ?")
    for row in database.rows(statement, (run, 1)):
        found = _line(row)
        if organisation in ("", found.organisation):
            return found
    raise NoSuchRun(run)


def whole(database: Database, organisation: str, run: str) -> RunWhole:
    """Raises NoSuchRun."""
    head = line(database, organisation, run)
    bounds = (INPUT_CHARS_MAX, OUTPUT_CHARS_MAX)
    ((given, budget, output, has_output, document),) = database.rows(
        sql("run_whole"), (*bounds, run)
    )
    return RunWhole(
        line=head,
        given=_json(given),
        budget=limits_from(str(budget)),
        output=_json(output),
        has_output=bool(has_output),
        steps=tuple(_steps(database, head, str(document))),
    )


def step(
    database: Database, organisation: str, run: str, name: str, after: int, limit: int
) -> tuple[StepShown, list[TaskShown], list[AttemptShown]]:
    """A step with a page of its entries, those beyond `after`, and their attempts; of a step that
    is no foreach its own. Raises NoSuchRun, NoSuchStep."""
    head = line(database, organisation, run)
    ((*_, document),) = database.rows(sql("run_whole"), (0, 0, run))
    found = [each for each in _steps(database, head, str(document)) if each.id == name]
    if not found:
        raise NoSuchStep(run, name)
    is_over = head.status in ENDED
    rows = database.rows(sql("entries_of"), (OUTPUT_CHARS_MAX, run, name, after, limit))
    entries = [_task(row, is_over=is_over) for row in rows]
    first, last = (rows[0][1], rows[-1][1]) if rows else (PLAIN, PLAIN)
    tried = database.rows(sql("attempts_of"), (run, name, first, last, ATTEMPTS_MAX))
    return found[0], entries, [_attempt(row) for row in tried]


def _steps(database: Database, head: RunLine, document: str) -> list[StepShown]:
    is_over = head.status in ENDED
    rows = database.rows(sql("heads_of"), (OUTPUT_CHARS_MAX, head.id))
    heads = {str(row[0]): row for row in rows}
    fans: dict[str, _Fan] = {}
    for name, status, count, begun, ended in database.rows(sql("fans_of"), (head.id,)):
        fan = fans.setdefault(str(name), _Fan())
        fan.counts[_status(str(status), is_over=is_over)] += number(count)
        fan.begun_ms.append(number(begun))
        fan.ended_ms += [] if ended is None else [number(ended)]
    spans = {str(name): (count, began) for name, count, began in _spans(database, head.id)}
    return [
        _step(each, heads.get(each["id"]), fans, spans, is_over=is_over)
        for each in json.loads(document)["workflow"]["steps"]
    ]


def _spans(database: Database, run: str) -> list[tuple[Value, int, int]]:
    rows = database.rows(sql("spans_of"), (run,))
    return [(name, number(count), number(began)) for name, count, began in rows]


def _step(
    said: Mapping[str, Any],
    row: Row | None,
    fans: Mapping[str, _Fan],
    spans: Mapping[str, tuple[int, int]],
    *,
    is_over: bool,
) -> StepShown:
    name = str(said["id"])
    needs, kind = tuple(said.get("needs", ())), _kind(said)
    if row is None:
        return StepShown(name, kind, needs, PENDING, 0, 0, None, None, None, "", _json(None), False)
    task = _task(row, is_over=is_over)
    attempts, began_ms = spans.get(name, (0, None))
    entries, status, ended_ms = None, task.status, task.ended_ms
    if row[2] == "fanned":
        fan = fans.get(name, _Fan())
        entries = _entries(row, fan)
        status = _status_of_fan(entries, is_over=is_over)
        ended_ms = max(fan.ended_ms, default=task.begun_ms) if status in TASK_ENDED else None
    return StepShown(
        id=name,
        kind=kind,
        needs=needs,
        status=status,
        attempt=task.attempt,
        attempts=attempts,
        begun_ms=task.begun_ms if began_ms is None else began_ms,
        ended_ms=ended_ms,
        wake_at_ms=task.wake_at_ms,
        error=task.error,
        output=task.output,
        has_output=task.has_output or (entries is not None and status == "done"),
        entries=entries,
    )


def _entries(row: Row, fan: _Fan) -> dict[str, int]:
    rest = len(json.loads(str(row[12]))) - fan.counts.total()
    return {**dict(sorted(fan.counts.items())), **({PENDING: rest} if rest > 0 else {})}


def _status_of_fan(entries: Mapping[str, int], *, is_over: bool) -> str:
    """As orchestrator.progress has it, and of one that is at work what it does."""
    if entries.keys() <= TASK_ENDED:
        return "failed" if "failed" in entries else "done"
    if is_over:
        return "failed" if "failed" in entries else STOPPED
    return next((each for each in ("running", "again", "waiting") if each in entries), "running")


def _kind(said: Mapping[str, Any]) -> str:
    return next((each for each in KINDS if each in said), "")


def _status(status: str, *, is_over: bool) -> str:
    return STOPPED if is_over and status not in (*TASK_ENDED, "fanned") else status


def _task(row: Row, *, is_over: bool) -> TaskShown:
    (name, entry, status, attempt, failures, round_, begun, ended, wake, error, output, has, _) = (
        row
    )
    return TaskShown(
        step=str(name),
        entry=None if entry == PLAIN else number(entry),
        status=_status(str(status), is_over=is_over),
        attempt=number(attempt),
        failures=number(failures),
        round=number(round_),
        begun_ms=number(begun),
        ended_ms=_maybe(ended),
        wake_at_ms=None if is_over else _maybe(wake),
        error=str(error),
        output=_json(output),
        has_output=bool(has),
    )


def _attempt(row: Row) -> AttemptShown:
    (entry, attempt, status, error, started, ended) = row
    return AttemptShown(
        entry=None if entry == PLAIN else number(entry),
        attempt=number(attempt),
        status=str(status),
        error=str(error),
        started_ms=number(started),
        ended_ms=_maybe(ended),
    )


def _line(row: Row) -> RunLine:
    (id_, org, scope, workflow, version, status, wanted, error, by, named, parent, *rest) = row
    parent_step, parent_entry, forked_from, created_ms, ended_ms, wake_at_ms = rest
    starter = TaskId(str(parent_step or ""), PLAIN if parent is None else number(parent_entry))
    return RunLine(
        id=str(id_),
        organisation=str(org),
        scope=str(scope),
        workflow=str(workflow),
        version=number(version),
        status=str(status),
        wanted=str(wanted),
        error=str(error),
        by=str(by),
        name=str(named or "") if parent is None else "",
        parent=str(parent or ""),
        parent_step=starter.label,
        forked_from=str(forked_from or ""),
        created_ms=number(created_ms),
        ended_ms=_maybe(ended_ms),
        wake_at_ms=_maybe(wake_at_ms),
    )


def _maybe(value: Value) -> int | None:
    return None if value is None else number(value)


def _json(text: Value) -> msgspec.Raw:
    return msgspec.Raw(b"null" if text is None else str(text).encode())
