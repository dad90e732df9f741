"""The other transport: redis-py, for what the fast one does not speak (TLS first of all).

Its retries are off: a call that was cut is reported as silent, and the ledger, which knows the id,
asks again.
"""

import asyncio
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from budgets.pipelined import TransportLimits
from budgets.scripts import Script
from budgets.transport import Argument, LedgerRejected, LedgerSilent, Reply

CONNECTIONS_MAX = 64


class RedisPyTransport:
    """LedgerTransport through redis-py: a `redis://`, `rediss://` or `unix://` URL."""

    def __init__(self, url: str, *, limits: TransportLimits | None = None) -> None:
        self._limits = limits or TransportLimits()
        call_s = self._limits.call_timeout_ms / 1000
        durable_s = self._limits.durable_timeout_ms / 1000 + 0.5
        once = Retry(NoBackoff(), 0)
        # Calls beyond the pool wait for a place as long as they would wait for an answer.
        pool = aioredis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=call_s,
            socket_timeout=call_s,
            retry=once,
            protocol=2,
        )
        self._client: Any = aioredis.Redis.from_pool(pool)
        # WAITAOF speaks of the writes of its own connection: policy has one, a call at a time.
        self._durable: Any = aioredis.Redis.from_url(
            url, socket_timeout=durable_s, retry=once, single_connection_client=True, protocol=2
        )
        for client in (self._client, self._durable):
            client.response_callbacks.clear()  # replies as the server gives them
        self._durable_lock = asyncio.Lock()

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        return await _run(self._client, script, keys, args)

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """See LedgerTransport."""
        async with self._durable_lock:
            reply = await _run(self._durable, script, keys, args)
            await self._on_disk()
        return reply

    async def _on_disk(self) -> None:
        synced = await _guarded(self._durable, "WAITAOF", 1, 0, self._limits.durable_timeout_ms)
        assert isinstance(synced, list)
        if synced[0] < 1:
            raise LedgerSilent("the ledger's disk did not confirm the change: make it again")

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        return await _guarded(self._client, *args)

    async def command_durably(self, *args: Argument) -> object:
        """See LedgerTransport."""
        async with self._durable_lock:
            reply = await _guarded(self._durable, *args)
            await self._on_disk()
        return reply

    async def close(self) -> None:
        """See LedgerTransport."""
        await self._client.aclose()
        await self._durable.aclose()


async def _run(
    client: Any, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
) -> Reply:
    try:
        reply = await client.evalsha(script.sha.decode(), len(keys), *keys, *args)
    except NoScriptError:
        reply = await _guarded(client, "EVAL", script.text, len(keys), *keys, *args)
    except (RedisError, OSError) as error:
        raise _translated(error) from error
    assert isinstance(reply, list)
    return reply


async def _guarded(client: Any, *args: object) -> object:
    try:
        return await client.execute_command(*args)
    except (RedisError, OSError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return LedgerSilent(f"the ledger did not answer: {error}")
    if isinstance(error, ResponseError):
        return LedgerRejected(str(error))
    return LedgerSilent(str(error))
