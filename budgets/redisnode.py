"""Connections to one server through redis-py: what a call holds while it asks, and how many.

redis-py's own pools and clients retry, redirect and reconnect in ways of their own; a call of the
ledger must know whether the server may have seen it. So only redis-py's connections are used: a
call holds one, and whatever goes wrong on it ends that connection and nothing else.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio.connection import (
    Connection,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ReadOnlyError, ResponseError

from budgets.redisurl import RedisUrl
from budgets.transport import Argument

CONNECTIONS_MAX = 64
DURABLE_AT_ONCE_MAX = 8
CONNECT_MS_MAX = 1_000
# Handshakes cost CPU at both ends: begun all at once, none would end in time.
CONNECTING_AT_ONCE_MAX = 4
# Of the server, and of its leading: as chunks/run.lua.
_run_ids = re.compile(rb"(?:run_id|master_replid):([0-9a-f]+)").findall


class Held(Protocol):
    """What is used of a connection of redis-py."""

    @property
    def is_connected(self) -> bool:
        """Whether it is open, as far as this side knows."""
        ...

    async def connect(self) -> None:
        """Connects and says who we are."""
        ...

    async def disconnect(self, nowait: bool = False) -> None:
        """Closes it."""
        ...

    async def can_read(self) -> bool:
        """Whether something came unasked: its end, most likely."""
        ...

    async def send_packed_command(self, command: bytes) -> None:
        """Writes one command."""
        ...

    async def read_response(self) -> object:
        """Its answer; an error that it answers is raised."""
        ...


async def said(held: Held, *args: Argument | int) -> object:
    """What the server says to one command. Packed in C: redis-py's own way takes 20 us."""
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub: one element
    await held.send_packed_command(packed)
    return await held.read_response()


class Attempt:
    """One try of a call, until the deadline of all: whether the server may have seen it. `asking`
    is for a slot that is just moving to that server."""

    __slots__ = ("asking", "deadline", "sent")

    def __init__(self, deadline: asyncio.Timeout, *, asking: bool = False) -> None:
        self.deadline = deadline
        self.asking = asking
        self.sent = False


class Line:
    """A connection while a call holds it."""

    __slots__ = ("_attempt", "_held")

    def __init__(self, held: Held, attempt: Attempt) -> None:
        self._held = held
        self._attempt = attempt

    async def ask(self, *args: Argument | int) -> object:
        """One command's answer. Raises what redis-py raises. A line that broke stays broken: what
        is asked next speaks of what was written here."""
        if not self._held.is_connected:
            raise ConnectionResetError("the connection broke")
        self._attempt.sent = True
        if self._attempt.asking:
            await said(self._held, b"ASKING")
        return await said(self._held, *args)

    def give(self, more_ms: int) -> None:
        """The call has this long from now on."""
        now_s = asyncio.get_running_loop().time()
        self._attempt.deadline.reschedule(now_s + more_ms / 1000)


