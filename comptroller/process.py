"""What every process of the stack begins with, and how it says that it serves.

A process is built from its environment and the configuration that the supervisor sends it first:
nothing is forked that holds a connection. It ends with the supervisor that started it, however that
went.
"""

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import uvicorn

from budgets.embedded import die_with_parent
from budgets.safety import UnsafeLedger
from comptroller.assured import assure
from comptroller.channel import Configuration, received_now
from comptroller.document import Written
from comptroller.hearing import Hearing
from comptroller.logs import log_as
from comptroller.settings import Settings, load_settings
from comptroller.variables import (
    CHANNEL_VARIABLE,
    CONFIG_VARIABLE,
    DECLARED_VARIABLE,
    PARENT_VARIABLE,
    READY_LINE,
)

LOOPBACK = "127.0.0.1"


def begin(part: str, *, models: bool = True, needs_ledger: bool = True) -> Settings:
    """The settings of this process, without the admin token, which is the supervisor's alone;
    `redis_url` is the ledger's, embedded or not, and safe where it
    is needed; `models` as in load_settings. Raises ConfigInvalid."""
    die_with_parent()
    supervisor = os.environ.get(PARENT_VARIABLE)
    if supervisor and os.getppid() != int(supervisor):
        raise SystemExit("the supervisor is gone")  # it died before the kernel was asked to tell
    log_as(part)
    settings = load_settings(_configuration(), os.environ, models=models, admin_token=False)
    if not needs_ledger:
        return settings
    try:
        assure(settings, waits=True)
    except UnsafeLedger as error:
        raise SystemExit(f"comptroller: {error}") from None
    return settings


def _configuration() -> Path | Written | None:
    """What the supervisor has read; without one, the file itself."""
    number = os.environ.get(CHANNEL_VARIABLE)
    if not number:
        path = os.environ.get(CONFIG_VARIABLE)
        return Path(path) if path else None
    channel = socket.socket(fileno=int(number))
    try:
        first = received_now(channel)
    except (EOFError, OSError):
        raise SystemExit("the supervisor is gone") from None
    finally:
        channel.detach()  # it stays open, for `Hearing`
    assert isinstance(first, Configuration)
    return first.written


def is_declared() -> bool:
    """Whether keys and budgets of the configuration are in the ledger, as far as this process was
    started by who declares them."""
    file = os.environ.get(DECLARED_VARIABLE)
    return not file or Path(file).exists()


def say_ready() -> None:
    """Whoever started this process waits for it, and reads no further: what is printed from then
    on goes to the log, and no pipe is left to fill up."""
    sys.stdout.write(f"{READY_LINE}\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


class SaysReady(uvicorn.Server):
    """uvicorn's server, which says when it listens, and hears from the supervisor from then on."""

    hearing: Hearing | None = None
    _listening: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets)
        if self.started:
            if self.hearing is not None:
                self._listening = asyncio.create_task(self.hearing.run())
            say_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server. What it hears now comes too late: it ends."""
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        await super().shutdown(sockets)


def inherited_socket() -> socket.socket:
    """The listening socket, whose number is the process's first argument."""
    return socket.socket(fileno=int(sys.argv[1]))
