"""What comes of a step, and the event that tells it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from budgets.session import Clock
from orchestrator.definition import Step
from orchestrator.events import RunEventType, event_id, of_attempt, of_run, resolved_id
from orchestrator.kinds.approval import Approval
from orchestrator.kinds.contract import Signal
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.progress import Task, TaskStatus
from orchestrator.running.rows import ClaimedRun, Telling
from orchestrator.unread import value_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task as it is from now on. `begins` its attempt, or `ended` it, with which status;
    `telling` says so in the records; `reads_signal`: it has read what it was told."""

    state: Task
    telling: Telling | None = None
    begins: bool = False
    ended: str = ""
    reads_signal: bool = False


def asking(place: RunPlace, epoch: int, now_ms: int, reason: str, caused_by: str) -> Telling:
    """A run's budget is used up, and somebody is to raise it: once in each epoch of the run,
    whoever says so."""
    detail = {"asks_for": "budget", "reason": reason}
    event = of_run(place, triggered_by=caused_by, detail=detail)
    id_ = event_id(now_ms, place.id, "asking", str(epoch))
    return Telling(id_, place.organisation, "approval_requested", event)


class Told:
    """Writes what is told of one run. Ids of events begin with their time, so that the last of
    several is the greatest."""

    def __init__(self, claimed: ClaimedRun, clock: Clock) -> None:
        self._claimed = claimed
        self._clock = clock

    def started(self, step: Step, task: TaskId, state: Task, caused_by: str) -> Outcome:
        """An attempt begins; `caused_by`: the event that it follows from."""
        detail = {"round": state.round} if step.until else {}
        telling = self._of_attempt("step_started", step, task, state, detail, caused_by)
        return Outcome(replace(state, told_by=telling.id), telling, begins=True)

    def completed(self, step: Step, task: TaskId, state: Task) -> Outcome:
        """The step, or the entry, is done."""
        detail = {"output": value_of(state.output)}
        telling = self._of_attempt("step_completed", step, task, state, detail)
        ended = replace(state, told_by=telling.id)
        return Outcome(ended, telling, ended="done", reads_signal=True)

    def rounded(self, step: Step, task: TaskId, state: Task) -> Outcome:
        """One round of several is done."""
        detail = {"round": state.round - 1, "output": value_of(state.last)}
        telling = self._of_attempt("step_completed", step, task, state, detail)
        ended = replace(state, told_by=telling.id)
        return Outcome(ended, telling, ended="done", reads_signal=True)

    def failed(self, step: Step, task: TaskId, state: Task, caused_by: str = "") -> Outcome:
        """An attempt has failed; `state` says whether another one comes."""
        detail = {"error": state.error, "again": state.status == "again"}
        telling = self._of_attempt("step_failed", step, task, state, detail, caused_by)
        ended = replace(state, told_by=telling.id)
        return Outcome(ended, telling, ended="failed", reads_signal=True)

    def failed_early(self, step: Step, task: TaskId, message: str, caused_by: str) -> Outcome:
        """A step that cannot begin: a template of its own says nothing that it could begin with."""
        status: TaskStatus = "skipped" if step.on_failure == "skip" else "failed"
        state = Task(status, begun_ms=self._clock.now_ms(), error=message)
        return replace(self.failed(step, task, state, caused_by), ended="", reads_signal=False)

    def skipped(self) -> Outcome:
        """Its `when` is false, or what it needs was skipped: no event of the log says that."""
        return Outcome(Task("skipped", begun_ms=self._clock.now_ms()))

    def held(self, state: Task) -> Outcome:
        """An attempt that counts as none: another one comes."""
        return Outcome(state, ended="held")

    def waiting(self, step: Step, task: TaskId, state: Task, *, is_first: bool) -> Outcome:
        """Nothing to do until it is told something, or its time has come."""
        if not is_first or not isinstance(step.action, Approval):
            return Outcome(state)
        detail = {"until_ms": state.wake_at_ms}
        telling = self._of_attempt("approval_requested", step, task, state, detail)
        return Outcome(replace(state, told_by=telling.id), telling)

    def heard(self, step: Step, task: TaskId, state: Task, signal: Signal) -> Task:
        """A step that was told something: what somebody has decided is an event, and what comes of
        it follows from that."""
        if not isinstance(step.action, Approval):
            return state
        place = AttemptPlace(self._claimed.place, task, state.attempt)
        return replace(state, told_by=resolved_id(place, signal.at_ms))

    def asking(self, reason: str, caused_by: str) -> Telling:
        """See `asking`."""
        claimed, now_ms = self._claimed, self._clock.now_ms()
        return asking(claimed.place, claimed.epoch, now_ms, reason, caused_by)

    def _of_attempt(
        self,
        event_type: RunEventType,
        step: Step,
        task: TaskId,
        state: Task,
        detail: Mapping[str, Any],
        caused_by: str = "",
    ) -> Telling:
        place = AttemptPlace(self._claimed.place, task, state.attempt)
        event = of_attempt(
            place,
            agent=step.agent or "",
            triggered_by=caused_by or state.told_by,
            detail={"kind": step.action.kind, **detail},
        )
        id_ = event_id(self._clock.now_ms(), place.name, event_type)
        return Telling(id_, place.run.organisation, event_type, event)
