"""What the gateway needs from an upstream, apart from how bytes travel.

The path of a request must know one thing when sending fails: may the provider have seen it? That
decides whether a reservation is released or charged whole, so the answer is in the type of the
error, and every implementation (pooled connections, forward proxy, the simulation's fake) has to
give it.

    UpstreamError
    |- UpstreamNotReached     nothing of the request was sent: release the reservation
    |- UpstreamUnknown        sent, or maybe sent, and no whole answer came: charge it whole
    |  |- UpstreamTimeout     the same, because a time limit passed
    |  `- UpstreamTooLarge    the same, because it is longer than its reader takes
    `- UpstreamAborted        we gave the answer up ourselves
"""

from dataclasses import dataclass
from typing import Literal, NewType, Protocol

import msgspec


class UpstreamError(Exception):
    """Base of everything that `send`, `read` and `read_all` raise."""


class UpstreamNotReached(UpstreamError):
    """Provably nothing of the request was sent: refused, no name, no TLS, no place in the pool."""


class UpstreamUnknown(UpstreamError):
    """Bytes of the request were or may have been sent and the answer is not whole.

    `bytes_received` tells whether any byte of an answer had arrived.
    """

    def __init__(self, message: str, *, bytes_received: bool) -> None:
        super().__init__(message)
        self.bytes_received = bytes_received


Phase = Literal["first_byte", "idle"]


class UpstreamTimeout(UpstreamUnknown):
    """The answer's head (`phase` "first_byte") or its next bytes ("idle") took too long."""

    def __init__(self, phase: Phase, limit_ms: int, *, bytes_received: bool) -> None:
        what = "no answer" if phase == "first_byte" else "nothing more of the answer"
        super().__init__(f"{what} within {limit_ms} ms", bytes_received=bytes_received)
        self.phase: Phase = phase
        self.limit_ms = limit_ms


class UpstreamTooLarge(UpstreamUnknown):
    """The answer is longer than its reader takes, `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the answer is larger than {bytes_max} bytes", bytes_received=True)
        self.bytes_max = bytes_max


class UpstreamAborted(UpstreamError):
    """The response was given up by `abort`, by a reader that stalled, or by closing the pool."""


HeaderBlock = NewType("HeaderBlock", bytes)
"""Whole header lines, each ending in CR LF; made by `header_block`, which refuses injection."""


class Origin(msgspec.Struct, frozen=True):
    """Where connections go. `host` is ASCII: a name (punycode), an IPv4 or a bare IPv6 address."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """The host as it stands in a URL or a Host header (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


class Timeouts(msgspec.Struct, frozen=True):
    """Time limits of one request.

    `connect_ms` covers the wait for a place in the pool, DNS, TCP and TLS together. `first_byte_ms`
    runs from the last piece of the request handed to the socket until the whole final head is
    there: interim answers (1xx) and a head that drips do not extend it. `idle_ms` runs between
    two arrivals of the body.
    """

    connect_ms: int
    first_byte_ms: int
    idle_ms: int


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request. Host and Content-Length are added by the upstream, nothing else is.

    A Struct and not a dataclass: one is made for every request (0.1 us instead of 1.2 us).
    """

    origin: Origin
    method: str
    target: bytes
    headers: HeaderBlock
    body: bytes
    timeouts: Timeouts


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Whoever holds it reads it to the end or aborts it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """(lowercased name, value), in order; framing headers included, trailers dropped."""

    async def read(self) -> bytes:
        """All bytes since the last read, at least one; b"" at the end. Raises UpstreamError.

        Bytes that came before a failure are given out first. One reader at a time.
        """

    async def read_all(self, bytes_max: int) -> bytes:
        """The rest of the body at once. A larger one is cut and raises UpstreamTooLarge."""

    def abort(self) -> bool:
        """Give the answer up: the connection is closed, reading raises UpstreamAborted. Whether
        bytes that had arrived go unread: what was read bounds nothing then.

        Idempotent. After the end of the answer it closes nothing: the connection is back in the
        pool and may already serve another request.
        """


class Upstream(Protocol):
    """Sends requests. It never sends one twice."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Returns when the head of the final answer has arrived. Raises UpstreamError.

        Cancelling the caller closes the connection: the provider sees the request cancelled.
        """


class OwnedUpstream(Upstream, Protocol):
    """An upstream that somebody has to close."""

    async def close(self, drain_ms: int = 0) -> None:
        """Refuse new requests, give those in flight `drain_ms` to end, then close everything."""


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Every limit of the upstream client; the ones `per_origin` hold for each origin by itself."""

    connections_per_origin_max: int = 1024
    idle_per_origin_max: int = 256
    waiting_per_origin_max: int = 4096
    origins_max: int = 1024
    # Below the 5 s after which uvicorn (vLLM) and Node close an idle connection: a request written
    # on one that is just being closed has an unknown outcome, and is charged whole.
    idle_lifetime_ms: int = 4_000
    head_bytes_max: int = 64 * 1024
    """Also the most bytes without content (chunk framing, trailers) between two body bytes."""
    unread_bytes_max: int = 256 * 1024
    """Unread body above this pauses the socket; what one receive brought (256 KiB) may exceed it"""
    send_slice_bytes: int = 256 * 1024
    """Larger request bodies are written in slices of this size, as fast as the peer takes them."""
    stall_ms_max: int = 600_000
    """A reader that takes nothing for this long while the socket is paused loses the answer."""
