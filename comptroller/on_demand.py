"""A part of the stack that runs while the configuration needs it: the translator."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from comptroller.channel import Configuration
from comptroller.children import Child
from comptroller.supervise import Keeper, PartFailed

Make = Callable[[Configuration], tuple[Child, Keeper, socket.socket]]


class OnDemand:
    """Kept like any other part, from `start` to `stop`; between them it comes and goes. `make`
    gives a process that is not begun, who keeps it, and the socket that it listens on."""

    def __init__(self, make: Make, first: Configuration, *, needed: bool) -> None:
        self._make = make
        self._first = first
        self._needed = needed
        self._running: tuple[Child, Keeper, socket.socket] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._is_ending = False

    async def start(self) -> None:
        """See Keeper; nothing where it is not needed yet."""
        if self._needed:
            await self._begin(self._first)

    async def need(self, configuration: Configuration) -> None:
        """When this returns it runs, and serves what this configuration names beside all that it
        has served before. Raises PartFailed, OSError."""
        await self._stay()
        if self._running is None:
            await self._begin(configuration)
        else:
            await self._running[0].tell(configuration)

    def keep(self, configuration: Configuration) -> None:
        """The configuration that it was told of does not come: begun again, it has this one."""
        if self._running is not None:
            self._running[0].begins_with(configuration)

    def leave(self, unused: Callable[[], Awaitable[object]]) -> None:
        """It ends when nothing of it is used any more, for which `unused` waits."""
        if self._running is not None and self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(unused))

    async def stop(self) -> None:
        """See Keeper."""
        await self._stay()
        await self._end()

    async def _begin(self, configuration: Configuration) -> None:
        self._running = _, keeper, _ = self._make(configuration)
        try:
            await keeper.start()
        except (PartFailed, OSError):
            await self._end()
            raise

    async def _leave(self, unused: Callable[[], Awaitable[object]]) -> None:
        await unused()
        self._is_ending = True
        await self._end()

    async def _stay(self) -> None:
        """Whoever was about to leave stays; whoever has begun to end is waited for."""
        leaving, self._leaving = self._leaving, None
        if leaving is None:
            return
        if not self._is_ending:
            leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        self._is_ending = False

    async def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            _, keeper, listener = running
            try:
                await keeper.stop()
            finally:
                listener.close()
