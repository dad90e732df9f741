"""One run, from its claim until it ends, waits, or is somebody else's.

It reads top to bottom: begin what may begin; wait until something has ended; at the end say so.
Whatever it decides is written before it counts, under the epoch of its claim, so a run that was
taken over or halted writes nothing more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from budgets.transport import LedgerUnavailable
from orchestrator.definition import Foreach, Step
from orchestrator.kinds.contract import BudgetUsedUp, Held, Signal, StepFailed, UsedUpForNow
from orchestrator.places import TaskId
from orchestrator.progress import Progress, RunStatus, Task
from orchestrator.rendering import TemplateFailed, truth, value_of
from orchestrator.running.acts import End, Leave, Park, Put
from orchestrator.running.attempts import Attempts
from orchestrator.running.bundles import Bundles
from orchestrator.running.closing import Closing
from orchestrator.running.database import DatabaseAway
from orchestrator.running.heard import Heard
from orchestrator.running.journal import Hold, Overtaken
from orchestrator.running.kit import Kit
from orchestrator.running.names import Names
from orchestrator.running.outputs import Room
from orchestrator.running.rows import ClaimedRun, Telling
from orchestrator.running.told import Outcome, Told
from orchestrator.unread import unread

ENTRIES_MAX = 10_000
AGAIN_MS = 1_000
"""When a run is begun again whose ledger or database is away."""
_log = logging.getLogger("comptroller.runs")


class Running:
    """A run that this executor has claimed. `run` is its life; everything else tells it."""

    def __init__(self, claimed: ClaimedRun, kit: Kit, bundles: Bundles, closing: Closing) -> None:
        self.claimed = claimed
        self.hold = Hold(claimed.place.id, claimed.epoch, kit.executor)
        self._kit = kit
        bundle = bundles.of(claimed)
        self._workflow = bundle.workflow
        self._progress = Progress(bundle.workflow, dict(claimed.tasks))
        self._names = Names(claimed, self._progress, kit)
        self._room = Room(claimed.tasks)
        self._told = Told(claimed, kit.clock)
        self._attempts = Attempts(
            claimed, kit, closing, bundle, self._names, self._told, self._room
        )
        self._busy: dict[TaskId, asyncio.Task[None]] = {}
        self._heard = Heard(claimed.signals)
        self._changed = asyncio.Event()
        self._stops: RunStatus | None = "paused" if claimed.wanted == "pause" else None
        self._stops_for = ""

    # What others tell it

    def hear(self, signals: Mapping[TaskId, Signal]) -> None:
        """What its steps were told, and have not read yet."""
        if self._heard.hear(signals):
            self._changed.set()

    def want(self, wanted: str) -> None:
        """`pause`: nothing new begins, and what is at work ends. Empty: it goes on."""
        stops: RunStatus | None = "paused" if wanted == "pause" else None
        if self._stops in (None, "paused") and self._stops != stops:
            self._stops = stops
            self._changed.set()

    def stop_spending(self, error: BudgetUsedUp) -> None:
        """A budget of this run or of a step of it is used up: attempts that spend from it end."""
        self._attempts.stop(error)

    def refused(self, label: str, attempt: int, error: BudgetUsedUp | UsedUpForNow) -> None:
        """A budget has said no to this attempt."""
        self._attempts.refused(label, attempt, error)

    # Its life

    async def run(self) -> None:
        """Until there is nothing more for this executor to do. Cancelled, it writes nothing."""
        try:
            await self._open()
            await self._advance_to_the_end()
        except Overtaken:
            _log.info("run %s is not ours any more", self.claimed.place.id)
        except (LedgerUnavailable, DatabaseAway, Held) as error:
            _log.warning("run %s waits: %s", self.claimed.place.id, error)
            await self._cancel_all()
            await self._leave_for_later()
        except Exception as error:  # noqa: BLE001  # a mistake of ours would only happen again
            _log.exception("run %s cannot go on", self.claimed.place.id)
            await self._cancel_all()
            with contextlib.suppress(Overtaken, DatabaseAway):  # its lease will end
                await self._fail(f"it cannot go on: {type(error).__name__}: {error}")
        finally:
            await self._cancel_all()

    async def _open(self) -> None:
        """Its scope at the ledger, with a budget that may have been raised since."""
        place, budget = self.claimed.place, self.claimed.budget
        try:
            async with self._kit.openings:
                await self._kit.purse.open_run(place, budget)
                if self.claimed.epoch > 1:
                    await self._kit.purse.raise_budget(place, budget)
        except StepFailed as error:
            await self._fail(str(error))
            raise Overtaken(self.hold.run) from None

    async def _fail(self, error: str) -> None:
        await self._kit.journal.write(End(self.hold.run, "failed", error=error, hold=self.hold))

    async def _advance_to_the_end(self) -> None:
        while True:
            self._changed.clear()
            if not self._is_stopping:
                self._begin_what_may()
            if not self._busy:
                break
            await self._until_something_changes()
            self._collect()
        await self._say_how_it_ended()
        self._kit.nudge()

    @property
    def _is_stopping(self) -> bool:
        return self._stops is not None or self._progress.is_failing

    def _begin_what_may(self) -> None:
        """What has begun before what has not."""
        now_ms = self._kit.clock.now_ms()
        for task, state in self._progress.unfinished():
            if self._may_go_on(task, state) and self._is_due(task, state, now_ms):
                self._spawn(task, self._attempt(task))
        for name in list(self._progress.fanned):
            for task in self._progress.startable(name):
                if self._may_begin(task):
                    self._spawn(task, self._attempt(task))
        for step in self._progress.ready():
            task = TaskId(step.id)
            if self._may_begin(task):
                self._spawn(task, self._begin(step))

    def _may_begin(self, task: TaskId) -> bool:
        """Beside what is at work here, and elsewhere."""
        if task in self._busy:
            return False
        elsewhere = sum(each not in self._busy for each in self._progress.elsewhere)
        return len(self._busy) + elsewhere < self._workflow.concurrency

    def _may_go_on(self, task: TaskId, state: Task) -> bool:
        """What has waited has its place, or needs none; another attempt needs one."""
        if state.status != "waiting":
            return self._may_begin(task)
        return len(self._busy) < self._workflow.concurrency and task not in self._busy

    def _is_due(self, task: TaskId, state: Task, now_ms: int) -> bool:
        if state.status == "running":  # it was at a crash: nobody is at it now
            return True
        is_time = state.wake_at_ms is not None and state.wake_at_ms <= now_ms
        return is_time or (state.status == "waiting" and task in self._heard)

    def _spawn(self, task: TaskId, work: Coroutine[Any, Any, None]) -> None:
        doing = asyncio.create_task(work)
        doing.add_done_callback(lambda _: self._changed.set())
        self._busy[task] = doing

    async def _until_something_changes(self) -> None:
        wake_at_ms = None if self._is_stopping else self._next_wake_ms()
        timeout_s = None
        if wake_at_ms is not None:
            timeout_s = max(0, wake_at_ms - self._kit.clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _next_wake_ms(self) -> int | None:
        """When the first of those is due that may go on then; None where none is."""
        times = (
            state.wake_at_ms
            for task, state in self._progress.unfinished()
            if self._may_go_on(task, state)
        )
        return min((each for each in times if each is not None), default=None)

    def _collect(self) -> None:
        """Takes what has ended; raises what it raised."""
        for task, doing in [*self._busy.items()]:
            if doing.done():
                del self._busy[task]
                if not doing.cancelled():  # a halt has ended it
                    doing.result()

    # What it does

    async def _begin(self, step: Step) -> None:
        """Decides whether a step runs, and how often."""
        task = TaskId(step.id)
        try:
            await self._names.read_for(step)
            async with self._kit.turns.one():
                is_wanted = self._is_wanted(step)
            if not is_wanted:
                await self._put(task, self._told.skipped())
            elif step.foreach is None:
                await self._attempt(task)
            else:
                async with self._kit.turns.one():
                    items = unread(self._items(step.foreach))
                self._room.take(task, items)
                now_ms = self._kit.clock.now_ms()
                await self._put(task, Outcome(Task("fanned", begun_ms=now_ms, output=items)))
        except (TemplateFailed, StepFailed) as error:
            await self._put(
                task, self._told.failed_early(step, task, str(error), self._names.caused(step))
            )

    def _is_wanted(self, step: Step) -> bool:
        if self._progress.is_skipped_with(step):
            return False
        return truth(step.when, self._names.of_run())

    def _items(self, foreach: Foreach) -> list[Any]:
        """What a step is done for. Raises TemplateFailed."""
        names, said = self._names.of_run(), foreach.items
        if isinstance(said, str):
            items = value_of(said, names)
        else:
            items = [value_of(each, names) if isinstance(each, str) else each for each in said]
        if isinstance(items, list) and len(items) <= ENTRIES_MAX:
            return items
        what = f"{len(items)} entries" if isinstance(items, list) else "no list"
        raise TemplateFailed(f"foreach takes a list of at most {ENTRIES_MAX}, and has {what}")

    async def _attempt(self, task: TaskId) -> None:
        """One attempt, or what a task that waited does now; nothing where the run has come to stop
        while it waited for its turn."""
        async with self._kit.gate:
            if self._is_stopping:
                return
            state = self._progress.tasks.get(task)
            signal = self._heard.take(task)
            if signal is not None:
                signal = replace(signal, payload=await self._names.value(signal.payload))
            await self._attempts.make(task, state, signal, self._put)
        if self._attempts.exhausted and self._stops is None:
            self._stops = "asking" if self._workflow.on_exhausted == "ask" else "halted"
            self._stops_for = self._attempts.exhausted
            if self._stops == "halted":
                for each, doing in self._busy.items():
                    if each != task:
                        doing.cancel()

    async def _put(self, task: TaskId, outcome: Outcome) -> None:
        """On the disk first, then here."""
        await self._kit.journal.write(
            Put(
                hold=self.hold,
                task=task,
                state=outcome.state,
                telling=outcome.telling,
                begins=outcome.begins,
                ended=outcome.ended,
                reads_signal=outcome.reads_signal,
            )
        )
        self._progress.set(task, outcome.state)
        if outcome.telling is not None:
            self._kit.tells.set()  # before what its attempt does is told by others
        if outcome.reads_signal:
            self._heard.forget(task)
        if self._progress.steps[task.step].guaranteed and self._progress.has_ended(task.step):
            await self._give_back(task.step)

    async def _give_back(self, step: str) -> None:
        """What was guaranteed to a step that has ended. Where the ledger is away, the run's end
        does it."""
        try:
            await self._kit.purse.close_step(self.claimed.place, step)
        except LedgerUnavailable as error:
            _log.warning("what is guaranteed to %s stays with it: %s", step, error)

    # Its end

    async def _say_how_it_ended(self) -> None:
        """For this executor: nothing is at work."""
        write = self._kit.journal.write
        if self._stops == "halted":
            await write(End(self.hold.run, "halted", error=self._stops_for, hold=self.hold))
        elif self._progress.is_failing:
            await write(End(self.hold.run, "failed", error=self._failure(), hold=self.hold))
        elif self._stops is not None:
            await write(Leave(self.hold, self._stops, self._stops_for, self._asking()))
        elif self._progress.is_complete:
            await self._names.read([self._workflow.output])
            await write(self._ended_well())
        else:
            await write(Park(self.hold, self._next_wake_ms()))

    def _asking(self) -> Telling | None:
        if self._stops != "asking":
            return None
        return self._told.asking(self._stops_for, self._names.caused_run())

    def _ended_well(self) -> End:
        run, output = self.hold.run, None
        if self._workflow.output:
            try:
                output = value_of(self._workflow.output, self._names.of_run())
            except TemplateFailed as error:
                return End(run, "failed", error=f"the run's output: {error}", hold=self.hold)
        # As text: what is written in a transaction is not made in it.
        said = None if output is None else unread(output)
        return End(run, "done", output=said, hold=self.hold)

    def _failure(self) -> str:
        step = self._progress.failed[0]
        tasks = self._progress.tasks.items()
        failed = next(
            (task, state) for task, state in tasks if task.step == step and state.status == "failed"
        )
        return f"{failed[0].label}: {failed[1].error}"

    async def _leave_for_later(self) -> None:
        later_ms = self._kit.clock.now_ms() + AGAIN_MS
        try:
            await self._kit.journal.write(Park(self.hold, later_ms))
        except (Overtaken, DatabaseAway) as error:  # its lease will end
            _log.warning("run %s was not given back: %s", self.claimed.place.id, error)

    async def _cancel_all(self) -> None:
        for doing in self._busy.values():
            doing.cancel()
        if self._busy:
            await asyncio.wait(self._busy.values())
