"""How a script call reaches Redis: a small Protocol, so that the simulation can stand in.

Every writing script is idempotent by the id in its arguments. A transport may therefore send a
call again after a lost connection, and must never conclude from silence that a call did not
happen: it raises `LedgerSilent`, and the caller, who knows the id, asks again or releases.
"""

from typing import Protocol

from budgets.scripts import Script

Reply = list[object]
Argument = bytes | str


class LedgerUnavailable(Exception):
    """The ledger did not take the call: nothing was sent. Safe to give up."""


class LedgerSilent(LedgerUnavailable):
    """The call was or may have been sent and no answer came in time: it may have happened."""


class LedgerRejected(LedgerUnavailable):
    """The server answered with an error (out of memory, read-only replica, our own fault)."""


class LedgerTransport(Protocol):
    """Runs scripts on the server that holds an organisation's hash slot."""

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """The script's answer. Raises LedgerUnavailable, LedgerSilent, LedgerRejected."""
        ...

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """The same, answered only when the server's disk has it (WAITAOF 1 0): for policy."""
        ...

    async def command(self, *args: Argument) -> object:
        """One plain command (key records, server facts), with the same errors."""
        ...

    async def command_durably(self, *args: Argument) -> object:
        """The same, answered only when the server's disk has it."""
        ...

    async def close(self) -> None:
        """Lets go of the connections; calls in flight end with LedgerSilent."""
        ...
