"""A step that is held has not failed, and waits for what holds it: a provider in its own time, a
budget for as long as it takes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.behaviours import ERROR_BODY
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import Workshop, workshop

ASK: dict[str, Any] = {"id": "a", "prompt": {"text": "x", "model": "plain", "max_tokens": 50}}


@pytest.fixture
async def shop(stack: Stack, connect: Connect, tmp_path: Path) -> AsyncIterator[Workshop]:
    """An executor on each kind of database."""
    async with workshop(stack, connect, tmp_path) as made:
        yield made


async def test_a_provider_that_is_always_too_busy_has_as_long_as_the_step(shop: Workshop) -> None:
    """Its pauses count: from the first attempt that it held."""

    async def busy(_: Received, reply: Reply) -> None:
        reply.whole(429, ERROR_BODY, ("retry-after", "1"))

    shop.stack.provider.behaviour = busy
    run = await shop.submit({**ASK, "timeout": "2s", "retries": 1})
    assert await shop.ended(run) == "failed"
    assert "longer than its timeout of 2 s" in await shop.error(run)
    assert (await shop.task(run, "a"))["failures"] == 2
