"""Tasks that are held: nothing has failed, and another attempt comes when what they need is there.

What they wait for is in their row, and is looked at before another attempt is begun, or told: a
freeze can last for days, and a window for a month.
"""

import contextlib
from dataclasses import replace

import msgspec

from budgets.policy import Limit
from budgets.transport import LedgerUnavailable
from orchestrator.definition import Step
from orchestrator.kinds.contract import Held, UsedUpForNow
from orchestrator.places import RunPlace, TaskId
from orchestrator.progress import Task
from orchestrator.running.closing import Closing
from orchestrator.running.kit import Kit

LEDGER_AWAY_MS = 1_000
ASKING_MS = 5_000
"""How often it is looked whether a run that asks was given more."""
WINDOW_MS = 60_000
"""How often it is looked whether a budget was raised before its window ends."""
PAST_MS = 1_000
"""After the end of a window that the ledger's clock has not come to."""


class UsedUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A budget that nothing fits in until its window ends, at `resets_at_ms` (0: never), or the
    scope's limits are others than these: within a window what is spent never falls."""

    scope: str
    reason: str
    limits: tuple[Limit, ...]
    resets_at_ms: int = 0


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a task is held. `is_timed`: the time of its step goes on, from when the first of the
    attempts that were held has begun."""

    is_timed: bool = False
    used_up: UsedUp | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Holding).decode


def holding_of(task: Task) -> Holding:
    """Of a task that waits for another attempt."""
    return _decode(task.held) if task.held else Holding()


class Holds:
    """Of the tasks of one run."""

    def __init__(self, run: RunPlace, kit: Kit, closing: Closing) -> None:
        self._run = run
        self._kit = kit
        self._closing = closing

    async def begun(self, state: Task, held: Held) -> Task:
        """The task, held from now on."""
        used_up = None
        if isinstance(held, UsedUpForNow):
            with contextlib.suppress(LedgerUnavailable):  # then another attempt will hear it
                limits = await self._kit.purse.limits(held.scope)
                used_up = UsedUp(held.scope, str(held), limits, held.resets_at_ms)
        return self._held(state, held, Holding(held.is_timed, used_up))

    async def still(self, step: Step, task: TaskId, before: Task) -> Task | None:
        """The task, held for longer; None where another attempt may begin. The first one finds out
        by itself what holds it."""
        holding = holding_of(before)
        try:
            if step.action.has_key:
                await self._kit.purse.check_thawed(self._run.task_scope(task))
            if holding.used_up is not None:
                await self._check(holding.used_up)
        except Held as held:
            return self._held(before, held, Holding(used_up=holding.used_up))
        except LedgerUnavailable as error:
            away = Held(str(error), LEDGER_AWAY_MS)
            return self._held(before, away, Holding(used_up=holding.used_up))
        return None

    async def _check(self, used_up: UsedUp) -> None:
        """Raises UsedUpForNow while it is."""
        if 0 < used_up.resets_at_ms <= self._kit.clock.now_ms():
            return
        if await self._kit.purse.limits(used_up.scope) != used_up.limits:
            return
        # A run around this one may have been at work when it was to ask: it is told again.
        if used_up.resets_at_ms or await self._closing.used_up(used_up.scope, used_up.reason):
            raise UsedUpForNow(used_up.reason, used_up.scope, used_up.resets_at_ms)

    def _held(self, state: Task, held: Held, holding: Holding) -> Task:
        now_ms = self._kit.clock.now_ms()
        in_ms = held.again_in_ms
        if isinstance(held, UsedUpForNow):
            left_ms = max(held.resets_at_ms - now_ms, PAST_MS)
            in_ms = min(left_ms, WINDOW_MS) if held.resets_at_ms else ASKING_MS
        return replace(
            state,
            status="again",
            wake_at_ms=now_ms + in_ms,
            error=str(held),
            held=_encode(holding).decode(),
        )
