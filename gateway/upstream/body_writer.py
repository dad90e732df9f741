"""Writing a large request body no faster than the peer takes it.

Handing megabytes to a transport at once would make asyncio copy what the socket does not take, and
would hide whether the peer still takes anything. So large bodies are written in slices, the next
one when the transport has room again, and each slice is a sign of life.
"""

import asyncio
from collections.abc import Callable


class BodyWriter:
    """One connection's writer; `pending` tells whether a body is not wholly written yet."""

    __slots__ = (
        "_loop",
        "_on_slice",
        "_paused",
        "_scheduled",
        "_slice_bytes",
        "_unsent",
        "pending",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, slice_bytes: int, on_slice: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._slice_bytes = slice_bytes
        self._on_slice = on_slice
        self._unsent = memoryview(b"")
        self._paused = False
        self._scheduled: asyncio.Transport | None = None
        self.pending = False

    def start(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Writes head and first slice, and the rest when there is room."""
        self._unsent = memoryview(body)[self._slice_bytes :]
        self.pending = True
        transport.writelines((head, memoryview(body)[: self._slice_bytes]))
        self._schedule(transport)

    def stop(self) -> None:
        """The connection is closed: nothing more will be written."""
        self._unsent = memoryview(b"")

    def pause(self) -> None:
        """The transport has no room."""
        self._paused = True

    def resume(self, transport: asyncio.Transport) -> None:
        """The transport has room again."""
        self._paused = False
        if self.pending:
            self._write(transport)

    def _write(self, transport: asyncio.Transport) -> None:
        if self._paused or not self._unsent:
            return
        piece = self._unsent[: self._slice_bytes]
        self._unsent = self._unsent[self._slice_bytes :]
        self.pending = bool(self._unsent)
        self._on_slice()
        transport.write(piece)
        self._schedule(transport)

    def _schedule(self, transport: asyncio.Transport) -> None:
        """`resume` only follows on `pause`: a socket that takes all at once announces nothing."""
        if self.pending and self._scheduled is None:
            self._scheduled = transport
            self._loop.call_soon(self._write_scheduled)

    def _write_scheduled(self) -> None:
        transport, self._scheduled = self._scheduled, None
        if transport is not None:
            self._write(transport)
