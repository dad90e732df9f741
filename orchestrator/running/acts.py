"""What an executor writes: acts of the journal, one transaction or part of one each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.events import submitted_id
from orchestrator.kinds.contract import Signal
from orchestrator.places import RunPlace, TaskId
from orchestrator.progress import ENDED, RunStatus, Task
from orchestrator.running.database import Database, Row, Value, sql
from orchestrator.running.journal import Hold, marks
from orchestrator.running.outputs import RUN_BYTES_MAX, stored, written
from orchestrator.running.rows import (
    ClaimedRun,
    Telling,
    claimed_from,
    number,
    signal_from,
    task_from,
)
from orchestrator.unread import Unread, unread

CLAIMED_AT_ONCE_MAX = 200
CLAIMED_BYTES_MAX = RUN_BYTES_MAX
"""Of all runs of a claim together, but for the first."""
SOON_MS = 2_000
"""A run that is parked for less than this waits for its time, also where it was told something."""
_TASK_BYTES = 1_024
"""What a task takes beside its output."""
_ORDERS = 10_000
_order = itertools.count()


@dataclass(frozen=True, slots=True)
class Claim:
    """Takes runs that are due, `most` of them, or fewer where they are long: a server ends
    transactions that go on for seconds. Answers them as they are, and when the next one that waits
    is due (None: none)."""

    executor: str
    most: int
    hold: None = None

    def __call__(self, database: Database, now_ms: int) -> tuple[list[ClaimedRun], int | None]:
        """See journal.Act."""
        most = min(self.most, CLAIMED_AT_ONCE_MAX)
        times = (now_ms, now_ms + SOON_MS)
        ids = [str(row[0]) for row in database.rows(sql("claim"), (self.executor, *times, most))]
        ids = _within_limits(database, ids) if ids else []
        ids = _within_bytes(database, ids) if ids else []
        runs = _runs(database, ids) if ids else []
        ((due,),) = database.rows(sql("next_due"))
        return runs, None if due is None else number(due)


def _within_limits(database: Database, ids: list[str]) -> list[str]:
    """Without those that are too many of their workflow, which are put back: one statement may
    have claimed several at once, and so may another executor."""
    limited: dict[tuple[str, str, int], list[str]] = {}
    for run, org, workflow, most in database.rows(
        sql("limited").replace(":runs", marks(len(ids))), ids
    ):
        limited.setdefault((str(org), str(workflow), number(most)), []).append(str(run))
    for (org, workflow, most), claimed in sorted(limited.items()):
        database.rows(sql("lock_workflow"), (org, workflow))
        ((at_work,),) = database.rows(sql("runs_at_work"), (org, workflow))
        for run in claimed[::-1][: max(0, number(at_work) - most)]:
            database.execute(sql("put_back"), (run,))
            ids.remove(run)
    return ids


def _within_bytes(database: Database, ids: list[str]) -> list[str]:
    """Without those that are too long together, which are put back."""
    statement = sql("sizes_of").replace(":runs", marks(len(ids)))
    taken: list[str] = []
    total = 0
    for run, size in database.rows(statement, (_TASK_BYTES, *ids)):
        total += number(size)
        if taken and total > CLAIMED_BYTES_MAX:
            database.execute(sql("put_back"), (str(run),))
        else:
            taken.append(str(run))
    return taken


def _runs(database: Database, ids: Sequence[str]) -> list[ClaimedRun]:
    rows = database.rows(sql("claimed").replace(":runs", marks(len(ids))), ids)
    runs = {run.place.id: run for run in map(claimed_from, rows)}
    for row in database.rows(sql("tasks_of").replace(":runs", marks(len(ids))), ids):
        run, task, state = task_from(row)
        runs[run].tasks[task] = state
    for row in database.rows(sql("signals_of_runs").replace(":runs", marks(len(ids))), ids):
        run, task, told = signal_from(row)
        runs[run].signals[task] = told
    return list(runs.values())


@dataclass(frozen=True, slots=True)
class Put:
    """A task is so from now on; `begins` or `ends` its attempt (ended: with which status), and what
    is told of it. `reads_signal`: it has read what it was told."""

    hold: Hold
    task: TaskId
    state: Task
    telling: Telling | None = None
    begins: bool = False
    ended: str = ""
    reads_signal: bool = False

    def __call__(self, database: Database, now_ms: int) -> None:
        """See journal.Act."""
        state, place = self.state, (self.hold.run, *self.task)
        output, last = (
            None if each is None else stored(database, each) for each in (state.output, state.last)
        )
        database.execute(
            sql("put_task"),
            (
                *(*place, state.status, state.attempt, state.failures, state.round),
                *(state.wake_at_ms, state.begun_ms, now_ms if state.has_ended else None),
                sum(each.size for each in (output, last) if each is not None),
                None if output is None else output.text,
                None if last is None else last.text,
                *(written(state.error), state.told_by, state.held),
            ),
        )
        if self.begins:
            owner = (self.hold.epoch, self.hold.executor)
            database.execute(sql("begin_attempt"), (*place, state.attempt, *owner, now_ms))
        if self.ended:
            told = (self.ended, written(state.error), now_ms)
            database.execute(sql("end_attempt"), (*told, *place, state.attempt))
        if self.reads_signal:
            database.execute(sql("forget_signal"), place)
        if self.telling is not None:
            tell(database, now_ms, self.telling)


@dataclass(frozen=True, slots=True)
class Park:
    """A run waits for a time (ms since 1970; None: for whoever tells it something)."""

    hold: Hold
    until_ms: int | None

    def __call__(self, database: Database, now_ms: int) -> None:
        """See journal.Act."""
        database.execute(sql("park"), (self.until_ms, self.hold.run, self.hold.epoch))


@dataclass(frozen=True, slots=True)
class Leave:
    """A run leaves its executor, and is `status` then; `error` says why it cannot go on."""

    hold: Hold
    status: RunStatus
    error: str = ""
    telling: Telling | None = None

    def __call__(self, database: Database, now_ms: int) -> None:
        """See journal.Act."""
        told = (self.status, self.status, written(self.error))
        database.execute(sql("leave"), (*told, self.hold.run, self.hold.epoch))
        if self.telling is not None:
            tell_of_run(database, now_ms, self.hold.run, self.telling)


@dataclass(frozen=True, slots=True)
class End:
    """A run is over: by its executor (`hold`), or by who may decide over it. Answers whether it was
    not before. The step that waits for it is told."""

    run: str
    status: RunStatus
    output: object = None
    error: str = ""
    hold: Hold | None = None

    def __call__(self, database: Database, now_ms: int) -> bool:
        """See journal.Act."""
        assert self.status in ENDED
        output = None if self.output is None else stored(database, self.output).text
        epoch = -1 if self.hold is None else self.hold.epoch
        said = (self.status, output, written(self.error), now_ms, self.run, epoch, epoch)
        if not database.execute(sql("end_run"), said):
            return False
        for row in database.rows(sql("parent_of"), (self.run,)):
            _tell_parent(database, self.run, row, now_ms)
        return True


@dataclass(frozen=True, slots=True)
class EndBelow:
    """Runs inside of a scope, at any depth, are cancelled; where it is that of a run (`of`), only
    while that is over. Answers which."""

    organisation: str
    scope: str
    of: str = ""
    hold: Hold | None = None

    def __call__(self, database: Database, now_ms: int) -> list[str]:
        """See journal.Act."""
        if self.of and not database.rows(sql("over"), (self.of,)):
            return []
        inside = f"{self.scope}/"
        where = (self.organisation, len(inside), inside)
        runs = [str(row[0]) for row in database.rows(sql("below"), where)]
        for run in runs:
            End(run, "cancelled", error="the run that it is in has ended")(database, now_ms)
        return runs


def _tell_parent(database: Database, run: str, row: Row, now_ms: int) -> None:
    parent, step, entry, *end = row
    task = TaskId(str(step), number(entry))
    signal(database, str(parent), task, Signal("", now_ms, end_told(run, *end)))


def end_told(run: str, status: Value, output: Value, error: Value) -> Unread:
    """What a step hears of the run that it has started, when that has ended. The output, which may
    be long, is not read for that."""
    rest = unread({"run": run, "status": status, "error": error}).text
    return Unread(f'{rest[:-1]},"output":{"null" if output is None else output}}}')


def signal(database: Database, run: str, task: TaskId, told: Signal) -> bool:
    """Tells a step something; whether it had not been told yet."""
    payload = stored(database, told.payload).text
    row = (run, *task, written(told.by), told.at_ms, payload)
    is_new = database.execute(sql("signal"), row) > 0
    database.execute(sql("wake"), (run,))
    return is_new


def tell(database: Database, now_ms: int, telling: Telling) -> None:
    """Puts an event behind those that wait for the ledger."""
    order = now_ms * _ORDERS + next(_order) % _ORDERS
    row = (telling.id, order, telling.organisation, telling.event_type, telling.event.decode())
    database.execute(sql("tell"), row)


def tell_of_run(database: Database, now_ms: int, run: str, telling: Telling) -> None:
    """The same for an event of a run itself."""
    tell(database, now_ms, telling)
    database.execute(sql("told_of_run"), (telling.id, run))


def last_told(database: Database, place: RunPlace) -> str:
    """The last event of a run and its steps: ids begin with their time. What a fork has taken over
    was told of another run, before this one was submitted."""
    ((created_ms, *told),) = database.rows(sql("last_told"), (place.id,))
    return max(submitted_id(place, number(created_ms)), *map(str, told))


@dataclass(frozen=True, slots=True)
class Look:
    """What an executor has: epochs of its runs with what is wanted of them, and what their steps
    were told."""

    executor: str
    hold: None = None

    def __call__(
        self, database: Database, now_ms: int
    ) -> tuple[dict[str, tuple[int, str]], dict[str, dict[TaskId, Signal]]]:
        """See journal.Act."""
        owned = {
            str(run): (number(epoch), str(wanted))
            for run, epoch, wanted in database.rows(sql("owned"), (self.executor,))
        }
        told: dict[str, dict[TaskId, Signal]] = {}
        for row in database.rows(sql("signals_of"), (self.executor,)):
            run, task, each = signal_from(row)
            told.setdefault(run, {})[task] = each
        return owned, told


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """This executor lives for `lease_ms` more; runs of those who do not are to be begun again
    (`is_sole`: of all others). Answers how many that were."""

    executor: str
    lease_ms: int
    is_sole: bool = False
    hold: None = None

    def __call__(self, database: Database, now_ms: int) -> int:
        """See journal.Act."""
        database.execute(sql("heartbeat"), (self.executor, now_ms + self.lease_ms))
        alive_ms = 2**62 if self.is_sole else now_ms  # nobody else is alive
        orphans = database.rows(sql("orphans"), (self.executor, alive_ms))
        for run, executor in orphans:
            database.execute(sql("requeue"), (run, executor))
        database.execute(sql("forget_executors"), (now_ms - self.lease_ms,))
        return len(orphans)


@dataclass(frozen=True, slots=True)
class Requeue:
    """Runs that are this executor's by the database, and that it does not know of: the answer to
    their claim was lost."""

    executor: str
    runs: tuple[str, ...]
    hold: None = None

    def __call__(self, database: Database, now_ms: int) -> None:
        """See journal.Act."""
        for run in self.runs:
            database.execute(sql("requeue"), (run, self.executor))
