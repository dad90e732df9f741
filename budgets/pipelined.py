"""The fast transport: one Redis or Valkey node, all calls of a loop tick in one write.

redis-py costs about as much CPU per call as everything else of a request together, so the hot path
packs commands itself (hiredis, in C), appends them to a buffer that is written once per loop tick,
and hands replies to futures in order. Commands survive a lost connection: what was not answered is
sent again on the next one until its deadline. Scripts do not: their caller first looks what is
there (`ServerChanged`). TLS, Sentinel and Cluster go through `budgets.redispy`.
"""

import asyncio
import functools
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import hiredis

from budgets.scripts import Script
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerUnavailable,
    Reply,
    ServerChanged,
)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where the node listens: a unix socket path, or host and port."""

    unix_path: str = ""
    host: str = "127.0.0.1"
    port: int = 6379
    username: str = ""
    password: str = ""
    database: int = 0


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one connection."""

    call_timeout_ms: int = 2_000
    durable_timeout_ms: int = 5_000
    reconnect_delay_ms: int = 50
    calls_waiting_max: int = 10_000


TOUCH_MS = 1_000
_run_ids = re.compile(rb"(?:run_id|master_replid):([0-9a-f]+)").findall
_UNCONFIRMED = "the ledger's disk did not confirm the change: make it again"


class _Call:
    """One command between its write and its reply."""

    __slots__ = ("deadline", "future", "lost", "packed", "sent")

    def __init__(
        self,
        packed: bytes,
        future: asyncio.Future[object],
        deadline: float,
        lost: Callable[[], LedgerUnavailable] | None,
    ) -> None:
        self.packed = packed
        self.future = future
        self.deadline = deadline
        self.lost = lost
        self.sent = False


