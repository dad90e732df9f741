"""Executes runs: claims what is due, keeps its lease, and ends what is not its own any more.

Several may share a database. Whoever is not heard of for a lease loses its runs; what it still
writes when it wakes up does not count, and the keys of its attempts are dead as soon as their
successors begin.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from budgets.exhausted import Exhausted
from budgets.transport import LedgerUnavailable
from orchestrator.kinds.contract import BudgetUsedUp
from orchestrator.running.acts import Claim, End, Heartbeat, Look, Requeue
from orchestrator.running.bundles import Bundles
from orchestrator.running.closing import Closing
from orchestrator.running.database import DatabaseAway
from orchestrator.running.forgetting import Forgetting
from orchestrator.running.journal import Hold
from orchestrator.running.kit import Kit
from orchestrator.running.run import Running
from orchestrator.running.scheduling import Scheduling
from orchestrator.running.telling import Teller
from orchestrator.running.watching import meaning

FORGET_MS = 3_600_000
WATCH_MS = 250
"""How often it is asked which budgets are used up: a run halts within a second."""
CLOSE_MS = 1_000
TELL_MS = 200
SCHEDULE_MS = 1_000
BEATS_PER_LEASE = 4
_log = logging.getLogger("comptroller.runs")


class Executor:
    """One process's."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._bundles = Bundles()
        self._running: dict[str, tuple[Running, asyncio.Task[None]]] = {}
        self._closes = asyncio.Event()
        self._due_ms: int | None = 0
        self._lives: list[asyncio.Task[None]] = []
        self._closing = Closing(kit)
        self._teller = Teller(kit)
        self._scheduling = Scheduling(kit)
        self._old = Forgetting(kit)

    async def start(self) -> None:
        """Its lease begins. Raises DatabaseAway."""
        await self._beat()
        never = asyncio.Event()
        rounds: tuple[tuple[Callable[[], Awaitable[None]], int, asyncio.Event], ...] = (
            (self._beat, self._kit.options.lease_ms // BEATS_PER_LEASE, never),
            (self._kit.watch.round, WATCH_MS, never),
            (self._closing.round, CLOSE_MS, self._closes),
            (self._teller.round, TELL_MS, never),
            (self._teller.soon, TELL_MS, self._kit.tells),
            (self._scheduling.round, SCHEDULE_MS, never),
            (self._old.round, FORGET_MS, never),
            (self._look, self._kit.options.poll_ms, self._kit.nudge.soon),
        )
        await self._kit.watch.begin(self._used_up)
        self._lives = [asyncio.create_task(_forever(*each)) for each in rounds]

    async def stop(self) -> None:
        """What is at work is left to whoever comes next, who begins those attempts anew."""
        for each in self._lives:
            each.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        runs = {**self._running}
        for _, doing in runs.values():
            doing.cancel()
        await asyncio.gather(*(doing for _, doing in runs.values()), return_exceptions=True)
        await self._kit.journal.write(Requeue(self._kit.executor, tuple(runs)))
        await self._kit.journal.write(Heartbeat(self._kit.executor, 0))
        await self._teller.round()

    @property
    def at_work(self) -> int:
        """How many runs are in this process."""
        return len(self._running)

    # Its rounds

    async def _look(self) -> None:
        """What has changed in the database, if anything has."""
        kit = self._kit
        is_due = self._due_ms is not None and self._due_ms <= kit.clock.now_ms()
        has_changed = await kit.journal.read(lambda database: database.has_changed())
        if not (kit.nudge.taken() or is_due or has_changed):
            return
        try:
            await self._look_at_all()
        except BaseException:  # what has changed is not told again
            kit.nudge.later()
            raise

    async def _look_at_all(self) -> None:
        kit = self._kit
        self._closes.set()
        if self._running:
            await self._look_at_own()
        room = kit.options.runs_max - len(self._running)
        if room <= 0:
            return
        claimed, self._due_ms = await kit.journal.write(Claim(kit.executor, room))
        for each in claimed:
            try:
                running = Running(each, kit, self._bundles, self._closing)
            except Exception as error:  # noqa: BLE001  # the others begin all the same
                _log.exception("run %s cannot be read", each.place.id)
                hold = Hold(each.place.id, each.epoch, kit.executor)
                message = f"its definition or its steps cannot be read any more: {error}"
                await kit.journal.write(End(hold.run, "failed", error=message, hold=hold))
                continue
            doing = asyncio.create_task(running.run())
            self._running[each.place.id] = running, doing
            doing.add_done_callback(self._forgetting(each.place.id, running))
        if claimed:
            self._kit.nudge()  # there may be more

    def _forgetting(self, run: str, running: Running) -> Callable[[asyncio.Task[None]], None]:
        def forget(doing: asyncio.Task[None]) -> None:
            if self._running.get(run, (None,))[0] is running:
                del self._running[run]
            if not doing.cancelled() and (error := doing.exception()) is not None:
                _log.error("run %s was left: %r", run, error, exc_info=error)
            self._kit.nudge()

        return forget

    async def _look_at_own(self) -> None:
        owned, told = await self._kit.journal.write(Look(self._kit.executor))
        for run, (running, doing) in [*self._running.items()]:
            epoch, wanted = owned.get(run, (0, ""))
            if epoch != running.hold.epoch:
                doing.cancel()
                continue
            running.want(wanted)
            running.hear(told.get(run, {}))

    async def _beat(self) -> None:
        kit = self._kit
        taken_over = await kit.journal.write(
            Heartbeat(kit.executor, kit.options.lease_ms, is_sole=kit.options.sole)
        )
        if taken_over:
            _log.warning("%d runs of executors that are gone are begun again", taken_over)
            self._kit.nudge()
        owned, _ = await kit.journal.write(Look(kit.executor))
        unknown = tuple(run for run in owned if run not in self._running)
        if unknown:  # the answer to their claim was lost, or their task has failed
            await kit.journal.write(Requeue(kit.executor, unknown))

    async def _used_up(self, told: Exhausted) -> None:
        """Whose call was refused hears why; where nothing but more budget helps, what spends from
        there ends."""
        error = meaning(told)
        if told.run_id in self._running:
            self._running[told.run_id][0].refused(told.step_id, told.attempt, error)
        if isinstance(error, BudgetUsedUp) and await self._kit.purse.is_used_up(told):
            await self._end_what_spends(error)

    async def _end_what_spends(self, error: BudgetUsedUp) -> None:
        if await self._closing.used_up(error.scope, str(error)):
            self._kit.nudge()
        for running, _ in self._running.values():
            if f"{error.scope}/".startswith(f"{running.claimed.place.scope}/"):
                running.stop_spending(error)


async def _forever(work: Callable[[], Awaitable[None]], every_ms: int, soon: asyncio.Event) -> None:
    """So often, and whenever `soon` is set."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_ms / 1000):
                await soon.wait()
        soon.clear()
        await _surely(work)


async def _surely(work: Callable[[], Awaitable[None]]) -> None:
    """A round that fails is no reason not to have the next."""
    try:
        await work()
    except (LedgerUnavailable, DatabaseAway) as error:
        _log.warning("%s", error)
    except Exception:  # noqa: BLE001  # whatever it is, the next one must come
        _log.exception("a round failed")
