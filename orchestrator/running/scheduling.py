"""Submits what schedules say, each time once.

A run is submitted in the transaction that moves its schedule on, under a name that says which time
it is for: however many executors look, and whatever dies in between, a time has one run.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.bundle import bundle_from
from orchestrator.problems import DefinitionInvalid
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.journal import Doing
from orchestrator.running.kit import Kit
from orchestrator.running.rows import number
from orchestrator.running.schedule_acts import AWAKE, STOPPED
from orchestrator.running.submitting import NameTaken, Submission, Submit
from orchestrator.schedules import ScheduleInvalid, timetable

AT_ONCE_MAX = 100


class Scheduling:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def round(self) -> None:
        """All that is due. Raises DatabaseAway."""
        journal = self._kit.journal
        for organisation, name in await journal.write(Doing(_due)):
            if await journal.write(SubmitDue(organisation, name)):
                self._kit.nudge()


def _due(database: Database, now_ms: int) -> list[tuple[str, str]]:
    rows = database.rows(sql("due_schedules"), (now_ms, AT_ONCE_MAX))
    return [(str(organisation), str(name)) for organisation, name in rows]


@dataclass(frozen=True, slots=True)
class SubmitDue:
    """A schedule whose time has come submits its run. Of times that were missed, because nobody was
    there to look, only the last one has a run. What cannot go on is paused, and says why. Answers
    the run's id; empty where there is none, because it is not due any more, or somebody else is at
    it."""

    organisation: str
    name: str
    hold: None = None

    def __call__(self, database: Database, now_ms: int) -> str:
        """See journal.Act."""
        there = (self.organisation, self.name)
        for row in database.rows(sql("due_schedule"), (*there, now_ms)):
            run, next_ms, error = self._submitted(database, now_ms, row)
            paused = AWAKE if next_ms else STOPPED
            moved = (next_ms or now_ms, paused, error, run or None, *there)
            database.execute(sql("move_schedule"), moved)
            return run
        return ""

    def _submitted(self, database: Database, now_ms: int, row: Row) -> tuple[str, int | None, str]:
        """The run, when the next one is due (None: never), and what is wrong."""
        scope, document, folder, given, cron, zone, due_ms, by = row
        try:
            times = timetable(str(cron), str(zone))
            submission = Submission(
                organisation=self.organisation,
                scope=str(scope),
                bundle=bundle_from(str(document)),
                given=json.loads(str(given)),
                by=str(by),
                folder=str(folder),
                is_scheduled=True,
                named=run_name(self.name, times.last(number(due_ms), now_ms)),
            )
        except (ScheduleInvalid, DefinitionInvalid) as error:  # by a version that is not this one
            return "", None, str(error)
        next_ms = times.after(now_ms)
        try:
            run = Submit(submission)(database, now_ms).run
        except NameTaken as error:  # a clock was set back, and the schedule changed
            return "", next_ms, str(error)
        return run, next_ms, "" if next_ms else "this was the last time within fifty years"


def run_name(schedule: str, due_ms: int) -> str:
    """Under which a schedule submits the run of a time."""
    return f"{schedule}@{datetime.fromtimestamp(due_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
