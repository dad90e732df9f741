"""What templates of a run may name: its input, what has ended, and the entry that they are in."""

from collections.abc import Mapping
from typing import Any

from orchestrator.definition import Step
from orchestrator.events import submitted_id
from orchestrator.places import PLAIN, TaskId
from orchestrator.progress import Progress
from orchestrator.running.rows import ClaimedRun


class Names:
    """Steps that have ended are put in once; who renders looks at the same mapping."""

    def __init__(self, claimed: ClaimedRun, progress: Progress) -> None:
        self._progress = progress
        place = claimed.place
        self._steps: dict[str, dict[str, Any]] = {}
        self._always: Mapping[str, Any] = {
            "input": claimed.given,
            "steps": self._steps,
            "run": {
                "id": place.id,
                "scope": place.scope,
                "workflow": place.workflow,
                "version": place.version,
                "by": claimed.by,
            },
        }
        self._submitted = submitted_id(place, claimed.created_ms)
        for step in progress.steps:
            self.note(step)

    def note(self, step: str) -> None:
        """Something of a step has ended; it itself perhaps."""
        if step not in self._steps and self._progress.has_ended(step):
            self._steps[step] = {
                "output": self._progress.output(step),
                "status": self._progress.status(step),
            }

    def caused(self, step: Step) -> str:
        """The event that a step's first attempt follows from: the last end of what it needs, else
        that the run was submitted."""
        return self._progress.told_by(step.needs) or self._submitted

    def of_run(self) -> Mapping[str, Any]:
        """For what decides about a whole step, and for the run's output. Steps that a step may not
        name are there, too: a definition that names them was refused."""
        return self._always

    def of_task(self, task: TaskId, last: Any) -> Mapping[str, Any]:
        """For an attempt; `last`: the output of the round before."""
        names = {**self._always, "last": last}
        if task.entry != PLAIN:
            names |= {"item": self._progress.given(task), "index": task.entry}
        return names
