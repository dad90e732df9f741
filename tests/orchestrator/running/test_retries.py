"""A run that has failed and is tried again does what it had not done, and all of that."""

from typing import Any

from orchestrator.running.deciding import RetryFailed
from orchestrator.running.showing import whole
from tests.orchestrator.running.workshop import Workshop

ONCE_THERE = ("import pathlib, sys", "sys.exit(not pathlib.Path('ok').exists())")


def inner(*steps: dict[str, Any]) -> dict[str, Any]:
    """The files of a workflow with one that is started by its steps."""
    budget = [{"usd": "0.10"}]
    return {"inner.yaml": {"workflow": {"name": "inner", "budget": budget, "steps": list(steps)}}}


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
