"""Either transport, what is run through it, and how the server behind it dies."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from budgets.embedded import EmbeddedServer
from budgets.pipelined import TransportLimits
from budgets.transport import LedgerTransport
from tests.budgets.lua import script

# Answers what it was given, and remembers the order in which it was called.
ECHO = script("echo", "redis.call('RPUSH', KEYS[1], ARGV[1]); return {ARGV[1], #ARGV}")
KINDS = ("pipelined", "redis-py")
TransportTo = Callable[[str, Path, TransportLimits], LedgerTransport]


def kill(server: EmbeddedServer) -> None:
    """Ends the server as a crash does, and waits until it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
