"""Executors as processes of their own, which a test may kill and stop."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

LEASE_MS = 1_000
READY_S_MAX = 30


@dataclass(slots=True)
class Executors:
    """Of one database: `database_url`, or SQLite in `folder`. What is started here ends here."""

    folder: Path
    redis_socket: Path
    gateway_url: str
    database_url: str = ""
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self) -> asyncio.subprocess.Process:
        """One more, that serves."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "comptroller.orchestrate"),
                env={
                    **{
                        each: os.environ[each]
                        for each in ("PATH", "PYTHONPATH")
                        if each in os.environ
                    },
                    "COMPTROLLER_REDIS_URL": f"unix://{self.redis_socket}",
                    "COMPTROLLER_DATA_DIR": str(self.folder),
                    "COMPTROLLER_DATABASE_URL": self.database_url,
                    "COMPTROLLER_RECORD": "false",
                    "COMPTROLLER_TRUST_LEDGER": "true",
                    "COMPTROLLER_GATEWAY_URL": self.gateway_url,
                    "COMPTROLLER_PROGRAMS_FOLDER": str(self.folder.parent),
                    "COMPTROLLER_EXECUTOR_LEASE_MS": str(LEASE_MS),
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(READY_S_MAX):
            line = await process.stdout.readline()
        assert line == b"ready\n", (self.folder / "log").read_text()[-2000:]
        return process

    async def end(self, process: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> None:
        """By a signal; waits until it is gone."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
            await process.wait()
        if process in self.started:
            self.started.remove(process)


@contextlib.asynccontextmanager
async def executors(
    folder: Path, redis_socket: Path, gateway_url: str, database_url: str = ""
) -> AsyncIterator[Executors]:
    """None yet."""
    made = Executors(folder, redis_socket, gateway_url, database_url)
    try:
        yield made
    finally:
        for process in list(made.started):
            await made.end(process)
