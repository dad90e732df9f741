"""A process's end of the channel to the supervisor: what it takes while it runs."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

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
from comptroller.settings import Settings, load_settings
from comptroller.variables import CHANNEL_VARIABLE

Apply = Callable[[Settings], Awaitable[None]]
InFlight = Callable[[], Collection[asyncio.Task[Any]]]
_log = logging.getLogger("comptroller.reload")


class NobodyHears(RuntimeError):
    """This process has no supervisor that could be asked."""


def _nothing() -> tuple[asyncio.Task[Any], ...]:
    return ()


class Hearing:
    """`apply` makes the process serve by other settings, for requests that come from then on;
    `in_flight` are the tasks of those that run; `environment` is what files name variables of."""

    def __init__(
        self,
        apply: Apply,
        in_flight: InFlight = _nothing,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._apply = apply
        self._in_flight = in_flight
        self._environment = environment
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[ReloadAnswer]] = {}
        self._releasing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled, or for as long as there is a supervisor; at once where there is none."""
        number = os.environ.get(CHANNEL_VARIABLE)
        if not number:
            return
        sock = socket.socket(fileno=int(number))
        reader, self._writer = await asyncio.open_connection(sock=sock)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    await self._take(await received(reader))
        finally:
            self._writer.close()
            self._writer = None
            for each in self._answers.values():
                if not each.done():
                    each.set_exception(NobodyHears("the supervisor is stopping"))

    async def ask(self, by: str) -> ReloadAnswer:
        """Has the supervisor read the file again. Raises NobodyHears."""
        if self._writer is None:
            raise NobodyHears("this process was not started by `comptroller up`")
        number = max(self._answers, default=0) + 1
        answer: asyncio.Future[ReloadAnswer] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._say(ReloadWanted(number, by))
        try:
            return await answer
        finally:
            del self._answers[number]

    async def _take(self, message: Message) -> None:
        if isinstance(message, Configuration):
            await self._become(message)
        elif isinstance(message, ReloadAnswer):
            answer = self._answers.get(message.number)
            if answer is not None and not answer.done():  # whoever asked may have gone
                answer.set_result(message)

    async def _become(self, told: Configuration) -> None:
        try:
            # In a thread: a long file takes a moment, and requests are under way.
            settings = await asyncio.to_thread(
                load_settings, told.written, self._environment, admin_token=False
            )
            await self._apply(settings)
        except Exception:  # noqa: BLE001  # whatever it is: the supervisor starts this process again
            _log.exception("version %d of the configuration was not taken", told.version)
            self._say(Applied(told.version, failed=True))
            return
        before = set(self._in_flight())
        self._say(Applied(told.version))
        releasing = asyncio.create_task(self._release(told.version, before))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)

    async def _release(self, version: int, before: set[asyncio.Task[Any]]) -> None:
        if before:
            await asyncio.wait(before)
        self._say(Released(version))

    def _say(self, message: Message) -> None:
        if self._writer is not None:
            self._writer.write(framed(message))
