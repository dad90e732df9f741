"""Rows of the database of runs, as the rest of this folder has them."""

import json
from dataclasses import dataclass, field
from typing import Any

from budgets.policy import Limit
from orchestrator.kinds.contract import Signal
from orchestrator.places import RunPlace, TaskId
from orchestrator.progress import Task
from orchestrator.running.database import Row, Value
from orchestrator.running.limits import limits_from
from orchestrator.running.outputs import loaded


@dataclass(frozen=True, slots=True)
class Telling:
    """An event for the ledger: `event` is a WrittenEvent as JSON."""

    id: str
    organisation: str
    event_type: str
    event: bytes


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is this executor's in this epoch. `document`: the definition and the files inside
    it, as submitted; `definition_id` names it; `depth`: how many runs it is inside of;
    `signals`: what its steps were told before it was claimed. What is long is unread."""

    place: RunPlace
    epoch: int
    given_text: str
    budget: tuple[Limit, ...]
    wanted: str
    by: str
    parent: str
    depth: int
    created_ms: int
    definition_id: str
    document: str
    folder: str
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    signals: dict[TaskId, Signal] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """Its input."""
        given: dict[str, Any] = json.loads(self.given_text)
        return given


def claimed_from(row: Row) -> ClaimedRun:
    """Of a row of claimed.sql."""
    (id_, epoch, scope, workflow, version, given, budget, wanted, by, parent, *rest) = row
    depth, fences, created_ms, definition_id, document, folder = rest
    return ClaimedRun(
        place=RunPlace(
            str(id_), str(scope), str(workflow), number(version), fences_from(str(fences))
        ),
        epoch=number(epoch),
        given_text=str(given),
        budget=limits_from(str(budget)),
        wanted=str(wanted),
        by=str(by),
        parent=str(parent or ""),
        depth=number(depth),
        created_ms=number(created_ms),
        definition_id=str(definition_id),
        document=str(document),
        folder=str(folder),
    )


def task_from(row: Row) -> tuple[str, TaskId, Task]:
    """Of a row of tasks_of.sql: the run's id, and the task."""
    (run, step, entry, status, attempt, failures, round_, wake_at_ms, begun_ms, *rest) = row
    output, last, error, told_by, held = rest
    task = Task(
        status=str(status),  # type: ignore[arg-type]  # one of them: we wrote it
        attempt=number(attempt),
        failures=number(failures),
        round=number(round_),
        wake_at_ms=None if wake_at_ms is None else number(wake_at_ms),
        begun_ms=number(begun_ms),
        output=loaded(output),
        last=loaded(last),
        error=str(error),
        told_by=str(told_by),
        held=str(held),
    )
    return str(run), TaskId(str(step), number(entry)), task


def signal_from(row: Row) -> tuple[str, TaskId, Signal]:
    """Of a row of signals_of.sql: the run's id, the task, and what it was told."""
    (run, step, entry, by, at_ms, payload) = row
    signal = Signal(str(by), number(at_ms), loaded(payload))
    return str(run), TaskId(str(step), number(entry)), signal


def fences_from(text: str) -> tuple[tuple[str, int], ...]:
    """Of a column of runs."""
    return tuple((str(scope), int(attempt)) for scope, attempt in json.loads(text))


def number(value: Value) -> int:
    """Of a column that holds one."""
    assert isinstance(value, int), value
    return value
