"""Parts that every suite uses: a real valkey-server from the wheel, one for each test process."""

import gc
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from budgets.embedded import EmbeddedServer

# How long an example takes says nothing on a machine that others use, too.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def pytest_configure() -> None:
    """Whoever starts the suite in the background has SIGINT ignored, and all that it starts would
    inherit that: but tests send it, as a terminal does."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What is imported and collected stays: to look through it for garbage, again and again while it
    # grows, finds none.
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on, of what comes now."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedServer]:
    """A valkey-server with an append-only file on a private socket; tests use organisations of
    their own in it, so that they do not see each other."""
    with tempfile.TemporaryDirectory(prefix="comptroller-test-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a unix socket's name must fit into 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ct-") as name:
        yield Path(name)
