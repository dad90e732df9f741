"""A run that has failed and is tried again does what it had not done, and all of that."""

import asyncio
from typing import Any

import pytest

from orchestrator.places import TaskId
from orchestrator.running.deciding import Approve, CallBack, Cancel, RetryFailed
from orchestrator.running.showing import whole
from tests.orchestrator.running.workshop import Workshop, until

ONCE_THERE = ("import pathlib, sys", "sys.exit(not pathlib.Path('ok').exists())")


def inner(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The files of a workflow with one that is started by its steps."""
    budget = [{"usd": "0.10"}]
    workflow = {"name": "inner", "budget": budget, "steps": list(steps), **more}
    return {"inner.yaml": {"workflow": workflow}}


async def again(shop: Workshop, run: str) -> None:
    """What a person asks for, when what it lacked is there."""
    (shop.folder / "ok").touch()
    await shop.decide(RetryFailed(shop.stack.organisation, run, "ann"))


async def test_a_list_that_was_none_is_looked_at_again(shop: Workshop) -> None:
    """The step is done for its entries then, and not once without any."""
    says = shop.program(
        "list.py", "import pathlib", "print('[1, 2]' if pathlib.Path('ok').exists() else 'none')"
    )
    run = await shop.submit(
        {"id": "list", "command": says},
        {
            "id": "each",
            "needs": ["list"],
            "foreach": "{{ steps.list.output }}",
            "command": ["true"],
        },
    )
    assert await shop.ended(run) == "failed"
    await shop.execute("update tasks set output = '[1, 2]' where step = 'list'")
    await again(shop, run)
    assert await shop.ended(run) == "done", await shop.error(run)
    rows = await shop.rows("select entry from tasks where step = 'each' order by entry")
    assert rows == [(-1,), (0,), (1,)]


async def test_no_entry_begins_after_one_that_failed_until_it_is_tried_again(
    shop: Workshop,
) -> None:
    """They would be paid for in a run that fails; then the rest is done, and that alone."""
    fails = shop.program("fails.py", *ONCE_THERE)
    one = {"items": [*range(4)], "concurrency": 1}
    run = await shop.submit({"id": "a", "foreach": one, "command": fails, "retries": 0})
    assert await shop.ended(run) == "failed"
    assert (await shop.error(run)).startswith("a[0]: ")
    entries = "select entry, attempt from attempts where run = ? order by entry, attempt"
    assert await shop.rows(entries, run) == [(0, 1)]
    (step,) = (await shop.desk.read(lambda database: whole(database, "", run))).steps
    assert (step.status, step.entries) == ("failed", {"failed": 1, "pending": 3})
    await again(shop, run)
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.rows(entries, run) == [(0, 1), (0, 2), (1, 1), (2, 1), (3, 1)]


async def test_a_run_inside_that_failed_is_begun_anew(shop: Workshop) -> None:
    fails = shop.program("fails.py", *ONCE_THERE)
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"},
        files=inner({"id": "x", "command": fails, "retries": 0}),
    )
    assert await shop.ended(run) == "failed"
    await again(shop, run)
    assert await shop.ended(run) == "done", await shop.error(run)


@pytest.mark.parametrize(("retries", "runs"), [({"retries": 2}, 3), ({}, 1)])
async def test_a_run_inside_is_begun_anew_as_often_as_its_step_says(
    shop: Workshop, retries: dict[str, int], runs: int
) -> None:
    """Itself: defaults are for the steps inside."""
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml", **retries},
        files=inner({"id": "x", "command": ["false"], "retries": 0}),
        defaults={"retries": 5},
    )
    assert await shop.ended(run) == "failed"
    assert len(await shop.rows("select id from runs where parent = ?", run)) == runs
    assert (await shop.task(run, "a"))["failures"] == runs


async def test_a_run_inside_that_was_given_up_does_not_end_the_step_of_its_successor(
    shop: Workshop,
) -> None:
    """Somebody has tried it again, and it has ended well: the step waits for the other one."""
    organisation, asks = shop.stack.organisation, TaskId("ask")
    fails = shop.program("fails.py", *ONCE_THERE)
    files = inner(
        {"id": "ask", "approval": {"message": "?"}},
        {"id": "x", "needs": ["ask"], "command": fails, "retries": 0},
    )
    files["inner.yaml"]["workflow"]["output"] = "{{ run.id }}"
    step = {"id": "a", "workflow": "inner.yaml", "retries": 1}
    run = await shop.submit(step, files=files, output="{{ steps.a.output }}")
    children = "select id from runs where parent = ? order by created_ms, id"
    await shop.until_rows(1, children, run)
    ((first,),) = await shop.rows(children, run)
    await shop.until_task(str(first), "ask", "waiting")
    await shop.decide(Approve(organisation, str(first), "ann", task=asks, approved=True))
    await shop.until_rows(2, children, run)
    _, (second,) = await shop.rows(children, run)
    await shop.until_task(str(second), "ask", "waiting")
    await again(shop, str(first))
    assert await shop.ended(str(first)) == "done"
    await shop.until_rows(0, "select payload from signals where run = ?", run)
    assert await shop.until(run, "waiting", "done") == "waiting"
    await shop.decide(Approve(organisation, str(second), "ann", task=asks, approved=True))
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == second


async def test_a_run_inside_that_was_cancelled_is_not_begun_anew(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml", "retries": 5},
        files=inner({"id": "x", "approval": {"message": "?"}}),
    )
    await shop.until_task(run, "a", "waiting")
    ((inside,),) = await shop.rows("select id from runs where parent = ?", run)
    await shop.until(str(inside), "waiting")
    await shop.decide(Cancel(shop.stack.organisation, str(inside), "ann"))
    assert await shop.ended(run) == "failed"
    assert len(await shop.rows("select id from runs where parent = ?", run)) == 1


async def test_a_run_inside_that_ended_with_its_run_is_begun_anew(shop: Workshop) -> None:
    fails = shop.program("fails.py", *ONCE_THERE)
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"},
        {"id": "nap", "sleep": "1s"},
        {"id": "b", "needs": ["nap"], "command": fails, "retries": 0},
        files=inner({"id": "x", "approval": {"message": "?"}}),
    )
    assert await shop.ended(run) == "failed"
    assert (await shop.task(run, "a"))["status"] == "waiting"
    ((first, status),) = await shop.rows("select id, status from runs where parent = ?", run)
    assert status == "cancelled"
    await again(shop, run)
    await shop.until_task(run, "b", "done")
    await shop.until_rows(2, "select id from runs where parent = ?", run)
    ((second,),) = await shop.rows("select id from runs where parent = ? and id <> ?", run, first)
    await shop.until(str(second), "waiting")
    await shop.until(run, "waiting")


async def test_a_server_that_a_step_waits_for_has_a_key_that_works_and_its_money(
    shop: Workshop,
) -> None:
    """Both have ended with the run: it is asked again, with another key."""
    keys: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        keys.extend(each.split()[-1] for each in head.splitlines() if each.startswith("auth"))
        writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    fails = shop.program("fails.py", *ONCE_THERE)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        asks = {"url": f"http://{host}:{port}/", "callback": True, "key": True}
        budget = [{"usd": "0.50"}]
        run = await shop.submit(
            {"id": "waits", "http": asks, "budget": budget, "guaranteed": True},
            {"id": "nap", "sleep": "1s"},
            {"id": "fails", "needs": ["nap"], "command": fails, "retries": 0},
        )
        assert await shop.ended(run) == "failed"
        assert (await shop.stack.chat(keys[0], max_tokens=50)).status_code == 401
        await again(shop, run)
        await until(lambda: len(keys) > 1)
    assert (await shop.stack.chat(keys[1], max_tokens=50)).status_code == 200
    ((scope,),) = await shop.rows("select scope from runs")
    session = shop.stack.parts.ledger._session
    record = (await session.load([f"{scope}/waits"], create=False))[f"{scope}/waits"]
    assert record.allotment is not None
    await shop.until_task(run, "waits", "waiting")
    await shop.decide(CallBack(run, TaskId("waits"), 2, "done"))
    assert await shop.ended(run) == "done", await shop.error(run)


COUNTS = (
    "import pathlib",
    "file = pathlib.Path('count')",
    "count = 1 + int(file.read_text() if file.exists() else 0)",
    "file.write_text(str(count)); print(count)",
)


@pytest.mark.parametrize("is_inside", [False, True], ids=["command", "workflow"])
async def test_rounds_that_were_not_enough_are_had_anew(shop: Workshop, is_inside: bool) -> None:
    """From the last output on: what was paid for is not lost, and is not taken for a new one."""
    counts = {"command": shop.program("counts.py", *COUNTS)}
    run = await shop.submit(
        {
            "id": "a",
            **({"workflow": "inner.yaml"} if is_inside else counts),
            "until": {"condition": "{{ last >= 4 }}", "most": 2},
        },
        files=inner({"id": "x", **counts}, output="{{ steps.x.output }}"),
        output="{{ steps.a.output }}",
    )
    assert await shop.ended(run) == "failed"
    assert "after 2 rounds" in await shop.error(run)
    assert await shop.rows("select last from tasks where run = ?", run) == [("2",)]
    await again(shop, run)
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == 4
    assert (await shop.task(run, "a"))["attempt"] == 4
