"""What people decide about a run holds at once, also while it works, and over a restart."""

import asyncio
from typing import Any

import pytest

from orchestrator.places import TaskId
from orchestrator.running.deciding import (
    Approve,
    Cancel,
    Decision,
    NoSuchRun,
    NotPossible,
    Pause,
    Resume,
    RetryFailed,
)
from orchestrator.running.forking import Fork
from tests.gateway.behaviours import answers, held
from tests.orchestrator.running.workshop import Workshop, until

PROMPT = {"text": "x", "model": "plain", "max_tokens": 50}
APPROVAL = {"message": "go on?", "timeout": "24h"}
APPROVED = "{{ steps.ask.output.approved }}"


def of(shop: Workshop, act: type[Decision], run: str, **more: Any) -> Decision:
    """A decision of Ann's."""
    return act(organisation=shop.stack.organisation, run=run, by="ann", **more)


async def asked(shop: Workshop) -> None:
    """Until the provider has a request."""
    await until(lambda: bool(shop.stack.provider.received))


async def heard(shop: Workshop, run: str, stops: str) -> None:
    """Until its executor knows what is wanted."""
    await until(lambda: shop.executors[0]._running[run][0]._stops == stops)


async def test_a_run_that_is_paused_keeps_what_is_at_work_and_begins_nothing(
    shop: Workshop,
) -> None:
    """What was paid for is not paid twice."""
    gate = asyncio.Event()
    shop.stack.provider.behaviour = held(gate, answers())
    run = await shop.submit(
        {"id": "a", "prompt": PROMPT}, {"id": "b", "needs": ["a"], "prompt": PROMPT}
    )
    await shop.until_task(run, "a", "running")
    await shop.decide(of(shop, Pause, run))
    await asked(shop)
    await heard(shop, run, "paused")
    gate.set()
    assert await shop.until(run, "paused") == "paused"
    assert (await shop.task(run, "a"))["status"] == "done"
    assert len(shop.stack.provider.received) == 1
    assert await shop.decide(of(shop, Resume, run)) == "queued"
    assert await shop.ended(run) == "done"
    assert len(shop.stack.provider.received) == 2


@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval_outlives_a_restart(shop: Workshop, approved: bool) -> None:
    run = await shop.submit(
        {"id": "ask", "approval": APPROVAL},
        {"id": "then", "needs": ["ask"], "when": APPROVED, "sleep": "1s"},
        output="{{ steps.ask.output }}",
    )
    await shop.until(run, "waiting")
    await shop.stop(shop.executors[0])
    said = {"approved": approved, "comment": "well"}
    await shop.decide(of(shop, Approve, run, task=TaskId("ask"), **said))
    await shop.executor()
    assert await shop.ended(run) == "done"
    output = await shop.output(run)
    assert {**output, "at_ms": 0} == {**said, "by": "ann", "at_ms": 0}
    assert (await shop.task(run, "then"))["status"] == ("done" if approved else "skipped")
    kinds = [kind for kind, _ in await shop.told(run)]
    assert kinds.count("approval_requested") == kinds.count("approval_resolved") == 1


async def test_nobody_s_answer_in_time_is_a_no(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "ask", "approval": {"message": "go on?", "timeout": "1s"}},
        output="{{ steps.ask.output.approved }}",
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) is False


async def test_an_approval_is_decided_once(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "ask", "approval": APPROVAL}, {"id": "other", "approval": APPROVAL}
    )
    await shop.until(run, "waiting")
    await shop.decide(of(shop, Approve, run, task=TaskId("ask"), approved=True))
    with pytest.raises(NotPossible, match=r"decided already|does not ask"):
        await shop.decide(of(shop, Approve, run, task=TaskId("ask"), approved=False))
    with pytest.raises(NotPossible, match="does not ask"):
        await shop.decide(of(shop, Approve, run, task=TaskId("nobody"), approved=True))
    await shop.decide(of(shop, Approve, run, task=TaskId("other"), approved=True))
    assert await shop.ended(run) == "done"
    assert (await shop.task(run, "ask"))["output"]["approved"] is True


async def test_each_round_of_an_approval_waits_for_an_answer_of_its_own(shop: Workshop) -> None:
    """An answer that is being read is not taken for the next one's."""
    run = await shop.submit(
        {
            "id": "ask",
            "approval": {"message": "enough?"},
            "until": {"condition": "{{ last.approved }}", "most": 3},
        }
    )
    for attempt, approved in ((1, False), (2, False), (3, True)):
        await shop.until_asked(run, "ask", attempt)
        assert (await shop.task(run, "ask"))["wake_at_ms"] is None
        await shop.decide(of(shop, Approve, run, task=TaskId("ask"), approved=approved))
    assert await shop.ended(run) == "done", await shop.error(run)
    assert (await shop.task(run, "ask"))["attempt"] == 3


async def test_what_failed_is_tried_again_and_what_is_done_is_not(shop: Workshop) -> None:
    shop.stack.provider.behaviour = answers()
    fails = shop.program(
        "fails.py", "import pathlib, sys", "sys.exit(not pathlib.Path('ok').exists())"
    )
    run = await shop.submit(
        {"id": "paid", "prompt": PROMPT},
        {"id": "fails", "needs": ["paid"], "command": fails, "retries": 0},
        {"id": "after", "needs": ["fails"], "prompt": PROMPT},
    )
    assert await shop.ended(run) == "failed"
    (shop.folder / "ok").touch()
    assert await shop.decide(of(shop, RetryFailed, run)) == "queued"
    assert await shop.ended(run) == "done", await shop.error(run)
    assert len(shop.stack.provider.received) == 2
    kinds = [kind for kind, _ in await shop.told(run)]
    assert kinds.count("run_completed") == 2


