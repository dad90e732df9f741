"""One administered stack for each file of tests: they use organisations of their own in it."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.comptroller.commands.administered import Administered, administered


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Administered]:
    """A stack with its first key, and an admin API."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        async with administered(Path(folder)) as stack:
            yield stack
