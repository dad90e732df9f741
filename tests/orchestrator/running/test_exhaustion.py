"""What a gateway has refused for want of budget is heard by every executor."""

import asyncio

import pytest

from budgets.exhausted import Exhausted
from tests.orchestrator.running.conftest import Till, limits, purse_of

ONE_DOLLAR = limits({"usd": "1.00"})


@pytest.mark.parametrize("step", ["", "search"])
async def test_exhaustion_arrives(till: Till, step: str) -> None:
    """Of a run or of a step: the scope says which; every reader has it, once."""
    one = limits({"requests": 1})
    await till.purse.open_run(till.run, ONE_DOLLAR if step else one)
    secret = await till.begin(till.attempt(entry=1), budget=one if step else ())
    before = await till.purse.exhausted("")
    start = before[-1].at if before else ""
    assert [await till.status(secret) for _ in range(2)] == [200, 402]
    async with asyncio.timeout(20):
        while not (found := await told(till, start)):
            await asyncio.sleep(0.01)  # another process would not hear of it in any other way
    exhausted = found[0]
    assert exhausted.scope == (till.run.step_scope(step) if step else till.run.scope)
    assert (exhausted.run_id, exhausted.step_id) == ("r1", "search[1]")
    assert exhausted in await purse_of(till.stack).exhausted(start)
    assert exhausted not in await till.purse.exhausted(exhausted.at)


async def told(till: Till, after: str) -> list[Exhausted]:
    """Of this test: they share a server."""
    every = await till.purse.exhausted(after)
    return [each for each in every if each.scope.startswith(f"{till.stack.organisation}/")]
