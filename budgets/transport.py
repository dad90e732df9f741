"""How a script call reaches Redis: a small Protocol, so that the simulation can stand in.

Every writing script is idempotent by the id in its arguments, so that a call can be sent again. A
transport does so only with plain commands: behind a new connection there may be a server that has
lost something, so a script's caller looks first. It must never conclude from silence that a call
did not happen: it raises `LedgerSilent`, and the caller, who knows the id, asks again or releases.
"""

from typing import Protocol

from budgets.scripts import Script

Reply = list[object]
Argument = bytes | str


class LedgerUnavailable(Exception):
    """The ledger did not take the call: nothing was sent. Safe to give up."""


class LedgerSilent(LedgerUnavailable):
    """The call was or may have been sent and no answer came in time: it may have happened."""


class ServerChanged(LedgerSilent):
    """The connection was lost, or another server answers: the call may have happened. What is there
    now is asked for before anything is sent again: see `budgets.session`."""


class LedgerRejected(LedgerUnavailable):
    """The server answered with an error (out of memory, read-only replica, our own fault)."""


class LedgerTransport(Protocol):
    """Runs scripts on the server that holds an organisation's hash slot. `generation` is another
    number whenever that may be another server than before, or the same one started again: then
    scripts that wait raise ServerChanged."""

    @property
    def generation(self) -> int:
        """See above."""
        ...

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
