"""What every process of the stack begins with, and how it says that it serves.

A process is built from its environment alone: nothing is forked that holds a connection. It ends
with the supervisor that started it, however that went.
"""

import os
import socket
import sys
from pathlib import Path

import uvicorn

from budgets.embedded import die_with_parent
from budgets.safety import UnsafeLedger
from comptroller.assured import assure
from comptroller.logs import log_as
from comptroller.settings import Settings, load_settings
from comptroller.variables import (
    CONFIG_VARIABLE,
    DECLARED_VARIABLE,
    PARENT_VARIABLE,
    READY_LINE,
)

LOOPBACK = "127.0.0.1"


def begin(part: str, *, models: bool = True, needs_ledger: bool = True) -> Settings:
    """The settings of this process; `redis_url` is the ledger's, embedded or not, and safe where it
    is needed; `models` as in load_settings. Raises ConfigInvalid."""
    die_with_parent()
    supervisor = os.environ.get(PARENT_VARIABLE)
    if supervisor and os.getppid() != int(supervisor):
        raise SystemExit("the supervisor is gone")  # it died before the kernel was asked to tell
    log_as(part)
    path = os.environ.get(CONFIG_VARIABLE)
    settings = load_settings(Path(path) if path else None, os.environ, models=models)
    if not needs_ledger:
        return settings
    try:
        assure(settings, waits=True)
    except UnsafeLedger as error:
        raise SystemExit(f"comptroller: {error}") from None
    return settings


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
    """uvicorn's server, which says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets)
        if self.started:
            say_ready()


def inherited_socket() -> socket.socket:
    """The listening socket, whose number is the process's first argument."""
    return socket.socket(fileno=int(sys.argv[1]))
