"""A run comes into being: acts of the journal."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.bundle import Bundle
from orchestrator.definition import Workflow
from orchestrator.events import of_run, submitted_id
from orchestrator.places import RunPlace, TaskId, new_run_id
from orchestrator.progress import RunStatus
from orchestrator.running.acts import tell
from orchestrator.running.database import Database, sql
from orchestrator.running.journal import Hold, Overtaken
from orchestrator.running.limits import limits_text
from orchestrator.running.rows import Telling, number


class NameTaken(ValueError):
    """Another run was submitted under this name; `run` is its id."""

    def __init__(self, named: str, run: str) -> None:
        super().__init__(
            f"a run was submitted as {named} already, and is not the same: {run}; its definition, "
            "input, scope, start, or what it is forked from is another one; choose another name, "
            "or leave it out"
        )
        self.run = run


def drawn_id() -> str:
    """Of a run that is to be."""
    return new_run_id(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Inside:
    """The step that starts a run: `fences` are its attempt's, `told_by` the event that told its
    beginning."""

    run: str
    task: TaskId
    depth: int
    fences: tuple[tuple[str, int], ...]
    told_by: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """`scope`: where the run's own is to be, below; `named`: under which the same submission is one
    run, empty for none; `start_ms`: not before (0: now), `start_in_ms`: the same, from now;
    `forked_step`: where it begins, of a fork; `run`: its id, so that it is one run also where it is
    written again because nobody knows whether it was."""

    organisation: str
    scope: str
    bundle: Bundle
    given: Mapping[str, Any]
    by: str
    folder: str = ""
    named: str = ""
    start_ms: int = 0
    start_in_ms: int = 0
    inside: Inside | None = None
    forked_from: str = ""
    forked_step: str = ""
    is_scheduled: bool = False
    run: str = field(default_factory=drawn_id)

    @property
    def is_by_hand(self) -> bool:
        """Whether somebody wants the workflow to be so from now on: a fork, a schedule, and a step
        that starts it take it as it was."""
        return self.inside is None and not (self.forked_from or self.is_scheduled)

    @property
    def terms(self) -> str:
        """What makes it the same beside definition and input, as it was said: when it starts is
        another time whenever it is said."""
        start = (self.start_ms, self.start_in_ms)
        return json.dumps((self.scope, *start, self.forked_from, self.forked_step))


@dataclass(frozen=True, slots=True)
class Submitted:
    """`is_new`: it was not there before."""

    run: str
    version: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """Raises NameTaken; Overtaken where the run that it is to be inside of is over. `hold`: of that
    run. One that is paused, or is to be, has its new run paused, too: they go on together."""

    wanted: Submission
    hold: Hold | None = None

    def __call__(self, database: Database, now_ms: int) -> Submitted:
        """See journal.Act."""
        wanted = self.wanted
        if wanted.inside is not None and database.rows(sql("over"), (wanted.inside.run,)):
            raise Overtaken(wanted.inside.run)
        definition = wanted.bundle.definition_id(wanted.organisation, wanted.folder)
        given = json.dumps(wanted.given)
        if wanted.named and (found := _named(database, wanted, definition, given)):
            return found
        version = _version(database, wanted, definition, now_ms)
        place = self._place(version)
        if not self._insert(database, place, definition, given, now_ms):
            found = _named(database, wanted, definition, given) if wanted.named else None
            return found or Submitted(place.id, version, is_new=False)
        event = self._event(place)
        id_ = submitted_id(place, now_ms)
        tell(database, now_ms, Telling(id_, place.organisation, "run_submitted", event))
        return Submitted(place.id, version, is_new=True)

    def _event(self, place: RunPlace) -> bytes:
        wanted, inside = self.wanted, self.wanted.inside
        detail = {"input": wanted.given, "forked_from": wanted.forked_from}
        if inside is None:
            return of_run(place, by=wanted.by, detail=detail)
        detail |= {"parent": inside.run, "parent_step": inside.task.label}
        return of_run(place, by=wanted.by, triggered_by=inside.told_by, detail=detail)

    def _place(self, version: int) -> RunPlace:
        wanted, id_ = self.wanted, self.wanted.run
        name = wanted.bundle.workflow.name
        below = id_ if wanted.inside else f"{name}/{id_}"
        fences = wanted.inside.fences if wanted.inside else ()
        return RunPlace(id_, f"{wanted.scope}/{below}", name, version, fences)

    def _insert(
        self, database: Database, place: RunPlace, definition: str, given: str, now_ms: int
    ) -> bool:
        """Not where somebody else has just submitted it."""
        wanted, workflow = self.wanted, self.wanted.bundle.workflow
        inside, start_ms = wanted.inside, wanted.start_ms or now_ms + wanted.start_in_ms
        waits = start_ms > now_ms
        status: RunStatus = "waiting" if waits else "queued"
        if inside is not None and database.rows(sql("pauses"), (inside.run,)):
            status = "paused"
        parent = (inside.run, *inside.task, inside.depth) if inside else (None, None, None, 0)
        row = database.execute(
            sql("submit"),
            (
                *(place.id, place.organisation, place.scope, definition, place.workflow),
                *(place.version, given, limits_text(workflow.budget), status),
                *(start_ms if waits else None, wanted.by, wanted.named or None, wanted.terms),
                *(*parent[:3], wanted.forked_from or None, parent[3]),
                *(workflow.on_exhausted, ",".join(_limited(workflow)), workflow.runs_at_once),
                *(json.dumps(place.fences), now_ms),
            ),
        )
        return row > 0


def _limited(workflow: Workflow) -> list[str]:
    return [step.id for step in workflow.steps if step.budget]


def _named(database: Database, wanted: Submission, definition: str, given: str) -> Submitted | None:
    """The run that was submitted under this name. Raises NameTaken where it is another one."""
    rows = database.rows(sql("named"), (wanted.organisation, wanted.named))
    for run, version, *there in rows:
        if there != [definition, given, wanted.terms]:
            raise NameTaken(wanted.named, str(run))
        return Submitted(str(run), number(version), is_new=False)
    return None


def _version(database: Database, wanted: Submission, definition: str, now_ms: int) -> int:
    """Of this definition: its own, or, where a different one had that, the next."""
    organisation, workflow = wanted.organisation, wanted.bundle.workflow
    for (version,) in database.rows("select version from definitions where id = ?", (definition,)):
        if wanted.is_by_hand:
            database.execute(sql("renew_definition"), (definition,))
        return number(version)
    text, folder = wanted.bundle.text, wanted.folder
    while True:  # somebody else may submit another one at the same time
        rows = database.rows(sql("versions_of"), (organisation, workflow.name))
        version = max([workflow.version, *(number(last) + 1 for _, last in rows)])
        row = (definition, organisation, workflow.name, version, text, folder, now_ms)
        if database.execute(sql("put_definition"), (*row, organisation, workflow.name)):
            return version
        same = database.rows("select version from definitions where id = ?", (definition,))
        if same:
            return number(same[0][0])
