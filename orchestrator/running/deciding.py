"""What people decide about runs: acts of the journal. Each answers what the run is then, or raises
NotPossible with what can be done instead."""

from dataclasses import dataclass, field
from typing import Any

from budgets.policy import Limit
from orchestrator.bundle import bundle_from
from orchestrator.events import event_id, of_attempt, of_run, resolved_id
from orchestrator.kinds.approval import Approval
from orchestrator.kinds.contract import Signal
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.progress import ENDED, RunStatus
from orchestrator.running.acts import End, last_told, signal, tell, tell_of_run
from orchestrator.running.database import Database, sql
from orchestrator.running.journal import marks
from orchestrator.running.limits import limits_from, limits_text
from orchestrator.running.rows import Telling, fences_from, number

_HEARS = frozenset(("running", "waiting"))


class NoSuchRun(LookupError):
    """No run has this id, in this organisation."""

    def __init__(self, run: str) -> None:
        super().__init__(f"there is no run {run}: `comptroller run list` shows those there are")


class NotPossible(ValueError):
    """The run is not in a state for that; the message says what can be done."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run that a decision is about."""

    place: RunPlace
    status: RunStatus
    budget: tuple[Limit, ...]
    error: str


def find(database: Database, organisation: str, run: str) -> Found:
    """Locked until the end of the transaction. `organisation`: empty for any. Raises NoSuchRun."""
    for row in database.rows(sql("found"), (run,)):
        id_, org, scope, workflow, version, status, budget, error, fences = row
        if organisation in ("", org):
            place = RunPlace(
                *(str(id_), str(scope), str(workflow), number(version)), fences_from(str(fences))
            )
            state: RunStatus = str(status)  # type: ignore[assignment]  # we wrote it
            return Found(place, state, limits_from(str(budget)), str(error))
    raise NoSuchRun(run)


