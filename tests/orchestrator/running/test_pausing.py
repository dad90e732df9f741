"""A run that is to stop begins nothing more, wherever it stood in line; on SQLite and on
PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.running.deciding import Pause, Resume
from orchestrator.running.tools import AttemptTools
from tests.gateway.behaviours import answers, held, says
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import Workshop, until, workshop

PROMPT = {"text": "x", "model": "plain", "max_tokens": 50}
INNER = {"name": "inner", "budget": [{"usd": "0.10"}], "steps": [{"id": "x", "sleep": "1h"}]}


@pytest.fixture
async def narrow(stack: Stack, tmp_path: Path, connect: Connect) -> AsyncIterator[Workshop]:
    """An executor that makes one attempt at a time: others wait for their turn."""
    async with workshop(stack, connect, tmp_path, attempts_max=1) as made:
        yield made


async def asked(shop: Workshop, *steps: dict[str, Any]) -> tuple[str, asyncio.Event]:
    """A run whose first attempt is at the provider until the gate opens, while others wait."""
    gate = asyncio.Event()
    shop.stack.provider.behaviour = held(gate, shop.stack.provider.behaviour)
    run = await shop.submit(*steps)
    await until(lambda: bool(shop.stack.provider.received))
    return run, gate


async def heard(shop: Workshop, run: str) -> None:
    """Until its executor knows that it is to pause."""
    await until(lambda: shop.executors[0]._running[run][0]._stops == "paused")


async def test_what_waits_for_its_turn_does_not_begin_in_a_run_that_is_to_pause(
    narrow: Workshop,
) -> None:
    """Nothing of it is written either; when the run goes on, so does it."""
    narrow.stack.provider.behaviour = answers()
    run, gate = await asked(narrow, {"id": "a", "foreach": [1, 2, 3], "prompt": PROMPT})
    who = (narrow.stack.organisation, run, "ann")
    await narrow.decide(Pause(*who))
    await heard(narrow, run)
    gate.set()
    await narrow.until(run, "paused")
    assert len(narrow.stack.provider.received) == 1
    assert len(await narrow.rows("select entry from tasks where entry >= 0")) == 1
    await narrow.decide(Resume(*who))
    assert await narrow.ended(run) == "done"
    assert len(narrow.stack.provider.received) == 3


async def test_what_waits_for_its_turn_does_not_begin_beside_a_failure(narrow: Workshop) -> None:
    """It would be paid for in a run that fails."""
    narrow.stack.provider.behaviour = says(b"{}", status=400)
    steps = ({"id": each, "prompt": PROMPT, "retries": 0} for each in ("a", "b", "c"))
    run, gate = await asked(narrow, *steps)
    gate.set()
    assert await narrow.ended(run) == "failed"
    assert len(narrow.stack.provider.received) == 1
    assert len(await narrow.rows("select step from tasks")) == 1


async def test_a_run_that_is_started_inside_one_that_is_to_pause_waits_with_it(
    narrow: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt had begun; what it starts does nothing until both go on."""
    begun, gate = asyncio.Event(), asyncio.Event()
    start = AttemptTools.run_workflow

    async def late(self: AttemptTools, *what: Any) -> Any:
        begun.set()
        await gate.wait()
        return await start(self, *what)

    monkeypatch.setattr(AttemptTools, "run_workflow", late)
    run = await narrow.submit(
        {"id": "a", "workflow": "inner.yaml"}, files={"inner.yaml": {"workflow": INNER}}
    )
    await begun.wait()
    who = (narrow.stack.organisation, run, "ann")
    await narrow.decide(Pause(*who))
    gate.set()
    await narrow.until(run, "paused")
    ((child, status),) = await narrow.rows("select id, status from runs where parent = ?", run)
    assert status == "paused"
    await narrow.decide(Resume(*who))
    await narrow.until(str(child), "waiting")
