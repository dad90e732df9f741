"""No more of a run is at work at once than its workflow says, wherever it is done; on SQLite and on
PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.places import TaskId
from orchestrator.running.deciding import Approve, CallBack
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import Workshop, workshop

ASKS = {"id": "ask", "approval": {"message": "?"}}
INNER = {
    "inner.yaml": {"workflow": {"name": "inner", "budget": [{"usd": "0.10"}], "steps": [ASKS]}}
}
CHILDREN = "select id from runs where parent = ? order by id"


@pytest.fixture
async def shop(stack: Stack, tmp_path: Path, connect: Connect) -> AsyncIterator[Workshop]:
    """An executor on each database."""
    async with workshop(stack, connect, tmp_path) as made:
        yield made


async def approve(shop: Workshop, run: str) -> None:
    """What a run inside asks for."""
    await shop.until(run, "waiting")
    organisation = shop.stack.organisation
    await shop.decide(Approve(organisation, run, "ann", task=TaskId("ask"), approved=True))


@pytest.mark.parametrize("fan", [True, False], ids=["foreach", "workflow"])
async def test_runs_inside_are_started_as_earlier_ones_end(shop: Workshop, fan: bool) -> None:
    """One after the other where one at once is allowed: of a step's entries, or of all."""
    starts = {"id": "a", "workflow": "inner.yaml"}
    one = {"items": [1, 2, 3], "concurrency": 1}
    steps = [{**starts, "foreach": one}] if fan else [{**starts, "id": each} for each in "abc"]
    run = await shop.submit(*steps, files=INNER, **({} if fan else {"concurrency": 1}))
    for count in (1, 2, 3):
        await shop.until_rows(count, CHILDREN, run)
        await shop.until(run, "waiting")
        children = await shop.rows(CHILDREN, run)
        assert len(children) == count
        await approve(shop, str(children[-1][0]))
    assert await shop.ended(run) == "done"


async def test_servers_are_asked_as_earlier_ones_call_back(shop: Workshop) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        asks = {"url": f"http://{host}:{port}/", "callback": True}
        one = {"items": [1, 2], "concurrency": 1}
        run = await shop.submit({"id": "a", "foreach": one, "http": asks})
        for entry in range(2):
            await shop.until_task(run, "a", "waiting", entry=entry)
            await shop.until(run, "waiting")
            assert len(asked) == entry + 1
            await shop.decide(CallBack(run, TaskId("a", entry), 1, "done"))
        assert await shop.ended(run) == "done"


async def test_another_attempt_waits_for_a_place_and_costs_nothing(shop: Workshop) -> None:
    """Its run is not begun again and again for it, but when what has the place ends."""
    once = (
        "import pathlib, sys",
        "there = pathlib.Path('there')",
        "sys.exit(0) if there.exists() else there.touch()",
        "sys.exit(1)",
    )
    run = await shop.submit(
        {"id": "b", "command": shop.program("once.py", *once), "retries": 1},
        {"id": "a", "workflow": "inner.yaml"},
        files=INNER,
        concurrency=1,
    )
    await shop.until_task(run, "a", "waiting")
    await shop.until(run, "waiting")
    assert await shop.rows("select wake_at_ms from runs where id = ?", run) == [(None,)]
    assert (await shop.task(run, "b"))["status"] == "again"
    ((child,),) = await shop.rows(CHILDREN, run)
    await approve(shop, str(child))
    assert await shop.ended(run) == "done", await shop.error(run)
    assert (await shop.task(run, "b"))["attempt"] == 2
