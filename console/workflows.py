"""The database of runs as the console has it: opened when somebody asks for the first time."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.running.callbacks import Callbacks
from orchestrator.running.database import Database, DatabaseAway
from orchestrator.running.journal import Act, Journal

_T = TypeVar("_T")


def _nowhere() -> Database:
    raise DatabaseAway("this admin API was started without a database of runs")


@dataclass(frozen=True, slots=True)
class Workflows:
    """What the console is told of workflows. `connect`: a connection to their database, made in the
    thread that uses it; raises DatabaseAway. `callbacks`: None where no step can wait for one.
    `models`: those that may be asked, None where nobody knows. `programs_folder`: whose workflows
    may run programs; None: none."""

    connect: Callable[[], Database] = _nowhere
    callbacks: Callable[[], Callbacks | None] = lambda: None
    models: Callable[[], Collection[str] | None] = lambda: None
    programs_folder: Path | None = None


class Runs:
    """Acts on the database of runs, in a thread of its own. All raise DatabaseAway, and what the
    act raises."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._opening = asyncio.Lock()
        self._journal: Journal | None = None

    async def write(self, act: Act[_T]) -> _T:
        """Answered when it is on the disk."""
        return await (await self._opened()).write(act)

    async def read(self, work: Callable[[Database], _T]) -> _T:
        """The same for what only reads."""
        return await (await self._opened()).read(work)

    async def close(self) -> None:
        """After what was asked for."""
        if self._journal is not None:
            journal, self._journal = self._journal, None
            await journal.close()

    async def _opened(self) -> Journal:
        """One that could not be opened is tried again by whoever asks next."""
        async with self._opening:
            if self._journal is None:
                journal = Journal(self._workflows.connect)
                await journal.opened()
                self._journal = journal
            return self._journal
