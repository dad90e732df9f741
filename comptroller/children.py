"""The processes that the supervisor keeps: the embedded ledger, and those of ours."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from budgets.embedded import (
    HELD_RETRY_S,
    READY_TIMEOUT_S,
    EmbeddedServer,
    EmbeddedServerFailed,
)
from comptroller.logs import last_words, opened
from comptroller.supervise import PartFailed
from comptroller.variables import PARENT_VARIABLE, READY_LINE


class Child:
    """`python -m <module>`, which prints READY_LINE when it serves. Its log is `log_path`;
    `sockets` are numbers of open sockets, which become its arguments."""

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log_path: Path,
        sockets: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self._module = module
        self._environment = environment
        self._log_path = log_path
        self._sockets = sockets
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """See Part."""
        with opened(self._log_path) as log:
            said_bytes = log.tell()
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # else modules are looked for in the folder that the user stands in, first
                *("-m", self._module, *map(str, self._sockets)),
                env={**self._environment, PARENT_VARIABLE: str(os.getpid())},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=self._sockets,
                umask=0o077,  # what it keeps is for the owner's eyes
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            )
        assert process.stdout is not None
        async for line in process.stdout:
            if line.strip() == READY_LINE.encode():
                return
        await process.wait()
        words = last_words(self._log_path, said_bytes)
        raise PartFailed(f"{self.name}: {words} (all of it is in {self._log_path})")

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
