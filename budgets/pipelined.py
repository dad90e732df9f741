"""The fast transport: one Redis or Valkey node, all calls of a loop tick in one write.

redis-py costs about as much CPU per call as everything else of a request together, so the hot path
packs commands itself (hiredis, in C), appends them to a buffer that is written once per loop tick,
and hands replies to futures in order. Commands survive a lost connection: what was not answered is
sent again on the next one until its deadline. Scripts do not: their caller first looks what is
there (`ServerChanged`). TLS, Sentinel and Cluster go through `budgets.redispy`.
"""

import asyncio
import functools

import hiredis

from budgets.connection import UNCONFIRMED, Connection, NodeAddress, TransportLimits, pack
from budgets.scripts import Script
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerUnavailable,
    Reply,
    ServerChanged,
)

__all__ = ["NodeAddress", "PipelinedTransport", "TransportLimits"]

TOUCHED = b"comptroller:touched"
TOUCH_MS = 1_000


class PipelinedTransport:
    """LedgerTransport for a single node. Policy calls have a connection of their own, because a
    WAITAOF would hold up every reservation behind it."""

    def __init__(self, address: NodeAddress, limits: TransportLimits | None = None) -> None:
        self._limits = limits or TransportLimits()
        self._hot = Connection(address, self._limits)
        self._durable = Connection(address, self._limits, looked_on=self._hot)
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
        packed = pack((b"EVALSHA", script.sha, _count(len(keys)), *keys, *args))
        reply = await self._hot.submit(packed, self._limits.call_timeout_ms, _changed)
        if type(reply) is list:
            return reply
        return await self._loaded(self._hot, script, keys, args, reply)

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        packed = pack((b"EVALSHA", script.sha, _count(len(keys)), *keys, *args))
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
            write = pack((b"SET", TOUCHED, b"1", b"PX", TOUCH_MS))
            touched = durable.submit(write, timeout_ms + 500)
        wait = pack(("WAITAOF", 1, 0, timeout_ms))
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
            raise LedgerSilent(UNCONFIRMED)

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        packed = pack(args)
        return _checked(await self._hot.submit(packed, self._limits.call_timeout_ms))

    async def command_durably(self, *args: Argument) -> object:
        """See LedgerTransport."""
        packed = pack(args)
        reply = _checked(await self._durable.submit(packed, self._limits.call_timeout_ms))
        await self._on_disk()
        return reply

    async def close(self) -> None:
        """See LedgerTransport."""
        await self._hot.close()
        await self._durable.close()

    async def _loaded(
        self,
        connection: Connection,
        script: Script,
        keys: tuple[bytes, ...],
        args: tuple[Argument, ...],
        reply: object,
    ) -> Reply:
        """The reply, after the script was loaded where the server did not know it."""
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            packed = pack((b"EVAL", script.text, _count(len(keys)), *keys, *args))
            reply = await connection.submit(packed, self._limits.call_timeout_ms, _changed)
        checked = _checked(reply)
        assert isinstance(checked, list)
        return checked


@functools.cache
def _count(keys: int) -> bytes:
    return b"%d" % keys


def _checked(reply: object) -> object:
    if isinstance(reply, hiredis.ReplyError):
        raise LedgerRejected(str(reply))
    return reply


def _unconfirmed() -> LedgerUnavailable:
    return LedgerSilent(UNCONFIRMED)


def _changed() -> LedgerUnavailable:
    return ServerChanged("the ledger's connection was lost before the answer came")
