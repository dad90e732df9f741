"""What templates of a run may name: its input, what has ended, and the entry that they are in."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from orchestrator.definition import Step
from orchestrator.events import submitted_id
from orchestrator.places import PLAIN, TaskId
from orchestrator.progress import Progress
from orchestrator.running.kit import Kit
from orchestrator.running.outputs import whole
from orchestrator.running.rows import ClaimedRun
from orchestrator.templates import steps_named
from orchestrator.unread import Unread, value_of


class Names:
    """What a step has said is read when a template names it first; who renders looks at the same
    mapping."""

    def __init__(self, claimed: ClaimedRun, progress: Progress, kit: Kit) -> None:
        self._kit = kit
        self._reading = asyncio.Lock()
        self._progress = progress
        place = claimed.place
        self._steps: dict[str, dict[str, Any]] = {}
        self._named: dict[str, frozenset[str]] = {}
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

    async def read_for(self, step: Step) -> None:
        """What templates of a step name is there from now on. Raises DatabaseAway."""
        named = self._named.get(step.id)
        if named is None:  # once: a step may have ten thousand entries, and as many templates
            named = self._named[step.id] = _named_by(text for _, text in step.templates())
        await self._read(named)

    async def read(self, templates: Iterable[str]) -> None:
        """The same for some templates."""
        await self._read(_named_by(templates))

    async def _read(self, named: frozenset[str]) -> None:
        if named <= self._steps.keys():
            return
        async with self._reading:
            for step in sorted(named - self._steps.keys()):
                if self._progress.has_ended(step):
                    await self._note(step)

    async def _note(self, step: str) -> None:
        said = self._progress.output(step)
        is_fan = isinstance(said, list)
        output = [await self.value(each) for each in said] if is_fan else await self.value(said)
        self._steps[step] = {"output": output, "status": self._progress.status(step)}

    async def value(self, said: Any) -> Any:
        """Of something unread: in a turn of its own, because it may take a second."""
        if not isinstance(said, Unread):
            return said
        if said.is_apart:
            said = await self._kit.journal.read(partial(whole, said=said))
        async with self._kit.turns.one():
            return value_of(said)

    def caused(self, step: Step) -> str:
        """The event that a step's first attempt follows from: the last end of what it needs, else
        that the run was submitted. What a fork has taken over was told before that."""
        return max(self._progress.told_by(step.needs), self._submitted)

    def caused_run(self) -> str:
        """The last event of the run's steps, else that it was submitted."""
        return max(self._progress.told_by(tuple(self._progress.steps)), self._submitted)

    def of_run(self) -> Mapping[str, Any]:
        """For what decides about a whole step, and for the run's output. Steps that a step may not
        name may be there, too: a definition that names them was refused."""
        return self._always

    def of_task(self, task: TaskId, last: Any) -> Mapping[str, Any]:
        """For an attempt; `last`: the output of the round before."""
        names = {**self._always, "last": last}
        if task.entry != PLAIN:
            names |= {"item": self._progress.given(task), "index": task.entry}
        return names


def _named_by(templates: Iterable[str]) -> frozenset[str]:
    """The steps."""
    return frozenset(step for text in templates for step in steps_named(text))
