"""Keeps processes running: each is begun, watched, and begun again when it dies, after a pause that
grows while it keeps dying, until all are stopped."""

import asyncio
import contextlib
import logging
import time
from typing import Protocol

PAUSE_S_LEAST = 0.1
PAUSE_S_MOST = 10.0
SETTLED_S = 60.0  # who lives so long has not failed at its start
STOP_S_MAX = 60.0
_log = logging.getLogger("comptroller.up")


class PartFailed(RuntimeError):
    """A process did not come to serve; the message has its last words."""


class Part(Protocol):
    """One process at a time, and how it is begun."""

    @property
    def name(self) -> str:
        """As people call it."""
        ...

    async def begin(self) -> None:
        """Returns when it serves. Raises PartFailed when it ended before, OSError when the machine
        cannot begin it."""
        ...

    async def ended(self) -> int:
        """Waits for its end: its exit code, negative for a signal; 0 where none was begun."""
        ...

    def terminate(self) -> None:
        """Asks it to end. Nothing happens where none runs."""
        ...

    def kill(self) -> None:
        """The same, without asking."""
        ...


class Kept(Protocol):
    """What is kept running between these two, see Keeper."""

    async def start(self) -> None:
        """See Keeper."""
        ...

    async def stop(self) -> None:
        """See Keeper."""
        ...


class Keeper:
    """Keeps one part running from `start` to `stop`."""

    def __init__(self, part: Part, stop_s_max: float = STOP_S_MAX) -> None:
        self._part = part
        self._stop_s_max = stop_s_max
        self._stopping = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when the part serves. Raises PartFailed, OSError: it is not tried again, because
        what fails at the first start is a mistake, not an accident."""
        await self._part.begin()
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        pause_s, began_s = PAUSE_S_LEAST, time.monotonic()
        while True:
            code = await self._part.ended()
            if self._stopping.is_set():
                return
            if time.monotonic() - began_s > SETTLED_S:
                pause_s = PAUSE_S_LEAST
            _log.warning("%s ended (%d): it is started again", self._part.name, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
                return
            pause_s, began_s = min(2 * pause_s, PAUSE_S_MOST), time.monotonic()
            try:
                await self._part.begin()
            except (PartFailed, OSError) as error:
                if not self._stopping.is_set():
                    _log.error("%s did not start: %s", self._part.name, error)
            if self._stopping.is_set():  # it was asked to end before there was one to ask
                self._part.terminate()

    async def stop(self) -> None:
        """Asks the part to end, waits, and ends it if it does not. Also where its start failed or
        was given up."""
        self._stopping.set()
        self._part.terminate()
        try:
            await asyncio.wait_for(self._end(), self._stop_s_max)
        except TimeoutError:
            _log.error("%s does not end, and is killed", self._part.name)
            self._part.kill()
            await self._end()

    async def _end(self) -> None:
        if self._watching is None:
            await self._part.ended()
        else:
            await asyncio.shield(self._watching)
