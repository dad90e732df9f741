"""How a request travels to the gateway, as `calls` sees it: whoever puts an executor together hands
one in (`comptroller.wired`)."""

from collections.abc import Mapping
from typing import Protocol


class WireBroken(Exception):
    """The server was not reached, or its answer is not whole."""


class WireSilent(WireBroken):
    """Its answer, or the next bytes of it, did not come in time."""


class Reading(Protocol):
    """An answer whose head has come."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""
        ...

    async def read(self) -> bytes:
        """What has come since the last time, at least a byte; nothing at the end. Raises
        WireBroken. Cancelled, the connection is closed."""
        ...

    def abort(self) -> None:
        """Nobody reads on. Does nothing to an answer that has ended."""
        ...


class Wire(Protocol):
    """Of one process. Sends nothing twice, takes no proxy from the environment, and follows no
    redirect."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reading:
        """Answered when the head is there. `timeout_s`: for that, and between any two pieces.
        Raises WireBroken."""
        ...

    async def close(self) -> None:
        """Ends the connections."""
        ...
