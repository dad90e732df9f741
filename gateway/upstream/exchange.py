"""One response as its reader sees it: what has arrived, and how to wait for more.

It outlives its connection. When the message ends, the connection goes back to the pool at once,
even if the reader has not caught up, so an exchange holds the bytes, and the way back to the
connection only as long as the message lasts. That is why aborting late can never close a
connection that already serves somebody else.
"""

import asyncio
from typing import Protocol

from gateway.upstream.contract import (
    UpstreamAborted,
    UpstreamError,
    UpstreamTooLarge,
)


class Line(Protocol):
    """The connection, for as long as it carries this exchange."""

    def pause_reading(self) -> None:
        """Take nothing more from the socket."""

    def resume_reading(self) -> None:
        """Take from the socket again; idempotent."""

    def cut(self) -> None:
        """Close the connection: the exchange has ended itself."""


class Exchange:
    """An `UpstreamResponse` being received. Its methods are the reader's, the connection's last."""

    __slots__ = (
        "_error",
        "_line",
        "_loop",
        "_paused",
        "_unread_bytes_max",
        "_waiter",
        "_whole",
        "body",
        "headers",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line, unread_bytes_max: int) -> None:
        self.status = 0  # until the head is there
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()  # one buffer, so that thousands of tiny chunks cost no more memory
        self._loop = loop
        self._line: Line | None = line
        self._unread_bytes_max = unread_bytes_max
        self._whole = False
        self._paused = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> None:
        """Waits for the head. Raises UpstreamError."""
        if not self.status and self._line is not None:
            await self._arrival()
        if not self.status:
            raise self._error or UpstreamAborted("the answer was given up before its head came")

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        if not self.body and self._line is not None:
            await self._arrival()
        if self.body:
            return self._take()
        if self._error is not None:
            raise self._error
        return b""

    async def read_all(self, bytes_max: int) -> bytes:
        """See `UpstreamResponse.read_all`."""
        if self._line is not None and len(self.body) <= bytes_max:
            self._whole = True
            self._unread_bytes_max = bytes_max
            self._resume()
            await self._arrival()
        if len(self.body) > bytes_max:
            self._give_up(UpstreamTooLarge(bytes_max))
        if self._error is not None:
            raise self._error
        return self._take()

    def abort(self) -> bool:
        """See `UpstreamResponse.abort`."""
        unread = bool(self.body)
        self._give_up(UpstreamAborted("the answer was given up"))
        return unread

    def _give_up(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self.body = bytearray()
        line, self._line = self._line, None
        if line is not None:
            line.cut()
        self._wake()

    def _take(self) -> bytes:
        taken = bytes(self.body)
        self.body.clear()
        if self._paused:
            self._resume()
        return taken

    def _resume(self) -> None:
        self._paused = False
        if self._line is not None:
            self._line.resume_reading()

    async def _arrival(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("two tasks read one response: let one of them read")
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:  # cancelled, or the coroutine thrown away: nobody reads any more
            self.abort()
            raise

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The connection's side.

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head is there."""
        self.status = status
        self.headers = headers
        self._wake()

    def progress(self) -> None:
        """Bytes have arrived after the head: wakes the reader if it waits for them."""
        unread_bytes = len(self.body)
        if unread_bytes > self._unread_bytes_max:
            if self._line is not None and not self._paused:
                self._paused = True
                self._line.pause_reading()
            self._wake()
        elif unread_bytes and not self._whole:
            self._wake()

    def finish(self) -> None:
        """The message has ended; the connection is no longer this exchange's."""
        self._line = None
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        """The connection is gone before the message has ended."""
        self._line = None
        self._error = error
        self._wake()
