"""The upstream that the hot path uses: pooled keep-alive connections straight to each origin.

A request is written to a connection that is idle, or to a new one, once. It is never sent again: a
provider bills whatever it has received, so a connection that dies after our bytes left is an
unknown outcome and not a reason to retry. Only what was never written may go elsewhere.
"""

import asyncio
import ssl

from gateway.upstream.contract import (
    Origin,
    UpstreamLimits,
    UpstreamNotReached,
    UpstreamRequest,
    UpstreamResponse,
)
from gateway.upstream.head import request_head
from gateway.upstream.origin_pool import OriginPool, PoolCounts


def default_ssl_context() -> ssl.SSLContext:
    """The system's trusted authorities, certificates and names checked, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class PooledUpstream:
    """An `OwnedUpstream`. Belongs to one event loop."""

    def __init__(
        self,
        limits: UpstreamLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        unix_path: str = "",
    ) -> None:
        """`unix_path`: a socket that all connections go to, whatever an origin says."""
        self._limits = limits or UpstreamLimits()
        self._ssl_context = ssl_context or (None if unix_path else default_ssl_context())
        self._unix_path = unix_path
        self._pools: dict[Origin, OriginPool] = {}
        self._closing = False

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """See `Upstream.send`."""
        pool = self._pools.get(request.origin)
        if pool is None:
            pool = self._open_pool(request.origin)
        head = request_head(request, pool.host_line)
        connection = pool.take()
        if connection is None:
            connection = await pool.acquire(request.timeouts)
        exchange = connection.start(head, request)
        await exchange.head()
        return exchange

    def counts(self, origin: Origin) -> PoolCounts:
        """Connections of one origin at this moment; zeros for one that was never used."""
        pool = self._pools.get(origin)
        return pool.counts() if pool is not None else PoolCounts(0, 0, 0)

    async def close(self, drain_ms: int = 0) -> None:
        """See `OwnedUpstream.close`. Idempotent."""
        self._closing = True
        await asyncio.gather(*(pool.close(drain_ms) for pool in self._pools.values()))

    def _open_pool(self, origin: Origin) -> OriginPool:
        if self._closing:
            raise UpstreamNotReached(f"{origin}: the gateway is shutting down")
        if len(self._pools) >= self._limits.origins_max:
            self._pools = {o: pool for o, pool in self._pools.items() if not pool.unused()}
        if len(self._pools) >= self._limits.origins_max:
            raise UpstreamNotReached(
                f"{origin}: {len(self._pools)} origins are in use: lower their number"
            )
        ssl_context = self._ssl_context if origin.scheme == "https" else None
        pool = self._pools[origin] = OriginPool(origin, self._limits, ssl_context, self._unix_path)
        return pool
