"""What the steps of a run were told, each once: a row is there until what it tells was read."""

from collections.abc import Mapping

from orchestrator.kinds.contract import Signal
from orchestrator.places import TaskId


class Heard:
    """Begins with what was told before."""

    def __init__(self, told: Mapping[TaskId, Signal]) -> None:
        self._told = dict(told)
        self._reading: set[TaskId] = set()

    def hear(self, rows: Mapping[TaskId, Signal]) -> bool:
        """All that is in the database now; whether anything of it is new. What is just being read
        is not: the next round of its step waits for a row of its own."""
        self._reading &= rows.keys()
        known = self._told.keys() | self._reading
        fresh = {task: each for task, each in rows.items() if task not in known}
        self._told.update(fresh)
        return bool(fresh)

    def __contains__(self, task: TaskId) -> bool:
        """Whether a step was told something that nobody has taken."""
        return task in self._told

    def take(self, task: TaskId) -> Signal | None:
        """For its attempt, which reads it."""
        signal = self._told.pop(task, None)
        if signal is not None:
            self._reading.add(task)
        return signal

    def forget(self, task: TaskId) -> None:
        """The step has ended, or goes on, without it: its row is gone, and the next is another."""
        self._told.pop(task, None)
        self._reading.discard(task)
