"""The processes that the supervisor keeps: the embedded ledger, and those of ours."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from budgets.embedded import (
    HELD_RETRY_S,
    READY_TIMEOUT_S,
    EmbeddedServer,
    EmbeddedServerFailed,
)
from comptroller.channel import Configuration
from comptroller.link import Asked, Link
from comptroller.logs import last_words, opened
from comptroller.supervise import PartFailed
from comptroller.variables import CHANNEL_VARIABLE, PARENT_VARIABLE, READY_LINE

APPLY_S_MAX = 30.0
DEFAULTS = Configuration(1, None)
_log = logging.getLogger("comptroller.up")


class Child:
    """`python -m <module>`, which prints READY_LINE when it serves. Its log is `log_path`;
    `sockets` are numbers of open sockets, which become its arguments; it begins with
    `configuration`, and hears of later ones by `tell`; `asked` answers what it asks."""

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log_path: Path,
        sockets: tuple[int, ...] = (),
        configuration: Configuration = DEFAULTS,
        asked: Asked | None = None,
    ) -> None:
        self.name = name
        self._module = module
        self._environment = environment
        self._log_path = log_path
        self._sockets = sockets
        self._configuration = configuration
        self._asked = asked
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """See Part."""
        if self._link is not None:
            self._link.close()
            self._link = None
        ours, theirs = socket.socketpair()
        with opened(self._log_path) as log, theirs:
            link = await Link.open(ours, self._asked)
            said_bytes = log.tell()
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # else modules are looked for in the folder that the user stands in, first
                *("-m", self._module, *map(str, self._sockets)),
                env={
                    **self._environment,
                    PARENT_VARIABLE: str(os.getpid()),
                    CHANNEL_VARIABLE: str(theirs.fileno()),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=(*self._sockets, theirs.fileno()),
                umask=0o077,  # what it keeps is for the owner's eyes
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            )
        self._link = link
        link.begin(self._configuration)  # nothing is awaited between: whoever tells now is heard
        assert process.stdout is not None
        async for line in process.stdout:
            if line.strip() == READY_LINE.encode():
                return
        await process.wait()
        words = last_words(self._log_path, said_bytes)
        raise PartFailed(f"{self.name}: {words} (all of it is in {self._log_path})")

    def begins_with(self, configuration: Configuration) -> None:
        """From its next life on."""
        self._configuration = configuration

    async def tell(self, configuration: Configuration) -> None:
        """Returns when no request that comes from now on is served by an earlier one: the process
        has taken it, or is about to be begun again with it."""
        self.begins_with(configuration)
        link = self._link
        if link is None:
            return  # it is just being begun
        link.send(configuration)
        try:
            async with asyncio.timeout(APPLY_S_MAX):
                if await link.applied(configuration.version):
                    return
            _log.error("%s cannot take the new configuration: it is started again", self.name)
            self.terminate()
        except TimeoutError:
            _log.error("%s does not answer, and is killed: it is started again", self.name)
            self.kill()

    async def released(self, version: int) -> None:
        """Waits until nothing in it goes on that had begun before this version."""
        if self._link is not None:
            await self._link.released(version)

    async def ended(self) -> int:
        """See Part."""
        return await self._process.wait() if self._process is not None else 0

    def terminate(self) -> None:
        """See Part."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """See Part."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class LedgerProcess:
    """The embedded ledger. What it has answered for it has written, so that after a kill the
    workers go on with it; from one that has lost something they take nothing (RECOVERING)."""

    name = "ledger"

    def __init__(self, server: EmbeddedServer, log_path: Path) -> None:
        self._server = server
        self._log_path = log_path

    async def begin(self) -> None:
        """See Part."""
        with opened(self._log_path) as log:
            said_bytes = log.tell()
        await self._spawned()
        try:
            await asyncio.to_thread(self._server.wait_until_ready)
        except EmbeddedServerFailed as error:
            words = last_words(self._log_path, said_bytes)
            raise PartFailed(f"{error} (its last words: {words})") from None

    async def _spawned(self) -> None:
        """Not in a thread: the kernel ends a child with the thread that made it."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not self._server.spawn():  # noqa: ASYNC110  # a file's lock has no event
                    await asyncio.sleep(HELD_RETRY_S)
        except EmbeddedServerFailed as error:
            raise PartFailed(str(error)) from None
        except TimeoutError:
            raise PartFailed(self._server.held) from None

    async def ended(self) -> int:
        """See Part."""
        return await asyncio.to_thread(self._server.wait)

    def terminate(self) -> None:
        """See Part."""
        self._server.send(signal.SIGTERM)

    def kill(self) -> None:
        """See Part."""
        self._server.send(signal.SIGKILL)
