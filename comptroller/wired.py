"""The executor's way to the gateway: the connections that the gateway itself has to providers. A
piece of a stream costs a tenth of what it does in a client with layers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from gateway.upstream import (
    Origin,
    OwnedUpstream,
    PooledUpstream,
    Timeouts,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
    header_block,
)
from orchestrator.running.wire import WireBroken, WireSilent

CONNECT_MS = 10_000
ADDRESSES_MAX = 64
"""Parsed ones that are kept."""
_PORTS = {"http": 80, "https": 443}


class PooledWire:
    """See orchestrator.running.wire.Wire. `upstream`: for tests."""

    def __init__(self, upstream: OwnedUpstream | None = None) -> None:
        self._upstream = upstream or PooledUpstream()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> "PooledReading":
        """See Wire."""
        limit_ms = max(1, int(timeout_s * 1000))
        try:
            origin, target = _parted(url)
            request = UpstreamRequest(
                origin=origin,
                method="POST",
                target=target,
                headers=header_block(
                    (name.encode(), value.encode()) for name, value in headers.items()
                ),
                body=body,
                timeouts=Timeouts(min(limit_ms, CONNECT_MS), limit_ms, limit_ms),
            )
            return PooledReading(await self._upstream.send(request))
        except (UpstreamError, ValueError) as error:
            raise _broken(error) from error

    async def close(self) -> None:
        """See Wire."""
        await self._upstream.close()


class PooledReading:
    """See orchestrator.running.wire.Reading."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers
        }

    async def read(self) -> bytes:
        """See Reading."""
        try:
            return await self._response.read()
        except UpstreamError as error:
            raise _broken(error) from error

    def abort(self) -> None:
        """See Reading."""
        self._response.abort()


def _broken(error: Exception) -> WireBroken:
    return (WireSilent if isinstance(error, UpstreamTimeout) else WireBroken)(str(error))


@lru_cache(ADDRESSES_MAX)
def _parted(url: str) -> tuple[Origin, bytes]:
    """Raises ValueError for what is no address of a server."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is no http or https address")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    query = f"?{parts.query}" if parts.query else ""
    target = f"{parts.path or '/'}{query}".encode("ascii")
    return Origin(scheme, parts.hostname, parts.port or _PORTS[scheme]), target
