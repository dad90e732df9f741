"""The upstream for origins behind a forward proxy, through httpx.

Proxies are rare, slow anyway and full of special cases (CONNECT, credentials, SOCKS), so this one
trades speed for httpx's experience. What it must not trade is the question that money hangs on:
was anything sent? The class of an exception does not answer it (a tunnel that fails and an answer
that breaks off can raise the same one), so httpcore's trace of what it is doing does.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from gateway.upstream.contract import (
    Timeouts,
    UpstreamAborted,
    UpstreamError,
    UpstreamLimits,
    UpstreamNotReached,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnknown,
    bracketed,
)
from gateway.upstream.head import check_request_line, header_pairs, host_line
from gateway.upstream.pool import default_ssl_context


class ProxiedUpstream:
    """An `OwnedUpstream` through the proxies given by scheme of the origin.

    `proxies` maps "http" and "https" to a proxy's URL. Raises ValueError or ImportError when one
    cannot be used (unknown scheme; SOCKS without httpx's extra).
    """

    def __init__(
        self,
        proxies: Mapping[str, str],
        limits: UpstreamLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        limits = limits or UpstreamLimits()
        context = ssl_context or default_ssl_context()
        pooling = httpx.Limits(
            max_connections=limits.connections_per_origin_max,
            max_keepalive_connections=limits.idle_per_origin_max,
            keepalive_expiry=limits.idle_lifetime_ms / 1000,
        )
        # The environment is read in one place only (`environment.py`), so trust_env is off here;
        # answers are nobody's session, so cookies are refused.
        self._client = httpx.AsyncClient(
            mounts={
                f"{scheme}://": httpx.AsyncHTTPTransport(
                    proxy=proxy, verify=context, limits=pooling, trust_env=False
                )
                for scheme, proxy in proxies.items()
            },
            verify=context,
            trust_env=False,
            timeout=None,  # noqa: S113 - `_Sending` and `_next_piece` keep the time
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._closings: set[asyncio.Task[None]] = set()

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """See `Upstream.send`."""
        outgoing = _outgoing(request)
        timeouts = request.timeouts
        sending = _Sending(timeouts)
        outgoing.extensions["trace"] = sending.trace
        try:
            async with sending.deadline:
                response = await self._client.send(outgoing, stream=True)
        except TimeoutError as error:
            raise sending.timed_out() from error
        except httpx.HTTPError as error:
            raise sending.failed(error) from error
        answer = _ProxiedResponse(response, timeouts.idle_ms, self._closings)
        lengths = {name for name, _ in answer.headers}
        if {b"content-length", b"transfer-encoding"} <= lengths:
            answer.abort()
            raise UpstreamUnknown("the answer has two lengths", bytes_received=True)
        return answer

    async def close(self, drain_ms: int = 0) -> None:
        """See `OwnedUpstream.close`. httpx cannot be drained from outside: it closes at once."""
        del drain_ms
        await asyncio.gather(*self._closings)
        await self._client.aclose()


def _outgoing(request: UpstreamRequest) -> httpx.Request:
    check_request_line(request)
    origin = request.origin
    host_line(origin)  # refuses what is no origin
    url = httpx.URL(
        scheme=origin.scheme,
        host=bracketed(origin.host),
        port=origin.port,
        raw_path=request.target,
    )
    return httpx.Request(
        request.method,
        url,
        headers=header_pairs(request.headers),
        content=request.body,
    )


class _Sending:
    """Follows one request through httpcore: what was sent, and until when to wait."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._is_ours = True
        self._sent = False
        self._answered = False
        self.deadline = asyncio.timeout(timeouts.connect_ms / 1000)

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's `trace` extension (its documentation, "Request extensions")."""
        request = info.get("request")  # where something starts, not where it ends
        if request is not None:
            self._is_ours = request.method != b"CONNECT"
        if not self._is_ours:
            return  # the conversation with the proxy: the provider has seen nothing of it
        if event.endswith((".send_request_headers.started", ".send_request_body.complete")):
            self._sent = True
            now = asyncio.get_running_loop().time()
            self.deadline.reschedule(now + self._timeouts.first_byte_ms / 1000)
        elif event.endswith(".receive_response_headers.complete"):
            self._answered = True

    def timed_out(self) -> UpstreamError:
        """The error for a deadline that passed."""
        if not self._sent:
            return UpstreamNotReached(f"no connection within {self._timeouts.connect_ms} ms")
        limit_ms = self._timeouts.first_byte_ms
        return UpstreamTimeout("first_byte", limit_ms, bytes_received=self._answered)

    def failed(self, error: httpx.HTTPError) -> UpstreamError:
        """The error for one of httpx's."""
        if not self._sent:
            return UpstreamNotReached(f"not reached through the proxy: {error!r}")
        return UpstreamUnknown(f"broken off: {error!r}", bytes_received=self._answered)


class _ProxiedResponse:
    """An `UpstreamResponse` over httpx's."""

    def __init__(
        self, response: httpx.Response, idle_ms: int, closings: "set[asyncio.Task[None]]"
    ) -> None:
        self.status = response.status_code
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._idle_ms = idle_ms
        self._closings = closings
        self._is_reading = False
        self._ended = False
        self._error: UpstreamError | None = None

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        if self._is_reading:
            raise RuntimeError("two tasks read one response: let one of them read")
        if self._error is not None:
            raise self._error
        if self._ended:
            return b""
        self._is_reading = True
        try:
            return await self._next_piece()
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._is_reading = False

    async def read_all(self, bytes_max: int) -> bytes:
        """See `UpstreamResponse.read_all`."""
        body = bytearray()
        while piece := await self.read():
            body += piece
            if len(body) > bytes_max:
                self._give_up(UpstreamTooLarge(bytes_max))
                raise UpstreamTooLarge(bytes_max)
        return bytes(body)

    def abort(self) -> bool:
        """See `UpstreamResponse.abort`. What the HTTP library holds is its own; pieces are handed
        out as they come."""
        self._give_up(UpstreamAborted("the answer was given up"))
        return False

    def _give_up(self, error: UpstreamError) -> None:
        if self._error is not None:
            return
        self._error = error
        if not self._ended:
            # Closing makes a pending read fail, which then raises `_error`.
            closing = asyncio.ensure_future(self._response.aclose())
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def _next_piece(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_ms / 1000):
                async for piece in self._pieces:
                    if piece:
                        return piece
        except TimeoutError:
            self._give_up(UpstreamTimeout("idle", self._idle_ms, bytes_received=True))
        except httpx.HTTPError as error:
            message = f"broken off: {error!r}"
            self._give_up(UpstreamUnknown(message, bytes_received=True))
        if self._error is not None:
            raise self._error
        self._ended = True
        return b""
