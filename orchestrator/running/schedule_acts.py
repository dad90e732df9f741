"""What people decide about schedules: acts of the journal."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.bundle import Bundle
from orchestrator.inputs import filled
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.rows import number
from orchestrator.schedules import ScheduleInvalid, timetable

SCHEDULES_MAX = 1_000
"""Of an organisation."""
AWAKE, PAUSED, STOPPED = 0, 1, 2
"""In the column `paused`: stopped is what could not go on."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class NoSuchSchedule(LookupError):
    """None of this organisation has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name}: `comptroller run schedules` lists them")


@dataclass(frozen=True, slots=True)
class Schedule:
    """As it is shown. `given`: None where it is long; `next_ms`: when it is due, ms since 1970, of
    no meaning while it is paused; `last_run`: empty before the first; `error`: why the last time
    came to nothing."""

    organisation: str
    name: str
    scope: str
    workflow: str
    definition_id: str
    folder: str
    given: Mapping[str, Any] | None
    cron: str
    zone: str
    next_ms: int
    is_paused: bool
    by: str
    created_ms: int
    last_run: str
    error: str


@dataclass(frozen=True, slots=True)
class PutSchedule:
    """There is a schedule of this name, and this is what it submits from now on: runs of `bundle`
    below `scope`, with `given` as input, at times of `cron` (five fields) in `zone`. One that
    somebody has paused stays so; where its times are the same, one that is due stays due. Raises
    ScheduleInvalid, DefinitionInvalid."""

    organisation: str
    name: str
    scope: str
    bundle: Bundle
    cron: str
    by: str
    zone: str = "UTC"
    given: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    hold: None = None

    def next_ms(self, now_ms: int) -> int:
        """When it is due first. Raises ScheduleInvalid."""
        if not NAME.fullmatch(self.name):
            raise ScheduleInvalid("name", "a name has a-z, 0-9, _ and -, at most 63 of them")
        return _first_ms(self.cron, self.zone, now_ms)

    def __call__(self, database: Database, now_ms: int) -> Schedule:
        """See journal.Act."""
        next_ms = self.next_ms(now_ms)
        _check_room(database, self.organisation, self.name)
        bundle = self.bundle
        database.execute(
            sql("put_schedule"),
            (
                *(self.organisation, self.name, self.scope, bundle.workflow.name),
                *(bundle.definition_id(self.organisation, self.folder), bundle.text, self.folder),
                *(json.dumps(filled(bundle.workflow, self.given)), self.cron, self.zone),
                *(next_ms, self.by, now_ms),
            ),
        )
        return schedule(database, self.organisation, self.name)


@dataclass(frozen=True, slots=True)
class _Named:
    """About one that is there. Raises NoSuchSchedule."""

    organisation: str
    name: str
    hold: None = None


@dataclass(frozen=True, slots=True)
class PauseSchedule(_Named):
    """Nothing is submitted until it is resumed."""

    def __call__(self, database: Database, now_ms: int) -> Schedule:
        """See journal.Act."""
        del now_ms
        statement = "update schedules set paused = ? where org = ? and name = ?"
        database.execute(statement, (PAUSED, self.organisation, self.name))
        return schedule(database, self.organisation, self.name)


@dataclass(frozen=True, slots=True)
class ResumeSchedule(_Named):
    """It goes on with the next time that comes: what was due meanwhile stays undone. Raises
    ScheduleInvalid, too, where none comes any more."""

    def __call__(self, database: Database, now_ms: int) -> Schedule:
        """See journal.Act."""
        there = (self.organisation, self.name)
        for cron, zone in database.rows(sql("schedule_times"), there):
            next_ms = _first_ms(str(cron), str(zone), now_ms)
            database.execute(sql("resume_schedule"), (next_ms, *there))
        return schedule(database, *there)


@dataclass(frozen=True, slots=True)
class RemoveSchedule(_Named):
    """It is gone. Its runs stay as they are."""

    def __call__(self, database: Database, now_ms: int) -> Schedule:
        """See journal.Act. Answers what it was."""
        del now_ms
        found = schedule(database, self.organisation, self.name)
        statement = "delete from schedules where org = ? and name = ?"
        database.execute(statement, (self.organisation, self.name))
        return found


def _first_ms(cron: str, zone: str, now_ms: int) -> int:
    """When it is due next. Raises ScheduleInvalid."""
    next_ms = timetable(cron, zone).after(now_ms)
    if next_ms is None:
        raise ScheduleInvalid("cron", f"{cron!r} does not come within fifty years")
    return next_ms


def schedule(database: Database, organisation: str, name: str) -> Schedule:
    """One of them. Raises NoSuchSchedule."""
    statement = f"{sql('schedules')} where org = ? and name = ?"
    for row in database.rows(statement, (organisation, name)):
        return _schedule_from(row)
    raise NoSuchSchedule(name)


def page(
    database: Database, organisation: str, after: tuple[str, str], limit: int
) -> list[Schedule]:
    """Those of an organisation ("": of all) beyond an organisation and name."""
    of, name = after
    condition, values = "(org > ? or (org = ? and name > ?))", [of, of, name]
    if organisation:
        condition, values = f"{condition} and org = ?", [*values, organisation]
    statement = f"{sql('schedules')} where {condition} order by org, name limit ?"
    return [*map(_schedule_from, database.rows(statement, (*values, limit)))]


def organisations_with(database: Database, organisation: str, name: str) -> list[str]:
    """Which of them (that one; "": all) have a schedule of this name; two at most."""
    if not NAME.fullmatch(name):
        return []
    statement = "select org from schedules where name = ? and ? in (org, '') order by org limit 2"
    return [str(org) for (org,) in database.rows(statement, (name, organisation))]


def _check_room(database: Database, organisation: str, name: str) -> None:
    statement = "select count(*) from schedules where org = ? and name <> ?"
    ((others,),) = database.rows(statement, (organisation, name))
    if number(others) >= SCHEDULES_MAX:
        message = f"{organisation} has {SCHEDULES_MAX} schedules, which is the most: remove some"
        raise ScheduleInvalid("name", message)


def _schedule_from(row: Row) -> Schedule:
    """Of a row of schedules.sql."""
    org, name, scope, workflow, definition, folder, given, cron, zone, *rest = row
    next_ms, paused, by, created_ms, last_run, error = rest
    return Schedule(
        organisation=str(org),
        name=str(name),
        scope=str(scope),
        workflow=str(workflow),
        definition_id=str(definition),
        folder=str(folder),
        given=None if given is None else json.loads(str(given)),
        cron=str(cron),
        zone=str(zone),
        next_ms=number(next_ms),
        is_paused=paused != AWAKE,
        by=str(by),
        created_ms=number(created_ms),
        last_run=str(last_run or ""),
        error=str(error),
    )