class Dial:
    """How connections are made: the URL's credentials and certificates, for any of its servers.
    `generation` is how often a server was met that is none of those known by then: a script that
    was meant for another does not go to it unasked."""

    def __init__(self, url: RedisUrl) -> None:
        self.generation = 0
        self._runs: dict[tuple[str, int], bytes] = {}
        self._url = url
        self._ssl_context: RedisSSLContext | None = None

    def server(self, address: tuple[str, int]) -> Held:
        """A new connection to a server that holds data."""
        url = self._url
        return self._made(address, url.username, url.password, url.database)

    async def recognise(self, address: tuple[str, int], held: Held) -> None:
        """Notes which server is there now, by its run id and its promotion. One that may not be
        asked is taken for the same: who lets us use it vouches for it."""
        try:
            info = await said(held, b"INFO", b"server", b"replication")
        except ResponseError:
            info = b""
        run = b"".join(_run_ids(info)) if isinstance(info, bytes) else b""
        if self._runs and self._runs.get(address) != run:
            self.generation += 1
        self._runs[address] = run

    def sentinel(self, address: tuple[str, int]) -> Held:
        """A new connection to a sentinel."""
        return self._made(address, self._url.sentinel_username, self._url.sentinel_password, 0)

    def _made(self, address: tuple[str, int], username: str, password: str, database: int) -> Held:
        url = self._url
        settings: dict[str, Any] = {
            "username": username or None,
            "password": password or None,
            "db": database,
            "protocol": 2,
            "driver_info": None,  # else it says more than the least rights allow
            "socket_timeout": None,  # a call has one deadline, not one for each read
            "socket_connect_timeout": CONNECT_MS_MAX / 1000,
        }
        if url.unix_path:
            return cast(Held, UnixDomainSocketConnection(path=url.unix_path, **settings))
        settings |= {"host": address[0], "port": address[1]}
        if not url.tls:
            return cast(Held, Connection(**settings))
        settings |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": url.ca_file or None,
            "ssl_certfile": url.certificate_file or None,
            "ssl_keyfile": url.key_file or None,
        }
        connection = SSLConnection(**settings)
        # Reading the authorities takes longer than a handshake: once for all connections.
        self._ssl_context = self._ssl_context or connection.ssl_context
        connection.ssl_context = self._ssl_context
        return cast(Held, connection)


class Node:
    """One server that holds data, and our connections to it. `must_lead`: it is asked for its role
    on each new one, because who named it as the primary may be behind."""

    def __init__(self, dial: Dial, address: tuple[str, int], *, must_lead: bool = False) -> None:
        self.address = address
        self._dial = dial
        self._must_lead = must_lead
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._durable_places = asyncio.Semaphore(DURABLE_AT_ONCE_MAX)
        self._connecting = asyncio.Semaphore(CONNECTING_AT_ONCE_MAX)
        self._idle: list[Held] = []
        self._open: dict[Held, int] = {}  # with the generation that each is of
        self._generation = 0

    @contextlib.asynccontextmanager
    async def line(self, attempt: Attempt) -> AsyncIterator[Line]:
        """A connection of one's own, for as long as it is held."""
        async with self._places:
            held = await self._taken()
            try:
                yield Line(held, attempt)
            finally:
                # redis-py ends a connection on which an answer may still be on its way.
                if held.is_connected and self._open.get(held) == self._generation:
                    self._idle.append(held)
                else:
                    await self._end(held)

    @contextlib.asynccontextmanager
    async def durable_line(self, attempt: Attempt) -> AsyncIterator[Line]:
        """The same for a call that waits for a disk: there are fewer of these than of places, so
        that no reservation waits behind them."""
        async with self._durable_places, self.line(attempt) as line:
            yield line

    async def _taken(self) -> Held:
        held = await self._rested()
        if held is None:
            async with self._connecting:
                held = await self._rested() or await self._connected()
        return held

    async def _rested(self) -> Held | None:
        """One that nobody holds."""
        while self._idle:
            held = self._idle.pop()
            if not await held.can_read():
                return held
            await self._end(held)
        return None

    async def _connected(self) -> Held:
        held = self._dial.server(self.address)
        self._open[held] = self._generation
        try:
            await held.connect()
            if self._must_lead:
                await _leads(held)
            await self._dial.recognise(self.address, held)
        except BaseException:
            await self._end(held)
            raise
        return held

    async def _end(self, held: Held) -> None:
        self._open.pop(held, None)
        await held.disconnect(nowait=True)

    async def drop(self) -> None:
        """Forgets the connections that nobody holds; those that are held are not used again."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for held in idle:
            await self._end(held)

    async def close(self) -> None:
        """Ends all connections, also those that are held."""
        self._generation += 1
        self._idle = []
        for held in list(self._open):
            await self._end(held)


async def _leads(held: Held) -> None:
    role = await said(held, "ROLE")
    if not isinstance(role, list) or role[0] != b"master":
        raise ReadOnlyError("it is a replica now")
