"""A ledger that loses answers, refuses, hangs, or is away, as a test wants it."""

import asyncio
from collections import deque
from typing import Literal

from budgets.scripts import Script
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerTransport,
    LedgerUnavailable,
    Reply,
)

Fault = Literal["", "answer lost", "refused", "rejected", "hangs"]


class FaultyTransport:
    """Passes calls on, but for the faults that a test has put in their way: `faults` of the next
    ones, `down` for all, and `refuses` for those that name an id."""

    def __init__(self, inner: LedgerTransport) -> None:
        self._inner = inner
        self.faults: deque[Fault] = deque()
        self.down = False
        self.refuses = ""
        self.asked = asyncio.Event()
        self.open = asyncio.Event()  # while it is not set, calls are answered late
        self.open.set()

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """One call under the next fault."""
        self.asked.set()
        fault = "refused" if self.down else self.faults.popleft() if self.faults else ""
        if fault == "refused":
            raise LedgerUnavailable("the ledger cannot be reached")
        if fault == "hangs":
            await asyncio.Event().wait()
        await self.open.wait()
        if fault == "rejected" or (self.refuses and self.refuses in args):
            raise LedgerRejected("OOM command not allowed")
        reply = await self._inner.call(script, keys, args)
        if fault == "answer lost":
            raise LedgerSilent("the answer was lost")
        return reply

    call_durably = call

    async def command(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command(*args)

    async def command_durably(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command_durably(*args)

    async def close(self) -> None:
        """Nothing of its own."""
