"""One administered stack for all who ask one: tests use organisations of their own in it."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.comptroller.commands.administered import Administered, administered


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Administered]:
    """A stack with its first key, and an admin API."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        async with administered(Path(folder)) as stack:
            yield stack
