"""What runs are made of, put together once and passed down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from budgets.session import Clock
from orchestrator.running.journal import Journal
from orchestrator.running.options import ATTEMPTS_MAX, LEASE_MS, RUNS_DAYS, RUNS_MAX
from orchestrator.running.purse import Purse
from orchestrator.running.tools import Toolbox
from orchestrator.running.watching import Watch

POLL_MS = 50
OPENINGS_MAX = 32
"""Runs that are opened at the ledger at a time: each waits for its disk."""


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """`lease_ms`: how long an executor is not heard of before others take its runs; `runs_max`,
    `attempts_max`: at a time; `runs_days`: how long a run that is over is kept; `sole`: nobody else
    executes from this database."""

    lease_ms: int = LEASE_MS
    poll_ms: int = POLL_MS
    runs_max: int = RUNS_MAX
    attempts_max: int = ATTEMPTS_MAX
    runs_days: int = RUNS_DAYS
    sole: bool = False


class Nudge:
    """Called, its executor looks at once, also where nobody else has changed anything."""

    def __init__(self) -> None:
        self.soon = asyncio.Event()
        self._is_new = True

    def __call__(self) -> None:
        """From within the loop."""
        self._is_new = True
        self.soon.set()

    def later(self) -> None:
        """The next look is one, whenever that is: this one came to nothing."""
        self._is_new = True

    def taken(self) -> bool:
        """Whether it was called since it was asked last."""
        found, self._is_new = self._is_new, False
        return found


class Turns:
    """One after the other, and whatever else is due in between: what is ready at the same time
    would else keep a process from its lease."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """For as long as it lasts."""
        async with self._lock:
            await asyncio.sleep(0)  # whatever is due has its turn first
            yield


@dataclass(frozen=True, slots=True)
class Kit:
    """For every run of an executor. `gate`: attempts at a time; `watch`: hears of budgets that are
    used up; `turns`: of templates, each of which may take a third of a second; `openings`: runs
    that begin, at a time; `nudge`: something may be due; `tells`: an event waits for the ledger."""

    executor: str
    journal: Journal
    purse: Purse
    tools: Toolbox
    clock: Clock
    options: ExecutorOptions
    gate: asyncio.Semaphore
    watch: Watch
    turns: Turns = field(default_factory=Turns)
    openings: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENINGS_MAX))
    nudge: Nudge = field(default_factory=Nudge)
    tells: asyncio.Event = field(default_factory=asyncio.Event)
