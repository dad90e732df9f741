"""One thread that has the database: what is written meanwhile goes into its next transaction.

A commit costs a sync of the disk; a hundred steps that begin and end at the same time share one.
What an executor writes about a run counts only while the run is its own: the first thing in a
transaction is to look whether it is, and those rows stay locked to its end.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from orchestrator.running.database import Database, DatabaseAway, Row, sql

BATCH_MAX = 500
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Overtaken(Exception):  # nothing is wrong with the run
    """The run is not this executor's any more: it was taken over, halted or cancelled."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A run, and the epoch in which an executor has it."""

    run: str
    epoch: int
    executor: str


class Act(Protocol[_T_co]):
    """Something to be done in a transaction. It may be done again where nobody knows whether it
    was, or where another act of the same transaction failed. `hold`: None where the run need not be
    anybody's."""

    @property
    def hold(self) -> Hold | None:
        """Under which it counts."""
        ...

    def __call__(self, database: Database, now_ms: int) -> _T_co:
        """Does it; what it raises undoes it, and is raised where it was asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Doing(Generic[_T]):
    """An act that is a function."""

    work: Callable[[Database, int], _T]
    hold: Hold | None = None

    def __call__(self, database: Database, now_ms: int) -> _T:
        """See Act."""
        return self.work(database, now_ms)


@dataclass(frozen=True, slots=True)
class _Asked:
    act: Act[Any]
    future: asyncio.Future[Any]


class Journal:
    """Made in the loop that uses it. `connect` is called in the thread, and `heard` with the time
    of each transaction, before anything in it is answered."""

    def __init__(
        self, connect: Callable[[], Database], heard: Callable[[int], None] = lambda _: None
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    async def opened(self) -> None:
        """Waits until the database answers. Raises what its connection raises."""
        await self._ready

    async def write(self, act: Act[_T]) -> _T:
        """Answered when it is on the disk. Raises Overtaken, DatabaseAway, and what the act
        raises."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._asked.put(_Asked(act, future))
        return await future

    async def read(self, work: Callable[[Database], _T]) -> _T:
        """The same for what only reads."""
        return await self.write(Doing(lambda database, _: work(database)))

    async def close(self) -> None:
        """After what was asked for."""
        self._asked.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            database = self._connect()
        except BaseException as error:  # noqa: BLE001  # whoever waits gets it
            self._tell([(self._ready, error)])
            return
        self._tell([(self._ready, None)])
        try:
            while batch := self._next():
                results = _done(database, batch, self._heard)
                self._tell(list(zip((each.future for each in batch), results, strict=True)))
        finally:
            database.close()

    def _next(self) -> list[_Asked]:
        """What waits, at least one; empty at the end."""
        first = self._asked.get()
        batch = []
        while first is not None:
            batch.append(first)
            if len(batch) == BATCH_MAX:
                break
            try:
                first = self._asked.get_nowait()
            except queue.Empty:
                break
        else:
            self._asked.put(None)  # the end, also for the next time
        return batch

    def _tell(self, results: list[tuple[asyncio.Future[Any], Any]]) -> None:
        self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def _done(database: Database, batch: Sequence[_Asked], heard: Callable[[int], None]) -> list[Any]:
    """Their results. One that fails is done without the others: they are done again."""
    try:
        return in_one(database, [each.act for each in batch], heard)
    except Exception as error:  # noqa: BLE001  # of an act, of the database: see below
        if len(batch) == 1:
            return [error]
    results: list[Any] = []
    for each in batch:
        results += _done(database, [each], heard)
    return results


def in_one(
    database: Database,
    acts: Sequence[Act[Any]],
    heard: Callable[[int], None] = lambda _: None,
) -> list[Any]:
    """Acts in one transaction; their results, Overtaken where a hold is not true any more. Raises
    what one of them raises, and then nothing is done. `heard`: is told the time."""
    database.begin()
    try:
        now_ms = database.now_ms()
        heard(now_ms)
        held = _held(database, {act.hold for act in acts if act.hold is not None})
        results = [
            Overtaken(act.hold.run)
            if act.hold is not None and act.hold not in held
            else act(database, now_ms)
            for act in acts
        ]
        database.commit()
    except BaseException:
        database.rollback()
        raise
    return results


def _held(database: Database, holds: set[Hold]) -> set[Hold]:
    """Those that are true, and stay so until the end of the transaction."""
    found: set[Hold] = set()
    runs = sorted({each.run for each in holds})
    for start in range(0, len(runs), BATCH_MAX):
        part = runs[start : start + BATCH_MAX]
        statement = sql("held").replace(":runs", marks(len(part)))
        for run, epoch, executor in database.rows(statement, part):
            assert isinstance(epoch, int), epoch
            found.add(Hold(str(run), epoch, str(executor)))
    return holds & found


def marks(count: int) -> str:
    """As many places for values."""
    return ",".join("?" * count)


__all__ = ["Act", "DatabaseAway", "Doing", "Hold", "Journal", "Overtaken", "Row", "marks"]