class _Connection(asyncio.Protocol):
    """One pipelined connection that reconnects while calls wait. `looked_on` is another one, on
    which callers look at the server before they use this one: a server that is not the same is
    shown nothing that they ask for. None where this is that one."""

    def __init__(
        self,
        address: NodeAddress,
        limits: TransportLimits,
        looked_on: "_Connection | None" = None,
    ) -> None:
        self._looked_on = looked_on
        self._ready = False  # connected, and calls go out
        self.run = b""  # which server this is, and by which promotion: told by the greeting
        self._address = address
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.connections = 0  # made so far: the number of this one
        self.changes = 0  # after each of them callers look again
        self._reader = hiredis.Reader()
        self._waiting: deque[_Call] = deque()
        self._buffer: list[bytes] = []
        self._flush_scheduled = False
        self._handshake_replies = 0
        self._connecting: asyncio.Task[None] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._closed = False
        self._loading = False

    def submit(
        self,
        packed: bytes,
        timeout_ms: int,
        lost: Callable[[], LedgerUnavailable] | None = None,
        *,
        bound: bool = False,
    ) -> asyncio.Future[object]:
        """Queues one packed command for this tick's write; the future has its reply. One that has
        `lost` is never sent on another connection: that makes its error. One that is `bound` speaks
        of this very connection."""
        if bound and not self._ready:
            raise LedgerSilent(_UNCONFIRMED)
        if self._closed:
            raise LedgerUnavailable("the ledger connection is closed: the process is stopping")
        if len(self._waiting) >= self._limits.calls_waiting_max:
            raise LedgerUnavailable(
                f"{self._limits.calls_waiting_max} ledger calls wait already: is Redis slow?"
            )
        future: asyncio.Future[object] = self._loop.create_future()
        call = _Call(packed, future, self._loop.time() + timeout_ms / 1000, lost)
        self._waiting.append(call)
        if self._ready:
            call.sent = True
            self._buffer.append(packed)
            if not self._flush_scheduled:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush)
        elif self._transport is None and self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        if self._watchdog is None or call.deadline < self._watchdog.when():
            if self._watchdog is not None:
                self._watchdog.cancel()
            self._watchdog = self._loop.call_at(call.deadline, self._expire)
        return future

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._transport is not None and self._buffer:
            self._transport.write(b"".join(self._buffer))
        self._buffer.clear()

    async def _connect(self) -> None:
        """Tries until connected, or until no call waits any more."""
        try:
            if self._loading:
                self._loading = False
                await asyncio.sleep(self._limits.reconnect_delay_ms / 1000)
            while self._waiting and not self._closed:
                try:
                    await self._open()
                except OSError:
                    await asyncio.sleep(self._limits.reconnect_delay_ms / 1000)
                else:
                    return
        finally:
            self._connecting = None

    async def _open(self) -> None:
        address = self._address
        if address.unix_path:
            await self._loop.create_unix_connection(lambda: self, address.unix_path)
        else:
            await self._loop.create_connection(lambda: self, address.host, address.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the server, then sends again whatever is unanswered and still wanted: at once, or
        when it is known to be the server that was looked at."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no common base
        self.connections += 1
        self._reader = hiredis.Reader()
        greeting = self._greeting()
        self._handshake_replies = len(greeting)
        self._buffer = greeting
        if self._looked_on is None or not self._looked_on.connections:
            self._send_waiting()
        else:
            self._flush()

    def _send_waiting(self) -> None:
        self._ready = True
        self._forget_given_up()
        for call in self._waiting:
            call.sent = True
            self._buffer.append(call.packed)
        self._flush()

    def _greeted(self, info: object) -> None:
        """The server has said who it is. One that may not be asked is taken for the same: who lets
        us use it vouches for it."""
        self.run = b"".join(_run_ids(info)) if isinstance(info, bytes) else b""
        if self._ready:
            return
        if self._looked_on is not None and self._looked_on.run != self.run:
            self.changes += 1
            self._fail_what_was_looked_at()
        self._send_waiting()

    def _greeting(self) -> list[bytes]:
        address = self._address
        commands: list[bytes] = []
        if address.password:
            user = (address.username,) if address.username else ()
            commands.append(_packed(("AUTH", *user, address.password)))
        if address.database:
            commands.append(_packed(("SELECT", address.database)))
        return [*commands, _packed(("INFO", "server", "replication"))]

    def data_received(self, data: bytes) -> None:
        """Hands each reply to the call that waits longest."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if self._handshake_replies:
                self._handshake_replies -= 1
                if not self._handshake_replies:
                    self._greeted(reply)
                elif isinstance(reply, hiredis.ReplyError):
                    self._fail_all(LedgerRejected(f"the ledger's server refused us: {reply}"))
                continue
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("LOADING"):
                self._come_back()
                return
            future = self._waiting.popleft().future
            if not future.done():
                future.set_result(reply)

    def _come_back(self) -> None:
        """The server reads its file and has executed nothing yet: all calls are sent again on a
        connection made a little later."""
        self._loading = True
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forgets the connection; commands that still wait are sent again on the next one."""
        self._transport, self._ready = None, False
        self.changes += 1
        self._buffer.clear()
        self._fail_what_was_looked_at()
        self._forget_given_up()
        if self._closed:
            self._fail_all(LedgerSilent("the ledger connection closed before the answer came"))
        elif self._waiting and self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())

    def _fail_what_was_looked_at(self) -> None:
        for call in self._waiting:
            if call.lost is not None and not call.future.done():
                call.future.set_exception(call.lost())

    def _expire(self) -> None:
        """Ends calls past their deadline. Replies come in order, so a first call without a reply
        means a server that does not answer: the connection is dropped and built again."""
        self._watchdog = None
        now = self._loop.time()
        silent = False
        for call in self._waiting:
            if call.deadline <= now and not call.future.done():
                silent = silent or call.sent or not self._ready
                call.future.set_exception(_unanswered(call.sent))
        if self._transport is None:
            self._forget_given_up()
        elif silent:
            self._transport.abort()
        waiting = [call.deadline for call in self._waiting if not call.future.done()]
        if waiting:
            self._watchdog = self._loop.call_at(min(waiting), self._expire)

    def _forget_given_up(self) -> None:
        """Only without a connection: on one, a late reply still has to find its call."""
        self._waiting = deque(call for call in self._waiting if not call.future.done())

    def _fail_all(self, error: Exception) -> None:
        for call in self._waiting:
            if not call.future.done():
                call.future.set_exception(error)

    async def close(self) -> None:
        """Closes for good."""
        self._closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._flush()
            self._transport.close()
        self._fail_all(LedgerSilent("the ledger connection closed before the answer came"))


