"""What a step is told is read once, by whom it was meant for, however long it is."""

import asyncio
from typing import Any

import pytest

from budgets.transport import LedgerUnavailable
from orchestrator.kinds.contract import Signal, Waits
from orchestrator.places import TaskId
from orchestrator.progress import Task
from orchestrator.running.acts import Park, signal
from orchestrator.running.attempts import Attempts
from orchestrator.running.deciding import Approve, NotPossible
from orchestrator.running.journal import Doing, in_one
from orchestrator.running.purse import Purse
from orchestrator.running.tools import AttemptTools
from tests.orchestrator.running.book import Book
from tests.orchestrator.running.databases import fresh_database, postgres_at
from tests.orchestrator.running.workshop import Workshop

APPROVAL = {"message": "go on?", "timeout": "24h"}


def inner(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The files of a workflow with one that is started by its steps."""
    budget = [{"usd": "0.10"}]
    written = {"name": "inner", "budget": budget, "steps": list(steps), **more}
    return {"inner.yaml": {"workflow": written}}


def approve(shop: Workshop, run: str, step: str, *, approved: bool = True) -> Approve:
    return Approve(shop.stack.organisation, run, "ann", task=TaskId(step), approved=approved)


async def test_a_long_output_of_a_run_inside_is_handed_up(shop: Workshop) -> None:
    """Longer than what stands in a row."""
    long = shop.program("long.py", "print('x' * 100_000)")
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"},
        files=inner(
            {"id": "nap", "sleep": "1s"},
            {"id": "x", "needs": ["nap"], "command": long},
            output="{{ steps.x.output }}",
        ),
        output="{{ steps.a.output | length }}",
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == 100_000


async def test_only_a_step_that_asks_is_approved(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "nap", "sleep": "1h"},
        {"id": "a", "workflow": "inner.yaml"},
        files=inner({"id": "x", "sleep": "1h"}),
    )
    for step in ("nap", "a"):
        await shop.until_task(run, step, "waiting")
        with pytest.raises(NotPossible, match="does not ask"):
            await shop.decide(approve(shop, run, step))


async def test_a_step_that_takes_no_notice_of_what_it_is_told_waits_on(shop: Workshop) -> None:
    """And its run is not begun again and again for it."""
    run = await shop.submit({"id": "nap", "sleep": "1h"})
    await shop.until(run, "waiting")
    told = Signal("eve", 1, "wake up")
    await shop.decide(Doing(lambda database, _: signal(database, run, TaskId("nap"), told)))
    await shop.until_rows(0, "select run from signals")
    await shop.until(run, "waiting")
    ((epoch,),) = await shop.rows("select epoch from runs where id = ?", run)
    assert epoch == 2


async def test_each_round_asks_for_itself(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the executor has heard the answer of the round before twice."""
    make = Attempts.make

    async def hears_twice(
        self: Attempts, task: TaskId, before: Task | None, told: Signal | None, write: Any
    ) -> None:
        if told is not None:
            for running, _ in shop.executors[0]._running.values():
                running.hear({task: told})
        await make(self, task, before, told, write)

    monkeypatch.setattr(Attempts, "make", hears_twice)
    run = await shop.submit(
        {
            "id": "ask",
            "approval": APPROVAL,
            "until": {"condition": "{{ last.approved }}", "most": 3},
        },
        {"id": "nap", "sleep": "1h"},
    )
    await shop.until_task(run, "ask", "waiting")
    await shop.decide(approve(shop, run, "ask", approved=False))
    await shop.until_rows(1, "select step from tasks where run = ? and round > 0", run)
    await shop.until_task(run, "ask", "waiting")
    await shop.until(run, "waiting")
    assert (await shop.task(run, "ask"))["round"] == 1


@pytest.mark.parametrize("action", [{"sleep": "1h"}, {"workflow": "inner.yaml"}], ids=str)
async def test_what_waits_beyond_its_timeout_is_ended(
    shop: Workshop, action: dict[str, Any]
) -> None:
    """And does not ask again and again whether it may go on."""
    run = await shop.submit(
        {"id": "a", **action, "timeout": "1s", "retries": 0},
        files=inner({"id": "x", "sleep": "1h"}),
    )
    assert await shop.ended(run) == "failed"
    assert await shop.error(run) == "a: it took longer than its timeout of 1 s"
    ((epoch,),) = await shop.rows("select epoch from runs where id = ?", run)
    assert int(str(epoch)) <= 4
    await shop.until_rows(0, "select id from runs where status not in ('failed', 'cancelled')")


async def test_a_call_back_counts_while_the_ledger_is_away(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the request would be sent again to a server that has done its work."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        run = await shop.submit(
            {"id": "a", "http": {"url": f"http://{host}:{port}/", "callback": True}},
            output="{{ steps.a.output }}",
        )
        await shop.until_task(run, "a", "waiting")
        await shop.until(run, "waiting")

        async def away(*_: Any, **__: Any) -> None:
            raise LedgerUnavailable("gone")

        monkeypatch.setattr(Purse, "begin_attempt", away)
        told = Signal("", 1, "done")
        await shop.decide(Doing(lambda database, _: signal(database, run, TaskId("a"), told)))
        assert await shop.ended(run) == "done"
    assert await shop.output(run) == "done"
    assert len(asked) == 1


def test_what_is_told_while_a_run_is_parked_wakes_it(postgres: str) -> None:
    """Neither transaction sees the other: whoever looks next finds that the run has something to
    hear."""
    url = fresh_database(postgres)
    database, other = postgres_at(url)(), postgres_at(url)()
    book = Book(database)
    run = book.submit({"id": "nap", "sleep": "1h"})
    assert book.claim() == [run]
    book.put(run, "nap", "waiting")
    database.begin()
    Park(book.holds[run], None)(database, book.now_ms)
    told = Signal("", book.now_ms, "done")
    in_one(other, [Doing(lambda there, _: signal(there, run, TaskId("nap"), told))])
    database.commit()
    assert book.claim() == [run]
    for each in (database, other):
        each.close()


async def test_the_end_of_a_run_inside_is_heard_beside_that_of_another(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step reads what was told of another run, when its own one ends: that has no row of its
    own then, and is looked for."""
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"}, files=inner({"id": "ask", "approval": APPROVAL})
    )
    await shop.until_rows(1, "select id from runs where parent = ? and status = 'waiting'", run)
    await shop.until(run, "waiting")
    ((child,),) = await shop.rows("select id from runs where parent = ?", run)
    works = AttemptTools.run_workflow

    async def ends_meanwhile(self: AttemptTools, name: str, given: Any) -> Any:
        try:
            return await works(self, name, given)
        except Waits:
            if self.signal is not None:
                await shop.decide(approve(shop, str(child), "ask"))
                await shop.ended(str(child))
            raise

    monkeypatch.setattr(AttemptTools, "run_workflow", ends_meanwhile)
    other = Signal("", 1, {"run": "rother", "status": "failed", "error": "x", "output": None})
    await shop.decide(Doing(lambda database, _: signal(database, run, TaskId("a"), other)))
    assert await shop.ended(run) == "done", await shop.error(run)
