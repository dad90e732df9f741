"""The supervisor's end of a channel, one for each life of a process."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Self

from comptroller.channel import (
    Applied,
    Configuration,
    Message,
    Released,
    ReloadAnswer,
    ReloadWanted,
    framed,
    received,
)

Asked = Callable[[ReloadWanted], Awaitable[ReloadAnswer]]


class Link:
    """Sends, and remembers what the process has said."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked | None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._asked = asked
        self._applied = Applied(0)
        self._released = 0
        self._is_over = False
        self._news = asyncio.Condition()
        self._answering: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, sock: socket.socket, asked: Asked | None) -> Self:
        """Over one end of a pair of sockets."""
        reader, writer = await asyncio.open_connection(sock=sock)
        return cls(reader, writer, asked)

    def begin(self, configuration: Configuration) -> None:
        """Sends the first one: nothing in the process has begun before it."""
        self._released = configuration.version
        self.send(configuration)

    def send(self, message: Message) -> None:
        """Never waits; whether it comes to anybody is seen by what that one says."""
        if not self._is_over:
            self._writer.write(framed(message))

    async def applied(self, version: int) -> bool:
        """Waits until the process serves by this version or a later one, or has ended; False where
        it cannot."""
        async with self._news:
            await self._news.wait_for(lambda: self._is_over or self._applied.version >= version)
        return self._is_over or not self._applied.failed

    async def released(self, version: int) -> None:
        """Waits until nothing in the process goes on that had begun before this version."""
        async with self._news:
            await self._news.wait_for(lambda: self._is_over or self._released >= version)

    def close(self) -> None:
        """The process has ended, or its channel is not wanted any more."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # it has ended
                while True:
                    await self._take(await received(self._reader))
        finally:
            self._is_over = True
            self._writer.close()
            async with self._news:
                self._news.notify_all()

    async def _take(self, message: Message) -> None:
        if isinstance(message, ReloadWanted):
            answering = asyncio.create_task(self._answer(message))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)
            return
        async with self._news:
            if isinstance(message, Applied):
                self._applied = message
            elif isinstance(message, Released):
                self._released = message.version
            self._news.notify_all()

    async def _answer(self, wanted: ReloadWanted) -> None:
        assert self._asked is not None, "only the admin API asks"
        self.send(await self._asked(wanted))