NOWHERE = TaskId("")


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a person about a run."""

    organisation: str
    run: str
    by: str
    hold: None = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class Cancel(Decision):
    """The run and all inside it end now; its keys are dead at once."""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        if found.status in ENDED:
            return found.status
        End(self.run, "cancelled", error=f"cancelled by {self.by}")(database, now_ms)
        return "cancelled"


@dataclass(frozen=True, slots=True)
class Pause(Decision):
    """Nothing new begins, also in runs inside it; what is at work ends, and keeps its result."""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        match found.status:
            case "running":
                self._pause(database, found)
            case "queued" | "waiting":
                self._pause(database, found)
                return "paused"
            case "paused":
                pass
            case "asking":
                raise NotPossible(f"run {self.run} asks for more budget: approve or cancel it")
            case _:
                raise NotPossible(f"run {self.run} is over ({found.status})")
        return found.status

    def _pause(self, database: Database, found: Found) -> None:
        for run in (self.run, *inside(database, found.place)):
            database.execute(sql("want"), ("pause", run))
            database.execute(sql("pause"), (run,))


def inside(database: Database, place: RunPlace) -> list[str]:
    """Runs inside of a run, at any depth, that are not over."""
    scope = f"{place.scope}/"
    rows = database.rows(sql("below"), (place.organisation, len(scope), scope))
    return [str(row[0]) for row in rows]


@dataclass(frozen=True, slots=True)
class Resume(Decision):
    """A run that was paused goes on, and all inside it."""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        if found.status == "asking":
            raise NotPossible(f"run {self.run} asks for more budget: approve it with one")
        if found.status not in ("paused", "running"):
            raise NotPossible(f"run {self.run} is {found.status}: only what is paused is resumed")
        for run in (self.run, *inside(database, found.place)):
            database.execute(sql("want"), ("", run))
            database.execute(sql("resume"), (now_ms, run))
        return find(database, self.organisation, self.run).status


@dataclass(frozen=True, slots=True)
class RetryFailed(Decision):
    """Steps that have failed are tried again, with all their attempts, and their rounds from the
    last output on; what is done stays. Servers whose keys have ended with the run are asked again.
    Raises DefinitionInvalid."""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        if found.status != "failed":
            raise NotPossible(
                f"run {self.run} is {found.status}: only what has failed is tried again; "
                f"`comptroller run fork {self.run} --from STEP` begins a new run with its results"
            )
        # What failed before its first attempt has not been looked at: it begins as it would have.
        database.execute(sql("forget_unbegun"), (self.run,))
        database.execute(sql("fail_again"), (now_ms, self.run))
        self._ask_again(database, now_ms)
        for statement in ("forget_inside", "forget_stale"):
            database.execute(sql(statement), (self.run,))
        database.execute(sql("reopen"), (self.run,))
        return "queued"

    def _ask_again(self, database: Database, now_ms: int) -> None:
        ((document,),) = database.rows(sql("document_of"), (self.run,))
        steps = bundle_from(str(document)).workflow.steps
        asked = [step.id for step in steps if step.action.hands_key_on]
        if asked:
            statement = sql("ask_again").replace(":steps", marks(len(asked)))
            database.execute(statement, (now_ms, self.run, *asked))


@dataclass(frozen=True, slots=True)
class Approve(Decision):
    """A step that asks is told yes or no."""

    task: TaskId = NOWHERE
    approved: bool = False
    comment: str = ""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        rows = database.rows(sql("asked"), (self.run, *self.task))
        if found.status in ENDED or not rows or not _is_approval(str(rows[0][2]), self.task):
            raise NotPossible(f"{self.task.label} of run {self.run} does not ask for an approval")
        said = {"approved": self.approved, "comment": self.comment}
        if not signal(database, self.run, self.task, Signal(self.by, now_ms, said)):
            raise NotPossible(f"{self.task.label} of run {self.run} was decided already")
        place = AttemptPlace(found.place, self.task, number(rows[0][0]))
        event = of_attempt(place, by=self.by, triggered_by=str(rows[0][1]), detail=said)
        id_ = resolved_id(place, now_ms)
        tell(database, now_ms, Telling(id_, place.run.organisation, "approval_resolved", event))
        return found.status


def _is_approval(document: str, task: TaskId) -> bool:
    steps = bundle_from(document).workflow.steps
    return any(isinstance(each.action, Approval) for each in steps if each.id == task.step)


@dataclass(frozen=True, slots=True)
class CallBack:
    """What a server says to a step that waits for it: the step's output. Said again, it is as
    before. It may come before the server has answered the request. Raises NoSuchRun, NotPossible
    where the attempt has ended otherwise."""

    run: str
    task: TaskId
    attempt: int
    payload: Any
    hold: None = None

    def __call__(self, database: Database, now_ms: int) -> None:
        """See journal.Act."""
        found = find(database, "", self.run)
        rows = database.rows(sql("called"), (self.run, *self.task, self.attempt))
        over = f"attempt {self.attempt} at {self.task.label} of run {self.run} is over"
        if not rows:
            raise NotPossible(over)
        ((status, at_present, state),) = rows
        if status == "done":
            return
        if found.status in ENDED or at_present != self.attempt or state not in _HEARS:
            raise NotPossible(over)
        signal(database, self.run, self.task, Signal("callback", now_ms, self.payload))


@dataclass(frozen=True, slots=True)
class RaiseBudget(Decision):
    """A run that asks for more gets it, and goes on; without limits it is halted instead."""

    limits: tuple[Limit, ...] = ()
    comment: str = ""

    def __call__(self, database: Database, now_ms: int) -> RunStatus:
        """See journal.Act."""
        found = find(database, self.organisation, self.run)
        if found.status != "asking":
            raise NotPossible(f"run {self.run} is {found.status}: it does not ask for more budget")
        status: RunStatus = "queued" if self.limits else "halted"
        if self.limits:
            raised = limits_text(_raised(found.budget, self.limits))
            database.execute(sql("raise_budget"), (raised, self.run))
        else:
            End(self.run, "halted", error=f"{found.error}; {self.by} gave no more")(
                database, now_ms
            )
        detail = {"approved": bool(self.limits), "comment": self.comment}
        cause = last_told(database, found.place)
        event = of_run(found.place, by=self.by, triggered_by=cause, detail=detail)
        id_ = event_id(now_ms, self.run, "approval_resolved")
        telling = Telling(id_, found.place.organisation, "approval_resolved", event)
        tell_of_run(database, now_ms, self.run, telling)
        return status


def _raised(now: tuple[Limit, ...], wanted: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """Raises NotPossible for a limit that is not there, or would not be raised."""
    given = {each.identity: each for each in wanted}
    if unknown := given.keys() - {each.identity for each in now}:
        dimension, window, _ = min(unknown)
        raise NotPossible(f"the run has no limit of {dimension} ({window}): raise one that it has")
    for each in now:
        if each.identity in given and given[each.identity].amount <= each.amount:
            raise NotPossible(f"the limit of {each.dimension} is not above what the run has")
    return tuple(given.get(each.identity, each) for each in now)
