"""A run that is tried again while its failure is still being closed keeps what it begins then; on
SQLite and on PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.places import RunPlace
from orchestrator.running.closing import Closing
from orchestrator.running.database import Row
from orchestrator.running.deciding import RetryFailed
from orchestrator.running.purse import Purse, RunStanding
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import Workshop, until, workshop, written

Meanwhile = Callable[[Callable[[], Awaitable[None]]], asyncio.Event]
TELLS = (
    "import os, pathlib, sys, time",
    "first, go = not pathlib.Path('key').exists(), pathlib.Path('go')",
    "pathlib.Path('key').write_text(os.environ['OPENAI_API_KEY'])",
    "if first: sys.exit('no luck')",
    "while not (go.exists() and go.read_text()): time.sleep(0.01)",
    "sys.exit(int(go.read_text()))",
)


@pytest.fixture
async def shop(stack: Stack, tmp_path: Path, connect: Connect) -> AsyncIterator[Workshop]:
    """An executor on each database."""
    async with workshop(stack, connect, tmp_path) as made:
        yield made


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """What is done while a run's first failure is closed; answers what says that it is."""

    def during(work: Callable[[], Awaitable[None]]) -> asyncio.Event:
        standing, close, works = Purse.standing, Closing._close, [work]
        is_closed = asyncio.Event()

        async def late(self: Purse, run: RunPlace, steps: Iterable[str] = ()) -> RunStanding:
            if works:
                await works.pop()()
            return await standing(self, run, steps)

        async def closes(self: Closing, row: Row) -> None:
            await close(self, row)
            is_closed.set()

        monkeypatch.setattr(Purse, "standing", late)
        monkeypatch.setattr(Closing, "_close", closes)
        return is_closed

    return during


async def submitted(shop: Workshop) -> str:
    """A run whose step fails at once, and the second time when it is told how to end."""
    return await shop.submit(
        {
            "id": "a",
            "command": shop.program("tells.py", *TELLS),
            "retries": 0,
            "budget": [{"usd": "0.01"}],
            "guaranteed": True,
        }
    )


async def test_its_new_attempt_keeps_its_key_and_its_money(
    shop: Workshop, meanwhile: Meanwhile
) -> None:
    """What is closed is what the failure has left."""
    key = shop.folder / "key"

    async def tries_again() -> None:
        first = await written(key)
        await shop.decide(RetryFailed(shop.stack.organisation, run, "ann"))
        await until(lambda: key.read_text() not in ("", first))

    is_closed = meanwhile(tries_again)
    run = await submitted(shop)
    await is_closed.wait()
    assert (await shop.stack.chat(key.read_text(), max_tokens=50)).status_code == 200
    ((scope,),) = await shop.rows("select scope from runs")
    session = shop.stack.parts.ledger._session
    record = (await session.load([f"{scope}/a"], create=False))[f"{scope}/a"]
    assert record.allotment is not None
    (shop.folder / "go").write_text("0")
    assert await shop.ended(run) == "done", await shop.error(run)


async def test_its_second_failure_is_closed_for_itself(
    shop: Workshop, meanwhile: Meanwhile
) -> None:
    """It is not taken for the first one, whose closing has slept meanwhile."""
    ended = "select ended_ms, created_ms from runs where status = 'failed'"

    async def fails_again() -> None:
        await shop.decide(RetryFailed(shop.stack.organisation, run, "ann"))
        (shop.folder / "go").write_text("1")
        await shop.until_rows(1, f"{ended} and epoch > 3")

    is_closed = meanwhile(fails_again)
    run = await submitted(shop)
    await is_closed.wait()
    assert await shop.ended(run) == "failed"
    ((ended_ms, created_ms),) = await shop.rows(ended)
    told = [event for kind, event in await shop.told(run) if kind == "run_completed"]
    durations = [json.loads(event["detail"])["duration_ms"] for event in told]
    assert durations == [int(str(ended_ms)) - int(str(created_ms))]