def _unconfirmed() -> LedgerUnavailable:
    return LedgerSilent(_UNCONFIRMED)


def _changed() -> LedgerUnavailable:
    return ServerChanged("the ledger's connection was lost before the answer came")


def _unanswered(sent: bool) -> LedgerUnavailable:
    if sent:
        return LedgerSilent("the ledger did not answer in time: the call may have happened")
    return LedgerUnavailable("the ledger cannot be reached: is Redis running?")


class PipelinedTransport:
    """LedgerTransport for a single node. Policy calls have a connection of their own, because a
    WAITAOF would hold up every reservation behind it."""

    def __init__(self, address: NodeAddress, limits: TransportLimits | None = None) -> None:
        self._limits = limits or TransportLimits()
        self._hot = _Connection(address, self._limits)
        self._durable = _Connection(address, self._limits, looked_on=self._hot)
        self._touched_on = 0

    @property
    def generation(self) -> int:
        """See LedgerTransport: how often a connection was lost, or the durable one was made to
        another server than the one that was looked at."""
        return self._hot.changes + self._durable.changes

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        packed = _packed((b"EVALSHA", script.sha, _count(len(keys)), *keys, *args))
        reply = await self._hot.submit(packed, self._limits.call_timeout_ms, _changed)
        if type(reply) is list:
            return reply
        return await self._loaded(self._hot, script, keys, args, reply)

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        packed = _packed((b"EVALSHA", script.sha, _count(len(keys)), *keys, *args))
        first = await self._durable.submit(packed, self._limits.call_timeout_ms, _changed)
        reply = await self._loaded(self._durable, script, keys, args, first)
        await self._on_disk()
        return reply

    async def _on_disk(self) -> None:
        """Waits until the server's disk has what the durable connection wrote. A call that is
        repeated on a new connection may write nothing there, and WAITAOF speaks of its own
        connection's writes: so each makes one itself, in the same piece as its first wait."""
        timeout_ms = self._limits.durable_timeout_ms
        durable, touched = self._durable, None
        connection = durable.connections
        if connection != self._touched_on:
            write = _packed((b"SET", b"comptroller:touched", b"1", b"PX", TOUCH_MS))
            touched = durable.submit(write, timeout_ms + 500)
        wait = _packed(("WAITAOF", 1, 0, timeout_ms))
        try:
            waiting = durable.submit(wait, timeout_ms + 500, _unconfirmed, bound=True)
        except LedgerSilent:
            if touched is not None:
                touched.cancel()
            raise
        if touched is not None:
            _checked((await asyncio.gather(touched, waiting))[0])
            self._touched_on = connection
        synced = _checked(await waiting)
        assert isinstance(synced, list)
        if synced[0] < 1:
            raise LedgerSilent(_UNCONFIRMED)

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        packed = _packed(args)
        return _checked(await self._hot.submit(packed, self._limits.call_timeout_ms))

    async def command_durably(self, *args: Argument) -> object:
        """See LedgerTransport."""
        packed = _packed(args)
        reply = _checked(await self._durable.submit(packed, self._limits.call_timeout_ms))
        await self._on_disk()
        return reply

    async def close(self) -> None:
        """See LedgerTransport."""
        await self._hot.close()
        await self._durable.close()

    async def _loaded(
        self,
        connection: _Connection,
        script: Script,
        keys: tuple[bytes, ...],
        args: tuple[Argument, ...],
        reply: object,
    ) -> Reply:
        """The reply, after the script was loaded where the server did not know it."""
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            packed = _packed((b"EVAL", script.text, _count(len(keys)), *keys, *args))
            reply = await connection.submit(packed, self._limits.call_timeout_ms, _changed)
        checked = _checked(reply)
        assert isinstance(checked, list)
        return checked


def _packed(args: tuple[Argument | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub: one element
    return packed


@functools.cache
def _count(keys: int) -> bytes:
    return b"%d" % keys


def _checked(reply: object) -> object:
    if isinstance(reply, hiredis.ReplyError):
        raise LedgerRejected(str(reply))
    return reply
