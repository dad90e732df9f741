"""The database of runs of a test, written by acts alone: no executor works on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.bundle import read_bundle
from orchestrator.inputs import filled
from orchestrator.places import PLAIN, TaskId
from orchestrator.progress import RunStatus, Task, TaskStatus
from orchestrator.running.acts import Claim, End, Leave, Park, Put
from orchestrator.running.database import Database, Row, migrate
from orchestrator.running.journal import Act, Hold
from orchestrator.running.sqlite import SqliteDatabase
from orchestrator.running.submitting import Submission, Submit, Submitted

NOW_MS = 1_790_000_000_000
EXECUTOR = "executor-1"
_T = TypeVar("_T")


@dataclass(slots=True)
class Book:
    """Acts on a database, each in a transaction of its own, a millisecond after the last."""

    database: Database
    now_ms: int = NOW_MS
    holds: dict[str, Hold] = field(default_factory=dict)

    def act(self, act: Act[_T]) -> _T:
        """Does it."""
        self.now_ms += 1
        self.database.begin()
        try:
            done = act(self.database, self.now_ms)
            self.database.commit()
        except BaseException:
            self.database.rollback()
            raise
        return done

    def rows(self, statement: str, *values: str | int | None) -> list[Row]:
        """Of a query."""
        return [*self.database.rows(statement, values)]

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Events for the ledger, with their details, oldest first."""
        rows = self.rows("select event_type, event from tellings order by number")
        return [(str(kind), json.loads(str(event))) for kind, event in rows]

    def submit(self, *steps: Mapping[str, Any], **fields: Any) -> str:
        """A run of a workflow of these steps; its id."""
        return self.submitted(*steps, **fields).run

    def submitted(self, *steps: Mapping[str, Any], **fields: Any) -> Submitted:
        """The same; ids are in the order of time, so that each has a millisecond of its own."""
        found: Submitted = self.act(Submit(submission(*steps, **fields)))
        then_ms = self.database.now_ms()
        while self.database.now_ms() == then_ms:
            continue
        return found

    def claim(self) -> list[str]:
        """Whatever is due is the executor's from now on."""
        claimed, _ = self.act(Claim(EXECUTOR, 100))
        for each in claimed:
            self.holds[each.place.id] = Hold(each.place.id, each.epoch, EXECUTOR)
        return [each.place.id for each in claimed]

    def put(
        self, run: str, step: str, status: TaskStatus, *, entry: int = PLAIN, **fields: Any
    ) -> None:
        """A step of a claimed run is so now: its attempt has begun, and ended where it has."""
        state = Task(status, **{"attempt": 1, "begun_ms": self.now_ms, **fields})
        begins = status != "fanned" and state.attempt > 0
        ended = status if begins and state.has_ended else ""
        task = TaskId(step, entry)
        running = replace(state, status="running", output=None)
        if begins:
            self.act(Put(self.holds[run], task, running, begins=True))
        self.act(Put(self.holds[run], task, state, ended=ended, reads_signal=bool(ended)))

    def end(self, run: str, status: RunStatus, output: object = None, error: str = "") -> None:
        """By its executor."""
        assert self.act(End(run, status, output, error, self.holds[run]))

    def leave(self, run: str, status: RunStatus) -> None:
        """Paused, or asking."""
        self.act(Leave(self.holds[run], status, "why"))

    def park(self, run: str, until_ms: int | None = None) -> None:
        """It waits."""
        self.act(Park(self.holds[run], until_ms))

    def status(self, run: str) -> str:
        """Of a run."""
        return str(self.rows("select status from runs where id = ?", run)[0][0])

    def tasks(self, run: str) -> dict[str, str]:
        """How its tasks are."""
        rows = self.rows("select step, entry, status from tasks where run = ?", run)
        return {TaskId(str(s), int(str(e))).label: str(status) for s, e, status in rows}


def opened(folder: Path) -> Book:
    """A new one."""
    database = SqliteDatabase(folder / "runs.db")
    migrate(database)
    return Book(database)


def submission(*steps: Mapping[str, Any], **fields: Any) -> Submission:
    """Of a workflow of these steps (one that sleeps, where none is given), by `ann`, with a dollar.
    Fields are the submission's, and of the workflow those that it does not have."""
    named: dict[str, Any] = {"scope": "acme/lab", "given": {}, "named": "", "folder": ""}
    named |= {"start_ms": 0, "start_in_ms": 0}
    of_submission = {name: fields.pop(name, default) for name, default in named.items()}
    files = fields.pop("files", {})
    workflow = {
        "name": "report",
        "budget": [{"usd": "1.00"}],
        "defaults": {"model": "m"},
        "steps": list(steps) or [{"id": "a", "sleep": "1s"}],
        **fields,
    }
    bundle = read_bundle({"workflow": workflow, **({"files": files} if files else {})})
    of_submission["given"] = filled(bundle.workflow, of_submission["given"])
    return Submission(organisation="acme", bundle=bundle, by="ann", **of_submission)
