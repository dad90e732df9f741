"""Server-sent events: one answer that goes on until the client goes, the console stops, the token
dies, its time is over, or nothing more will come; each event names the place from which the client
may come back.

A response of its own and not the framework's: a client that takes nothing must not hold its place
for ever, and a console that stops must not wait for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from console.errors import ConsoleError, error_of
from console.feeds import Feed
from console.parts import Parts
from console.token_store import Token

RETRY_MS = 1_000
_HEARTBEAT = b": still here\n"
_Ends = set["asyncio.Task[None] | asyncio.Task[bool]"]


class _SlowClient(Exception):
    """The client did not take what was sent."""


class EventStream(Response):
    """The answer of GET /v1/events/stream, and of that of a run."""

    media_type = "text/event-stream"

    def __init__(self, parts: Parts, caller: Token, feed: Feed) -> None:
        super().__init__()
        self._parts = parts
        self._caller = caller
        self._feed = feed

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        with self._parts.streams.place(self._caller.organisation), contextlib.suppress(_SlowClient):
            headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            gone = asyncio.create_task(_until_gone(receive))
            stopping = asyncio.create_task(self._parts.stopping.wait())
            try:
                await self._run(send, {gone, stopping})
            finally:
                gone.cancel()
                stopping.cancel()

    async def _run(self, send: Send, ends: _Ends) -> None:
        # The place goes first: a client that is cut off before any event comes back to it.
        await self._send(send, b"retry: %d\n" % RETRY_MS + self._place())
        last = b""
        try:
            async with contextlib.aclosing(self._blocks(ends)) as blocks:
                async for block in blocks:
                    await self._send(send, block)
        except _SlowClient:
            raise
        except Exception as error:  # noqa: BLE001  # told as any call's is; the client comes back
            last = _told(error_of(error))
        await self._send(send, last, more=False)

    async def _blocks(self, ends: _Ends) -> AsyncGenerator[bytes]:
        """What to send next, until one of `ends` is done or the time is over."""
        options, now_s = self._parts.options, asyncio.get_running_loop().time
        told_s = begun_s = now_s()
        while now_s() < begun_s + options.stream_ms_max / 1000:
            found = await self._feed.more()
            for each in found:
                yield each.block()
            if self._feed.is_over:
                return
            if now_s() >= told_s + options.stream_heartbeat_ms / 1000:
                if not await self._is_still_valid():
                    return
                told_s = now_s()
                yield _HEARTBEAT + self._place()
            pause_s = 0 if found else self._feed.poll_ms / 1000
            done, _ = await asyncio.wait(ends, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return

    def _place(self) -> bytes:
        """Without data: no event, but what Last-Event-ID is from then on."""
        return b"id: %b\n\n" % self._feed.place.encode()

    async def _is_still_valid(self) -> bool:
        token = await self._parts.tokens.named(self._caller.name)
        return token == self._caller and not token.has_expired(self._parts.session.clock.now_ms())

    async def _send(self, send: Send, block: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._parts.options.send_ms_max / 1000):
                await send({"type": "http.response.body", "body": block, "more_body": more})
        except TimeoutError:
            raise _SlowClient from None


def _told(error: ConsoleError) -> bytes:
    return b"event: error\ndata: " + bytes(error.response().body) + b"\n\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
