"""Where things of a run are: its scope, those of its steps, and what their ids look like. Pure."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import NamedTuple

KEY_ID_HEX = 20
PLAIN = -1
"""The entry of a step that is no `foreach`."""


class TaskId(NamedTuple):
    """What is done at once: a step, or one entry of its `foreach` (from 0)."""

    step: str
    entry: int = PLAIN

    @property
    def label(self) -> str:
        """As people read it: `search`, `search[3]`."""
        return self.step if self.entry == PLAIN else f"{self.step}[{self.entry}]"


RUN_ID = r"r[0-9a-f]{21}"
STEP_ID = r"[a-z][a-z0-9_]{0,47}"
"""As a definition names its steps and its inputs."""


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run: `scope` is its own, below that of its project (or of the step that started it);
    `version` is the definition's. `fences`: of a run that a step has started, `AttemptPlace.fences`
    of the attempt that it is for; its keys are refused when a later one has begun."""

    id: str
    scope: str
    workflow: str
    version: int
    fences: tuple[tuple[str, int], ...] = ()

    @property
    def organisation(self) -> str:
        """The first segment of its scope."""
        return self.scope.split("/", 1)[0]

    def step_scope(self, step: str) -> str:
        """Where a step's budget is: of all its attempts and entries."""
        return f"{self.scope}/{step}"

    def task_scope(self, task: TaskId) -> str:
        """Where its attempts work: the fence is there, so that entries do not fence each other."""
        scope = self.step_scope(task.step)
        return scope if task.entry == PLAIN else f"{scope}/{task.entry}"


@dataclass(frozen=True, slots=True)
class AttemptPlace:
    """One try: `number` counts up for ever, also over rounds and executors; from 1."""

    run: RunPlace
    task: TaskId
    number: int

    @property
    def scope(self) -> str:
        """Its key works here."""
        return self.run.task_scope(self.task)

    @property
    def fences(self) -> tuple[tuple[str, int], ...]:
        """What its key names where a fence may stand: (scope, attempt), the outermost first."""
        return (*self.run.fences, (self.scope, self.number))

    @property
    def key_id(self) -> str:
        """Of its key: an organisation keeps its keys by id, so that no two attempts share one."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return f"key-{digest[:KEY_ID_HEX]}"

    @property
    def key_scope(self) -> str:
        """Its key's own, and above all that the key mints."""
        return f"{self.scope}/{self.key_id}"

    @property
    def name(self) -> str:
        """Unique among all attempts."""
        return f"{self.run.id}/{self.task.label}/{self.number}"


def new_run_id(now_ms: int) -> str:
    """In the order of time, and a segment of a scope."""
    return f"r{now_ms:011x}{secrets.token_hex(5)}"