async def test_a_fork_takes_over_what_is_above_and_does_the_rest_anew(shop: Workshop) -> None:
    says = shop.program("says.py", "import sys; print(sys.argv[1])")
    run = await shop.submit(
        {"id": "a", "command": [*says, "{{ input.x }}"]},
        {"id": "fan", "foreach": [1, 2], "command": [*says, "{{ item }}"]},
        {
            "id": "b",
            "needs": ["a", "fan"],
            "command": [*says, "{{ input.x }} {{ steps.fan.output }}"],
        },
        {"id": "c", "needs": ["b"], "sleep": "1s"},
        input={"x": {"type": "string"}},
        given={"x": "old"},
        output="{{ steps.a.output }}|{{ steps.b.output }}",
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == "old|old [1, 2]"
    fork = (await shop.decide(of(shop, Fork, run, step="b", given={"x": "new"}))).run
    assert await shop.ended(fork) == "done"
    assert await shop.output(fork) == "old|new [1, 2]"
    attempts = await shop.rows("select step from attempts where run = ? order by step", fork)
    assert attempts == [("b",), ("c",)]
    with pytest.raises(NotPossible, match="no step"):
        await shop.decide(of(shop, Fork, run, step="nothing"))


async def test_a_cancelled_run_takes_what_is_inside_with_it(shop: Workshop) -> None:
    inner = {
        "name": "inner",
        "budget": [{"usd": "0.10"}],
        "steps": [{"id": "x", "sleep": "1h"}],
    }
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"}, files={"inner.yaml": {"workflow": inner}}
    )
    await shop.until_task(run, "a", "waiting")
    ((child,),) = await shop.rows("select id from runs where parent = ?", run)
    await shop.until(str(child), "waiting")
    assert await shop.decide(of(shop, Cancel, run)) == "cancelled"
    assert await shop.ended(str(child)) == "cancelled"


async def test_a_paused_run_pauses_what_is_inside_it(shop: Workshop) -> None:
    """And both go on together."""
    inner = {
        "name": "inner",
        "budget": [{"usd": "0.10"}],
        "steps": [
            {"id": "x", "approval": APPROVAL},
            {"id": "y", "needs": ["x"], "command": shop.program("y.py", "print(1)")},
        ],
    }
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"}, files={"inner.yaml": {"workflow": inner}}
    )
    await shop.until_task(run, "a", "waiting")
    ((child,),) = await shop.rows("select id from runs where parent = ?", run)
    await shop.until(str(child), "waiting")
    await shop.until(run, "waiting")
    assert await shop.decide(of(shop, Pause, run)) == "paused"
    await shop.decide(of(shop, Approve, str(child), task=TaskId("x"), approved=True))
    assert await shop.status(str(child)) == "paused"
    assert await shop.decide(of(shop, Resume, run)) in ("queued", "waiting")
    assert await shop.ended(run) == "done"


async def test_a_run_that_is_to_begin_later_does(shop: Workshop) -> None:
    later_ms = shop.stack.parts.clock.now_ms() + 300
    run = await shop.submit({"id": "a", "sleep": "1s"}, start_ms=later_ms)
    assert await shop.status(run) == "waiting"
    await shop.until_task(run, "a", "waiting")
    assert shop.stack.parts.clock.now_ms() >= later_ms


@pytest.mark.parametrize("act", [Pause, Resume, RetryFailed])
async def test_what_is_over_is_not_decided_again(shop: Workshop, act: type[Decision]) -> None:
    run = await shop.submit({"id": "a", "sleep": "1h"})
    await shop.decide(of(shop, Cancel, run))
    assert await shop.decide(of(shop, Cancel, run)) == "cancelled"
    with pytest.raises(NotPossible, match="cancelled"):
        await shop.decide(of(shop, act, run))
    with pytest.raises(NoSuchRun):
        await shop.decide(act(organisation="other", run=run, by="eve"))


async def test_an_executor_that_ends_leaves_its_runs_to_the_next(shop: Workshop) -> None:
    """At once: nobody waits for its lease."""
    gate = asyncio.Event()
    shop.stack.provider.behaviour = held(gate, answers())
    run = await shop.submit({"id": "a", "prompt": PROMPT})
    await asked(shop)
    await shop.stop(shop.executors[0])
    assert await shop.status(run) == "queued"
    gate.set()
    await shop.executor()
    assert await shop.ended(run) == "done"
    assert (await shop.task(run, "a"))["attempt"] == 2


async def test_a_run_that_is_resumed_while_its_last_work_ends_begins_more_at_once(
    shop: Workshop,
) -> None:
    gate = asyncio.Event()
    shop.stack.provider.behaviour = held(gate, answers())
    says = shop.program("says.py", "print(1)")
    run = await shop.submit(
        {"id": "a", "prompt": PROMPT},
        {"id": "nap", "sleep": "1s"},
        {"id": "b", "needs": ["nap"], "command": says},
    )
    await asked(shop)
    await shop.decide(of(shop, Pause, run))
    await shop.until_task(run, "nap", "waiting")
    await shop.decide(of(shop, Resume, run))
    await shop.until_task(run, "b", "done")
    gate.set()
    assert await shop.ended(run) == "done"
