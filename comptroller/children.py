"""The processes that the supervisor keeps: the embedded ledger, and those of ours."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from budgets.embedded import EmbeddedServer, EmbeddedServerFailed
from comptroller.logs import last_words, opened
from comptroller.process import PARENT_VARIABLE, READY_LINE
from comptroller.supervise import PartFailed


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
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", self._module, *map(str, self._sockets)),
                env={**self._environment, PARENT_VARIABLE: str(os.getpid())},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=self._sockets,
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            )
        assert process.stdout is not None
        if (await process.stdout.readline()).strip() != READY_LINE.encode():
            await process.wait()
            raise PartFailed(f"{last_words(self._log_path)} (all of it is in {self._log_path})")

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

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    async def begin(self) -> None:
        """See Part."""
        try:
            # Here, because the kernel ends a child with the thread that made it.
            self._server.spawn()
            await asyncio.to_thread(self._server.wait_until_ready)
        except EmbeddedServerFailed as error:
            raise PartFailed(str(error)) from None

    async def ended(self) -> int:
        """See Part."""
        return await asyncio.to_thread(self._server.wait)

    def terminate(self) -> None:
        """See Part."""
        self._server.send(signal.SIGTERM)

    def kill(self) -> None:
        """See Part."""
        self._server.send(signal.SIGKILL)
