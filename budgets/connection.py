"""One connection to a Redis or Valkey node, that many calls share: all of a loop tick in one write,
the replies in order. It connects again while calls wait, and each call ends by its deadline. What
was not answered when the connection was lost is sent again on the next one, but for what its caller
wants to look at first (`lost`).
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import hiredis

from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerUnavailable,
)

UNCONFIRMED = "the ledger's disk did not confirm the change: make it again"
_run_ids = re.compile(rb"(?:run_id|master_replid):([0-9a-f]+)").findall


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


def pack(args: tuple[Argument | int, ...]) -> bytes:
    """What goes out for one command."""
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub: one element
    return packed


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


class Connection(asyncio.Protocol):
    """One pipelined connection that reconnects while calls wait. `looked_on` is another one, on
    which callers look at the server before they use this one: a server that is not the same is
    shown nothing that they ask for. None where this is that one."""

    def __init__(
        self,
        address: NodeAddress,
        limits: TransportLimits,
        looked_on: "Connection | None" = None,
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
            raise LedgerSilent(UNCONFIRMED)
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
            commands.append(pack(("AUTH", *user, address.password)))
        if address.database:
            commands.append(pack(("SELECT", address.database)))
        return [*commands, pack(("INFO", "server", "replication"))]

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


def _unanswered(sent: bool) -> LedgerUnavailable:
    if sent:
        return LedgerSilent("the ledger did not answer in time: the call may have happened")
    return LedgerUnavailable("the ledger cannot be reached: is Redis running?")
