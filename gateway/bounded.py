"""uvicorn's HTTP protocol with bounds on what a client may send before anybody has looked at it.

uvicorn has none with httptools: a header without an end fills the memory of a process whose caller
has no key, and a head that never ends, or never begins, holds a connection for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
HEAD_S_MAX = 30.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """For uvicorn's `http` setting. Counts bytes that led to nothing: a head in parts, trailers and
    chunk extensions. A head that comes in one piece costs nothing."""

    head_bytes_max = HEAD_BYTES_MAX
    head_s_max = HEAD_S_MAX

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._bytes_to_nothing = 0
        self._head_ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._head_ends = self.loop.call_later(self.head_s_max, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._bytes_to_nothing += len(data)
        super().data_received(data)
        if self._bytes_to_nothing > self.head_bytes_max:
            self._refuse()
        elif self._in_head and self._head_ends is None:
            self._head_ends = self.loop.call_later(self.head_s_max, self.transport.close)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        self._bytes_to_nothing = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        self._bytes_to_nothing = 0
        self._forget_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._bytes_to_nothing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._bytes_to_nothing = 0
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn's: two lines of log for a WebSocket that a caller without a key asks for. The
        application answers it (gateway.unserved)."""

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The request's head is too large.")
        else:
            self.transport.close()

    def _forget_timer(self) -> None:
        if self._head_ends is not None:
            self._head_ends.cancel()
            self._head_ends = None
