"""Hears which budgets are used up, from the gateways that have said no for good."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from budgets.exhausted import Exhausted
from orchestrator.kinds.contract import BudgetUsedUp, UsedUpForNow
from orchestrator.running.purse import Purse

Hears = Callable[[Exhausted], Awaitable[None]]


class Watch:
    """One for an executor, which says at its beginning who `hears`."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse
        self._place = ""
        self._hears: Hears | None = None
        self._lock = asyncio.Lock()

    async def begin(self, hears: Hears) -> None:
        """From now on: what was told before is told again, if it is still true."""
        while told := await self._purse.exhausted(self._place):
            self._place = told[-1].at
        self._hears = hears

    async def round(self) -> None:
        """All that was told until now. Raises LedgerUnavailable."""
        async with self._lock:
            if self._hears is None:
                return
            for each in await self._purse.exhausted(self._place):
                await self._hears(each)
                self._place = each.at


def meaning(told: Exhausted) -> BudgetUsedUp | UsedUpForNow:
    """What it is to the attempt that was refused. A budget that is only used up until its window
    ends is nobody's end."""
    shows = f"`comptroller budget show {told.scope}` says what it had"
    if not told.until_ms:
        reason = f"the budget of {told.scope} is used up ({told.dimension}): {shows}"
        return BudgetUsedUp(reason, told.scope)
    resets = datetime.fromtimestamp(told.until_ms / 1000, UTC)
    reason = (
        f"the budget of {told.scope} is used up ({told.dimension} per {told.window}) until "
        f"{resets:%Y-%m-%dT%H:%M:%SZ}: {shows}"
    )
    return UsedUpForNow(reason, told.scope, told.until_ms)
