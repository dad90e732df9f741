"""One attempt of a step: its beginning on the disk, its key, what its kind does, and what comes of
it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from budgets.policy import ancestors
from budgets.transport import LedgerUnavailable
from orchestrator.bundle import Bundle
from orchestrator.definition import Step
from orchestrator.kinds.contract import (
    BudgetUsedUp,
    Held,
    Signal,
    StepFailed,
    UsedUpForNow,
    Waits,
)
from orchestrator.places import AttemptPlace, TaskId
from orchestrator.progress import Task, TaskStatus, ended_with
from orchestrator.rendering import TemplateFailed, rendered, truth
from orchestrator.running.acts import EndBelow
from orchestrator.running.closing import Closing
from orchestrator.running.database import DatabaseAway
from orchestrator.running.holding import LEDGER_AWAY_MS, Holds, holding_of
from orchestrator.running.journal import Hold, Overtaken
from orchestrator.running.kit import Kit
from orchestrator.running.names import Names
from orchestrator.running.outputs import Room, checked
from orchestrator.running.rows import ClaimedRun
from orchestrator.running.told import Outcome, Told
from orchestrator.running.tools import AttemptTools
from orchestrator.unread import Unread, value_of

KEY_OUTLIVES_MS = 60_000
"""How long a key counts beyond the time that its attempt has: it is revoked when that ends."""
BACKOFF_MS_MAX = 3_600_000
FOR_EVER_MS = 10 * 365 * 86_400_000
Write = Callable[[TaskId, Outcome], Awaitable[None]]
_log = logging.getLogger("comptroller.runs")


class Attempts:
    """Those of one run. `exhausted`: why its budget lets it do no more; empty while it does."""

    def __init__(
        self,
        claimed: ClaimedRun,
        kit: Kit,
        closing: Closing,
        bundle: Bundle,
        names: Names,
        told: Told,
        room: Room,
    ) -> None:
        self.exhausted = ""
        self._claimed = claimed
        self._kit = kit
        self._hold = Hold(claimed.place.id, claimed.epoch, kit.executor)
        self._closing = closing
        self._bundle = bundle
        self._names = names
        self._told = told
        self._room = room
        self._steps = {step.id: step for step in bundle.workflow.steps}
        self._opened: dict[str, asyncio.Task[None]] = {}
        self._performing: dict[TaskId, asyncio.Task[Any]] = {}
        self._used_up: dict[str, BudgetUsedUp] = {}
        self._refused: dict[str, tuple[int, BudgetUsedUp | UsedUpForNow]] = {}
        self._holds = Holds(claimed.place, kit, closing)

    def refused(self, label: str, attempt: int, error: BudgetUsedUp | UsedUpForNow) -> None:
        """A call of this attempt (of a task, by its label) was refused. It may be the budget of a
        run around this one, which may be given more: that stops no other attempt."""
        self._refused[label] = attempt, error

    def stop(self, error: BudgetUsedUp) -> None:
        """A budget is used up: whatever spends from it now ends, and nothing else will."""
        self._used_up[error.scope] = error
        for task, doing in self._performing.items():
            if self._no_more(task) is not None:
                doing.cancel()

    def _no_more(self, task: TaskId) -> BudgetUsedUp | None:
        """Why a task may spend no more; None while it may."""
        scopes = ancestors(self._claimed.place.task_scope(task))
        return next((self._used_up[each] for each in scopes if each in self._used_up), None)

    async def make(
        self, task: TaskId, before: Task | None, signal: Signal | None, write: Write
    ) -> None:
        """`before`: what the database knows of it; None where it begins. `write` what comes of it:
        in any case."""
        step = self._steps[task.step]
        held = await self._still_held(step, task, before)
        outcome = held or await self._made(step, task, before, signal, write)
        await write(task, outcome)

    async def _still_held(self, step: Step, task: TaskId, before: Task | None) -> Outcome | None:
        """Another attempt is not begun, nor told, while what held the last one would hold it."""
        if before is None or before.status != "again":
            return None
        held = await self._holds.still(step, task, before)
        return None if held is None else Outcome(held)

    async def _made(
        self, step: Step, task: TaskId, before: Task | None, signal: Signal | None, write: Write
    ) -> Outcome:
        if before is not None and before.status == "waiting":
            state = before if signal is None else self._told.heard(step, task, before, signal)
        else:
            state = self._begun(before)
            cause = "" if before else self._names.caused(step)
            outcome = self._told.started(step, task, state, cause)
            state = outcome.state
            await write(task, outcome)
        place = AttemptPlace(self._claimed.place, task, state.attempt)
        return await self._outcome(step, place, state, signal)

    def _begun(self, before: Task | None) -> Task:
        """A fresh attempt, numbered after all that have been."""
        state = before or Task("running")
        is_timed = holding_of(state).is_timed
        return replace(
            state,
            status="running",
            attempt=state.attempt + 1,
            wake_at_ms=None,
            begun_ms=state.begun_ms if is_timed else self._kit.clock.now_ms(),
            held="",
        )

    async def _outcome(
        self, step: Step, place: AttemptPlace, state: Task, signal: Signal | None
    ) -> Outcome:
        deadline_ms = state.begun_ms + (self._timeout_ms(step) or FOR_EVER_MS)
        task, told = place.task, self._told
        ended: StepFailed | Held
        try:
            output = await self._performed(step, place, state, signal, deadline_ms)
            await self._revoke(place)
            return self._after(step, task, state, output)
        except Waits as wait:
            until_ms = deadline_ms if wait.until_ms is None else min(wait.until_ms, deadline_ms)
            is_bounded = until_ms < state.begun_ms + FOR_EVER_MS
            wake_at_ms = until_ms if is_bounded else None
            parked = replace(state, status="waiting", wake_at_ms=wake_at_ms)
            waiting = told.waiting(step, task, parked, is_first=state.status != "waiting")
            # What has not ended it is of no use to it, and would wake it again and again.
            return replace(waiting, reads_signal=signal is not None)
        except LedgerUnavailable as error:
            return told.held(await self._holds.begun(state, Held(str(error), LEDGER_AWAY_MS)))
        except (Held, StepFailed) as error:
            ended = error
        except (Overtaken, DatabaseAway):
            raise
        except Exception as error:  # noqa: BLE001  # a full disk, or a mistake of ours: it counts
            _log.exception("%s has failed", place.name)
            ended = StepFailed(f"{type(error).__name__}: {error}")
        await self._revoke(place)
        return await self._ended(step, place, state, ended, deadline_ms)

    async def _ended(
        self,
        step: Step,
        place: AttemptPlace,
        state: Task,
        why: StepFailed | Held,
        deadline_ms: int,
    ) -> Outcome:
        """Without an output: held, or failed."""
        if isinstance(why, StepFailed):
            why = await self._explained(step, place, why)
        elif why.is_timed and self._kit.clock.now_ms() + why.again_in_ms >= deadline_ms:
            why = _too_long(state, deadline_ms, f", and would be held for longer: {why}")
        if isinstance(why, StepFailed):
            return await self._failed(step, place, state, why)
        return self._told.held(await self._holds.begun(state, why))

    async def _explained(
        self, step: Step, place: AttemptPlace, failure: StepFailed
    ) -> StepFailed | UsedUpForNow:
        """Why a program has ended is often that a budget said no: then another attempt would only
        hear the same. It is heard now, too, so that nobody hears it when there is more."""
        if not step.action.has_key:
            return failure
        with contextlib.suppress(LedgerUnavailable):
            await self._kit.watch.round()
        if isinstance(failure, BudgetUsedUp):
            return failure
        attempt, refused = self._refused.pop(place.task.label, (0, failure))
        return self._no_more(place.task) or (refused if attempt == place.number else failure)

    async def _performed(
        self, step: Step, place: AttemptPlace, state: Task, signal: Signal | None, deadline_ms: int
    ) -> Unread | None:
        """What the kind answers, as JSON has it."""
        left_s = (deadline_ms - self._kit.clock.now_ms()) / 1000
        try:
            await self._names.read_for(step)
            last = await self._names.value(state.last)
            async with self._kit.turns.one():
                action = rendered(step.action, self._names.of_task(place.task, last))
            secret = ""
            if state.status != "waiting":  # else it has its money and its key
                secret = await self._paid_for(step, place, deadline_ms)
            attempt = AttemptTools(
                toolbox=self._kit.tools,
                hold=self._hold,
                claimed=self._claimed,
                bundle=self._bundle,
                place=place,
                state=state,
                signal=signal,
                secret=secret,
                deadline_ms=deadline_ms,
            )
            async with asyncio.timeout(max(left_s, 0.001)) as timeout:
                said = await self._interruptibly(place.task, action.perform(attempt))
            return self._room.take(place.task, checked(said))
        except TemplateFailed as error:
            raise StepFailed(str(error), is_final=True) from None
        except Waits:
            if self._kit.clock.now_ms() < deadline_ms:
                raise
            raise _too_long(state, deadline_ms) from None
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _too_long(state, deadline_ms) from None

    async def _paid_for(self, step: Step, place: AttemptPlace, deadline_ms: int) -> str:
        """Its budget is there, and its key works: the secret of that, empty for kinds without."""
        has_key = step.action.has_key
        if has_key and (error := self._no_more(place.task)) is not None:
            raise error
        if step.budget:
            await self._open(step)
        if not has_key:
            return ""
        return await self._kit.purse.begin_attempt(
            place,
            models=step.models,
            agent=step.agent or self._bundle.workflow.defaults.agent or "",
            expires_at_ms=deadline_ms + KEY_OUTLIVES_MS,
        )

    async def _interruptibly(self, task: TaskId, work: Any) -> Any:
        """Ends with BudgetUsedUp where `stop` says so."""
        doing = self._performing[task] = asyncio.ensure_future(work)
        try:
            return await doing
        except asyncio.CancelledError:
            error = self._no_more(task)
            if error is None or not doing.cancelled() or _is_cancelled():
                raise
            raise error from None
        finally:
            del self._performing[task]

    def _after(self, step: Step, task: TaskId, state: Task, output: Unread | None) -> Outcome:
        """A round is done; whether it was the last."""
        if step.until is None:
            return self._told.completed(step, task, ended_with(state, "done", output=output))
        try:
            is_enough = truth(step.until.condition, self._names.of_task(task, value_of(output)))
        except TemplateFailed as error:
            message = f"until: {error}"
            return self._told.failed(step, task, self._ended_badly(step, state, message))
        if is_enough:
            return self._told.completed(step, task, ended_with(state, "done", output=output))
        if state.round + 1 >= step.until.most:
            message = f"its condition did not hold after {step.until.most} rounds: raise until.most"
            said = replace(state, last=output)  # tried again, it goes on from there
            return self._told.failed(step, task, self._ended_badly(step, said, message))
        now_ms = self._kit.clock.now_ms()
        again = replace(state, status="again", wake_at_ms=now_ms, failures=0, last=output)
        return self._told.rounded(step, task, replace(again, round=state.round + 1))

    async def _failed(
        self, step: Step, place: AttemptPlace, state: Task, error: StepFailed
    ) -> Outcome:
        """Another attempt, the end of the step, or of the run."""
        ends = EndBelow(place.run.organisation, place.scope, hold=self._hold)
        await self._kit.journal.write(ends)
        if isinstance(error, BudgetUsedUp):
            if error.scope == place.run.scope:
                self.exhausted = str(error)
                again = replace(self._again(state, 0), error=str(error))
                return self._told.held(again)
            # Perhaps of a run that this one is inside of: that decides, and ends this one, too.
            if await self._closing.used_up(error.scope, str(error)):
                held = UsedUpForNow(str(error), error.scope, 0)
                return self._told.held(await self._holds.begun(state, held))
        retries, failures = self._bundle.workflow.retries_of(step), state.failures + 1
        if error.is_final or failures > retries.most:
            ended = self._ended_badly(step, replace(state, failures=failures), str(error))
            return self._told.failed(step, place.task, ended)
        pause_ms = min(retries.backoff * 1000 * 2 ** (failures - 1), BACKOFF_MS_MAX)
        again = replace(self._again(state, pause_ms), failures=failures, error=str(error))
        return self._told.failed(step, place.task, again)

    def _ended_badly(self, step: Step, state: Task, message: str) -> Task:
        """Failed, or skipped where the definition says so."""
        status: TaskStatus = "skipped" if step.on_failure == "skip" else "failed"
        return ended_with(state, status, error=message)

    def _again(self, state: Task, in_ms: int) -> Task:
        return replace(state, status="again", wake_at_ms=self._kit.clock.now_ms() + in_ms)

    def _timeout_ms(self, step: Step) -> int | None:
        """What costs nothing while it waits has as long as it says itself."""
        default = self._bundle.workflow.defaults.timeout if step.action.has_key else None
        timeout_s = step.timeout or default
        return None if timeout_s is None else timeout_s * 1000

    async def _open(self, step: Step) -> None:
        """The step's own budget, once for all its entries."""
        opening = self._opened.get(step.id)
        if opening is None:
            work = self._kit.purse.open_step(
                self._claimed.place, step.id, step.budget, guaranteed=step.guaranteed
            )
            opening = self._opened[step.id] = asyncio.ensure_future(work)
        try:
            await asyncio.shield(opening)
        except Exception:
            self._opened.pop(step.id, None)
            raise

    async def _revoke(self, place: AttemptPlace) -> None:
        """Its key ends with it. Where the ledger is away, that is left to the end of the run."""
        if not self._steps[place.task.step].action.has_key:
            return
        try:
            await self._kit.purse.end_attempt(place)
        except LedgerUnavailable as error:
            _log.warning("the key of %s lives until its run ends: %s", place.name, error)


def _is_cancelled() -> bool:
    """Whether it is the attempt itself that is to end, with its run."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _too_long(state: Task, deadline_ms: int, why: str = "") -> StepFailed:
    seconds = (deadline_ms - state.begun_ms) / 1000
    return StepFailed(f"it took longer than its timeout of {seconds:g} s{why}")
