"""How far a run has come: which of its steps may begin, and whether it is at its end. Pure.

A run is what its tasks say: no order of calls is replayed, so a run that comes back from the
database goes on where its rows are.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from orchestrator.definition import Step, Workflow
from orchestrator.places import PLAIN, TaskId
from orchestrator.unread import value_of

TaskStatus = Literal["running", "waiting", "again", "fanned", "done", "skipped", "failed"]
RunStatus = Literal[
    "queued", "running", "waiting", "paused", "asking", "done", "failed", "halted", "cancelled"
]
ENDED: frozenset[RunStatus] = frozenset(("done", "failed", "halted", "cancelled"))
TASK_ENDED = frozenset(("done", "skipped", "failed"))


@dataclass(frozen=True, slots=True)
class Task:
    """What the database knows of a task. `waiting`: for a signal or a time; `again`: another
    attempt at `wake_at_ms`; `fanned`: its entries are tasks of their own, and `output` is the list
    of what they are given. `failures`: attempts that count; `round`: of `until`, from 0, and
    `last` the output of the one before; `told_by`: the event that told its end; `held`: why it
    is held, see orchestrator.running.holding. Outputs may be unread."""

    status: TaskStatus
    attempt: int = 0
    failures: int = 0
    round: int = 0
    wake_at_ms: int | None = None
    begun_ms: int = 0
    output: Any = None
    last: Any = None
    error: str = ""
    told_by: str = ""
    held: str = ""

    @property
    def has_ended(self) -> bool:
        """Nothing more comes of it."""
        return self.status in TASK_ENDED


@dataclass(slots=True)
class Progress:
    """`tasks` is kept by whoever runs it; everything else follows."""

    workflow: Workflow
    tasks: dict[TaskId, Task]
    steps: Mapping[str, Step] = field(init=False)
    _open_needs: dict[str, set[str]] = field(init=False)
    _needed_by: dict[str, list[str]] = field(init=False)
    _ready: dict[str, None] = field(init=False)
    _fans: dict[str, "_Fan"] = field(init=False)
    _failed: list[str] = field(init=False)
    _open: set[str] = field(init=False)
    _unfinished: set[TaskId] = field(init=False)
    _elsewhere: set[TaskId] = field(init=False)
    _told_by: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = {step.id: step for step in self.workflow.steps}
        self._fans, self._failed, self._needed_by, self._told_by = {}, [], {}, {}
        for task, state in self.tasks.items():
            self._note_told(task, state)
        for task, state in sorted(self.tasks.items()):
            if state.status == "fanned":
                self._fans[task.step] = _Fan(value_of(state.output))
        for task, state in self.tasks.items():
            if task.entry != PLAIN:
                self._fans[task.step].note(task.entry, state, is_active=self._is_active(task))
        ended = {each for each in self.steps if self.has_ended(each)}
        self._open = self.steps.keys() - ended
        self._unfinished = {task for task, state in self.tasks.items() if _is_unfinished(state)}
        self._elsewhere = {task for task in self._unfinished if self._is_elsewhere(task)}
        self._open_needs = {step.id: set(step.needs) - ended for step in self.workflow.steps}
        for step in self.workflow.steps:
            for need in step.needs:
                self._needed_by.setdefault(need, []).append(step.id)
        self._ready = {
            each: None
            for each, open_ in self._open_needs.items()
            if not open_ and each not in ended
        }
        failed = {task.step for task, state in self.tasks.items() if state.status == "failed"}
        self._failed = [each for each in self.steps if each in failed]

    def has_ended(self, step: str) -> bool:
        """Whether nothing more comes of a step."""
        return self.status(step) in TASK_ENDED

    def status(self, step: str) -> TaskStatus | Literal[""]:
        """Of a step; empty where nothing of it has begun."""
        head = self.tasks.get(TaskId(step))
        if head is None:
            return ""
        if head.status != "fanned":
            return head.status
        if self._fans[step].open:
            return "fanned"
        entries = (self.tasks[TaskId(step, entry)].status for entry in range(self._fans[step].size))
        return "failed" if "failed" in entries else "done"

    def output(self, step: str) -> Any:
        """Of a step that has ended: of a `foreach` the list of its entries' outputs. As they are
        there, read or unread."""
        head = self.tasks[TaskId(step)]
        if head.status != "fanned":
            return head.output if head.status == "done" else None
        return [self.tasks[TaskId(step, entry)].output for entry in range(self._fans[step].size)]

    def told_by(self, steps: tuple[str, ...]) -> str:
        """The event that told the last end among these steps; empty where none did."""
        return max((self._told_by.get(step, "") for step in steps), default="")

    def _note_told(self, task: TaskId, state: Task) -> None:
        """Ids of events begin with their time."""
        self._told_by[task.step] = max(self._told_by.get(task.step, ""), state.told_by)

    def given(self, task: TaskId) -> Any:
        """What an entry of a `foreach` is about."""
        return self._fans[task.step].items[task.entry]

    @property
    def is_failing(self) -> bool:
        """A step, or an entry of one, has failed that the run fails with: nothing new begins."""
        return bool(self._failed)

    @property
    def failed(self) -> tuple[str, ...]:
        """Steps that the run fails with."""
        return tuple(self._failed)

    def ready(self) -> Iterator[Step]:
        """Steps that nothing of has begun, and all that they need has ended."""
        if not self._failed:
            for step in list(self._ready):
                if TaskId(step) not in self.tasks:
                    yield self.steps[step]

    def is_skipped_with(self, step: Step) -> bool:
        """Whether something that it needs was skipped, and it has no `when` of its own to decide
        by."""
        return step.when is True and any(self.status(each) == "skipped" for each in step.needs)

    def startable(self, step: str) -> Iterator[TaskId]:
        """Entries of a `foreach` that may begin beside those that run."""
        if self._failed:
            return
        fan, limit = self._fans[step], self.steps[step].foreach
        assert limit is not None
        free = limit.concurrency - len(fan.active)
        unbegun = (each for each in range(fan.next, fan.size) if each not in fan.begun)
        for entry in islice(unbegun, max(0, free)):
            yield TaskId(step, entry)

    @property
    def fanned(self) -> Iterator[str]:
        """Steps whose entries are not all begun."""
        return (step for step, fan in self._fans.items() if fan.next < fan.size)

    def set(self, task: TaskId, state: Task) -> None:
        """What the database knows of it now."""
        self.tasks[task] = state
        self._note_told(task, state)
        if _is_unfinished(state):
            self._unfinished.add(task)
        else:
            self._unfinished.discard(task)
        if self._is_elsewhere(task):
            self._elsewhere.add(task)
        else:
            self._elsewhere.discard(task)
        if task.entry != PLAIN:
            self._fans[task.step].note(task.entry, state, is_active=self._is_active(task))
        elif state.status == "fanned":
            self._fans[task.step] = _Fan(value_of(state.output))
        if state.status == "failed" and task.step not in self._failed:
            self._failed.append(task.step)
        if self.has_ended(task.step):
            self._end(task.step)

    def _end(self, step: str) -> None:
        self._ready.pop(step, None)
        self._open.discard(step)
        for each in self._needed_by.get(step, ()):
            self._open_needs[each].discard(step)
            if not self._open_needs[each] and not self.has_ended(each):
                self._ready[each] = None

    def unfinished(self) -> Iterator[tuple[TaskId, Task]]:
        """Tasks that have begun and not ended."""
        return ((task, self.tasks[task]) for task in list(self._unfinished))

    @property
    def elsewhere(self) -> Collection[TaskId]:
        """Tasks that wait for what somebody else does for them."""
        return self._elsewhere

    def _is_elsewhere(self, task: TaskId) -> bool:
        works_elsewhere = self.steps[task.step].action.works_elsewhere
        return works_elsewhere and self.tasks[task].status == "waiting"

    def _is_active(self, task: TaskId) -> bool:
        return self.tasks[task].status in ("running", "again") or self._is_elsewhere(task)

    @property
    def is_complete(self) -> bool:
        """Every step has ended."""
        return not self._open


class _Fan:
    """The entries of a `foreach`, one for each of its `items`: `open` have not ended, `active` are
    at work, and all before `next` have `begun`."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.size = len(items)
        self.open = set(range(self.size))
        self.active: set[int] = set()
        self.begun: set[int] = set()
        self.next = 0

    def note(self, entry: int, state: Task, *, is_active: bool) -> None:
        """What is known of an entry that has begun."""
        self.begun.add(entry)
        while self.next in self.begun:
            self.next += 1
        if state.has_ended:
            self.open.discard(entry)
        if is_active:
            self.active.add(entry)
        else:
            self.active.discard(entry)


def _is_unfinished(task: Task) -> bool:
    return task.status in ("running", "waiting", "again")


def ended_with(task: Task, status: TaskStatus, *, output: Any = None, error: str = "") -> Task:
    """The task at its end. What is done has no use for the round before."""
    last = None if status == "done" else task.last
    return replace(task, status=status, output=output, last=last, error=error, wake_at_ms=None)
