"""Hears which budgets are used up, from the gateways that have said no for good."""

import asyncio
from collections.abc import Awaitable, Callable

from budgets.exhausted import Exhausted
from orchestrator.running.purse import Purse

Hears = Callable[[Exhausted], Awaitable[None]]


class Watch:
    """One for an executor, which says at its beginning who `hears`. A budget that is only used up
    until its next window is nobody's end."""

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
                if each.window == "total":
                    await self._hears(each)
                self._place = each.at
