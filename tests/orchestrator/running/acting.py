"""Acts on a database of runs, one by one, by executors of a test's own."""

from collections.abc import Callable
from typing import Any

from orchestrator.running.acts import Claim, Heartbeat
from orchestrator.running.database import Database
from orchestrator.running.journal import Hold
from orchestrator.running.submitting import Submission, Submit, Submitted
from tests.orchestrator.running.written_runs import submission

LEASE_MS = 60_000
Write = Callable[[Any], Any]


def submitted(write: Write, wanted: Submission | None = None) -> Submitted:
    found: Submitted = write(Submit(wanted or submission()))
    return found


def claimed(write: Write, executor: str, run: str) -> Hold:
    write(Heartbeat(executor, LEASE_MS))
    runs, _ = write(Claim(executor, 10))
    (found,) = (each for each in runs if each.place.id == run)
    return Hold(run, found.epoch, executor)


def status(database: Database, run: str) -> str:
    return str(database.rows("select status from runs where id = ?", (run,))[0][0])
