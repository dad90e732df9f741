"""The connections of one origin: who gets one, who waits, and who is next.

A place is the right to hold one connection open. It is taken before dialling and given back when
the connection closes, exactly once, or handed on to the first request that waits. An idle
connection exists only while nobody waits, so requests are served in the order in which they came.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from gateway.upstream.connection import Connection
from gateway.upstream.contract import Origin, Timeouts, UpstreamLimits, UpstreamNotReached
from gateway.upstream.head import host_line


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """A moment's state of one origin: connections open or being opened, idle ones, waiting."""

    open: int
    idle: int
    waiting: int


class OriginPool:
    """Connections to one origin, newest idle one first: the old ones can age and close."""

    def __init__(
        self,
        origin: Origin,
        limits: UpstreamLimits,
        ssl_context: ssl.SSLContext | None,
        unix_path: str = "",
    ) -> None:
        """`ssl_context` is None for http; `unix_path` as in PooledUpstream. Raises
        UpstreamNotReached for an impossible origin."""
        self.host_line = host_line(origin)
        self._origin = origin
        self._limits = limits
        self._ssl_context = ssl_context
        self._unix_path = unix_path
        self._open = 0
        self._acquiring = 0
        self._idle: dict[Connection, None] = {}  # an ordered set
        self._adopted: set[Connection] = set()  # until the socket is closed
        # A waiting request is given a connection, or None: a place to open one.
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closing = False
        self._changed = asyncio.Event()

    def counts(self) -> PoolCounts:
        """See `PoolCounts`."""
        return PoolCounts(self._open, len(self._idle), len(self._waiting))

    def unused(self) -> bool:
        """Whether nothing would be lost by forgetting this pool."""
        return not (self._open or self._acquiring or self._adopted)

    def take(self) -> Connection | None:
        """An idle connection, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.popitem()[0]
            if connection.usable():
                return connection
            connection.close()
        return None

    async def acquire(self, timeouts: Timeouts) -> Connection:
        """A new connection, or one that another request has finished with, in order.

        Raises UpstreamNotReached.
        """
        if self._closing:
            raise UpstreamNotReached(f"{self._origin}: the gateway is shutting down")
        self._acquiring += 1
        try:
            async with asyncio.timeout(timeouts.connect_ms / 1000):
                return await self._acquire()
        except TimeoutError as error:
            raise UpstreamNotReached(
                f"{self._origin}: no connection within {timeouts.connect_ms} ms "
                f"({self._open} of {self._limits.connections_per_origin_max} open)"
            ) from error
        finally:
            self._acquiring -= 1

    async def close(self, drain_ms: int) -> None:
        """See `OwnedUpstream.close`."""
        self._closing = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(UpstreamNotReached("the gateway is shutting down"))
        for connection in list(self._idle):
            connection.close()
        if drain_ms > 0:
            try:
                async with asyncio.timeout(drain_ms / 1000):
                    await self._until_gone()
            except TimeoutError:
                pass  # the ones still in flight have had their time
        for connection in list(self._adopted):
            connection.close()
        await self._until_gone()

    async def _until_gone(self) -> None:
        while self._adopted:
            self._changed.clear()
            await self._changed.wait()

    async def _acquire(self) -> Connection:
        stale: Connection | None = None
        while True:
            # Nobody is overtaken: while requests wait, all places are taken.
            if self._open < self._limits.connections_per_origin_max:
                self._open += 1
                return await self._dial()
            connection = await self._turn(stale)
            if connection is None:
                return await self._dial()
            if connection.usable():
                return connection
            stale = connection

    async def _turn(self, stale: Connection | None) -> Connection | None:
        """Waits to be given a connection, or None for a place.

        Whoever was given a stale connection comes first again, and gets its place by closing it.
        """
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        if stale is not None:
            self._waiting.appendleft(waiter)
            stale.close()
        elif len(self._waiting) < self._limits.waiting_per_origin_max:
            self._waiting.append(waiter)
        else:
            raise UpstreamNotReached(
                f"{self._origin}: {len(self._waiting)} requests wait for a connection already"
            )
        try:
            return await waiter
        except BaseException:
            self._leave(waiter)
            raise

    def _leave(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Gives back what a request was given in the moment in which it was cancelled."""
        waiter.cancel()  # does nothing to one that was answered
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if waiter.cancelled() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._free_place()
        elif not connection.closed:
            self.released(connection)

    async def _dial(self) -> Connection:
        """Opens a connection on a place that is taken already. Raises UpstreamNotReached."""
        try:
            connection = await self._connect()
        except BaseException:
            self._free_place()
            raise
        connection.adopt(self)
        self._adopted.add(connection)
        return connection

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            if self._unix_path:
                _, connection = await loop.create_unix_connection(
                    lambda: Connection(loop, self._limits), self._unix_path
                )
            else:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._limits),
                    self._origin.host,
                    self._origin.port,
                    ssl=self._ssl_context,
                    server_hostname=self._origin.host if self._ssl_context else None,
                )
        except (OSError, UnicodeError) as error:  # DNS, TCP, TLS; a name that cannot be encoded
            raise UpstreamNotReached(f"{self._origin}: {error}") from error
        if connection.closed or self._closing:
            connection.close()
            raise UpstreamNotReached(f"{self._origin}: closed as soon as it was connected")
        return connection

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._open -= 1

    # The connections' side (`Owner`).

    def released(self, connection: Connection) -> None:
        """See `Owner`."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        elif self._closing or len(self._idle) >= self._limits.idle_per_origin_max:
            connection.close()
        else:
            self._idle[connection] = None

    def closed(self, connection: Connection) -> None:
        """See `Owner`."""
        self._idle.pop(connection, None)
        self._free_place()

    def gone(self, connection: Connection) -> None:
        """See `Owner`."""
        self._adopted.discard(connection)
        self._changed.set()
