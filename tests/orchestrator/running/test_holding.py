"""A step that is held has not failed, and waits for what holds it: a provider in its own time, a
budget for as long as it takes."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from budgets.policy import Limit
from orchestrator.kinds.contract import UsedUpForNow
from orchestrator.places import RunPlace
from orchestrator.progress import Task
from orchestrator.running import holding
from orchestrator.running.closing import Closing
from orchestrator.running.purse import Purse
from tests.gateway.behaviours import ERROR_BODY
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.test_money import ASKS
from tests.orchestrator.running.workshop import WAIT_S_MAX, Workshop, workshop

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


TWICE = {**ASK, "id": "b", "needs": ["a"]}
MONTHLY = [{"usd": "1.00"}, {"requests": 1, "window": "month"}]
RAISED = [{"usd": "1.00"}, {"requests": 9, "window": "month"}]
REFUSED_ONCE = (*ASKS, "ask(); ask(); print('asked')")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[None]:
    """What is held for a window is looked at often: has an entry for each time."""
    monkeypatch.setattr(holding, "WINDOW_MS", 20)
    found = asyncio.Queue[None]()
    limits = Purse.limits

    async def counted(self: Purse, scope: str) -> tuple[Limit, ...]:
        found.put_nowait(None)
        return await limits(self, scope)

    monkeypatch.setattr(Purse, "limits", counted)
    return found


async def held_for_long(shop: Workshop, run: str, step: str, looked: asyncio.Queue[None]) -> None:
    """It waits, as does its run, and neither begins nor says anything more."""
    held = await shop.until_task(run, step, "again", "done", "failed")
    for _ in range(5):
        await asyncio.wait_for(looked.get(), WAIT_S_MAX)
    later = await shop.task(run, step)
    assert (held["status"], held["attempt"], held["failures"]) == ("again", 1, 0)
    assert (later["status"], later["attempt"], later["error"]) == ("again", 1, held["error"])
    assert await shop.until(run, "waiting", "halted", "failed", "asking") == "waiting"


@pytest.mark.parametrize("policy", ["halt", "ask"])
async def test_a_window_that_is_used_up_holds_until_somebody_raises_it(
    shop: Workshop, looked: asyncio.Queue[None], policy: str
) -> None:
    """Of the run itself; it is not halted, and nobody is asked."""
    run = await shop.submit(ASK, TWICE, budget=MONTHLY, on_exhausted=policy)
    await held_for_long(shop, run, "b", looked)
    ((scope,),) = await shop.rows("select scope from runs where id = ?", run)
    raised = {"limits": RAISED, "kind": "run"}
    await shop.stack.set_budget(str(scope).partition("/")[2], raised)
    assert await shop.ended(run) == "done", await shop.error(run)
    assert (await shop.task(run, "b"))["attempt"] == 2
    assert "approval_requested" not in [kind for kind, _ in await shop.told(run)]


async def test_a_program_that_ends_at_a_window_is_held(
    shop: Workshop, looked: asyncio.Queue[None]
) -> None:
    """Of the project above its run; it has not failed, though it may not be tried again."""
    await shop.stack.set_budget("p", MONTHLY)
    program = shop.program("twice.py", *REFUSED_ONCE)
    run = await shop.submit({"id": "a", "command": program, "retries": 0}, on_exhausted="ask")
    await held_for_long(shop, run, "a", looked)
    assert "used up (requests per month)" in (await shop.task(run, "a"))["error"]
    await shop.stack.set_budget("p", RAISED)
    assert await shop.ended(run) == "done", await shop.error(run)


async def test_a_window_that_has_ended_lets_another_attempt_begin(shop: Workshop) -> None:
    run = await shop.submit(ASK, TWICE, budget=MONTHLY)
    await shop.until_task(run, "b", "again")
    await shop.until(run, "waiting")
    ((held,),) = await shop.rows("select held from tasks where run = ? and step = 'b'", run)
    ended = re.sub(r'"resets_at_ms":\d+', '"resets_at_ms":1', str(held))
    await shop.execute("update tasks set held = ?, wake_at_ms = 1 where step = 'b'", ended)
    await shop.execute("update runs set wake_at_ms = 1 where id = ?", run)
    await shop.until_rows(2, "select attempt from attempts where run = ? and step = 'b'", run)


@pytest.mark.parametrize("left_ms", [5_000, 90_000])
async def test_it_is_looked_at_its_end_and_every_minute_before(
    shop: Workshop, left_ms: int
) -> None:
    kit = shop.executors[0]._kit
    run = RunPlace("r1", shop.stack.scope("p"), "w", 1)
    holds = holding.Holds(run, kit, Closing(kit))
    now_ms = kit.clock.now_ms()
    held = await holds.begun(Task("running"), UsedUpForNow("no", run.scope, now_ms + left_ms))
    assert held.wake_at_ms is not None
    assert abs(held.wake_at_ms - now_ms - min(left_ms, holding.WINDOW_MS)) < 2_000
