"""The log tells each run as one chain: every event but its first names one that was told before it,
and an end names what decided it."""

import asyncio
import json
from typing import Any, get_args

import pytest

from budgets.policy import parse_policy
from orchestrator.events import RunEventType
from orchestrator.places import TaskId
from orchestrator.running.deciding import Approve, Cancel, RaiseBudget
from orchestrator.running.forking import Fork
from tests.orchestrator.running.test_money import FOR_EVER, QUOTE_NUSD, dollars
from tests.orchestrator.running.workshop import WAIT_S_MAX, Workshop

STORY = frozenset(get_args(RunEventType))
Told = dict[str, tuple[str, dict[str, Any]]]
SLEEP = {"sleep": "1s"}


async def chain(shop: Workshop, run: str) -> Told:
    """Events of a run by id, in their order: each but the first follows from one that was there."""
    async with asyncio.timeout(WAIT_S_MAX):
        while await shop.rows("select id from tellings limit 1"):
            await asyncio.sleep(0.01)  # rows have no event to wait for
    before: set[str] = set()
    told: Told = {}
    for entry in await shop.stack.ledger.outbox():
        if entry.kind not in STORY:
            continue
        event = json.loads(entry.event)
        if event["run_id"] == run:
            is_first = not told and entry.kind == "run_submitted"
            assert is_first or event.get("triggered_by") in before, (entry.kind, event)
            told[entry.id] = entry.kind, event
        before.add(entry.id)
    return told


def cause(told: Told, kind: str, step: str = "") -> str:
    """What the last event of this kind (of this step) follows from: its kind, and its step's id."""
    *_, event = (
        event for its, event in told.values() if (its, event.get("step_id", "")) == (kind, step)
    )
    of, caused = told[event["triggered_by"]]
    return f"{of} {caused.get('step_id', '')}".strip()


async def test_a_run_that_does_all_there_is_to_do(shop: Workshop) -> None:
    """Rounds, entries, what fails and is tried again, what cannot begin, and a decision."""
    fails = shop.program(
        "fails.py",
        "import pathlib, sys",
        "there = pathlib.Path('failed')",
        "if not there.exists(): there.touch(); sys.exit('no')",
        "print(1)",
    )
    run = await shop.submit(
        {"id": "each", "foreach": [1, 2], "command": shop.program("one.py", "print(1)")},
        {"id": "again", "command": fails, "retries": {"most": 1, "backoff": "1s"}},
        {
            "id": "rounds",
            "command": [*shop.program("n.py", "import sys; print(sys.argv[1])"), "{{ last }}+"],
            "until": "{{ last == 'None++' or last == '++' }}",
        },
        {
            "id": "early",
            "needs": ["each"],
            "foreach": "{{ steps.each.output[0] }}",
            **SLEEP,
            "on_failure": "skip",
        },
        {"id": "ask", "needs": ["each", "again", "rounds"], "approval": "Go on?"},
        {"id": "after", "needs": ["ask"], "command": shop.program("two.py", "print(2)")},
    )
    await shop.until_task(run, "ask", "waiting")
    organisation = shop.stack.organisation
    await shop.decide(Approve(organisation, run, "ann", task=TaskId("ask"), approved=True))
    assert await shop.ended(run) == "done", await shop.error(run)
    told = await chain(shop, run)
    assert cause(told, "approval_requested", "ask") == "step_started ask"
    assert cause(told, "approval_resolved", "ask") == "approval_requested ask"
    assert cause(told, "step_completed", "ask") == "approval_resolved ask"
    assert cause(told, "step_started", "after") == "step_completed ask"
    assert cause(told, "step_failed", "early").startswith("step_completed each[")
    assert cause(told, "run_completed") == "step_completed after"
    fork = (await shop.decide(Fork(organisation, run, "ann", step="after"))).run
    assert await shop.ended(fork) == "done"
    told = await chain(shop, fork)
    assert cause(told, "step_started", "after") == "run_submitted"
    assert cause(told, "run_completed") == "step_completed after"


async def test_a_run_inside_follows_from_the_step_that_starts_it(shop: Workshop) -> None:
    """And names the run that it is in, and the step."""
    inner = {"name": "inner", "budget": [{"usd": "0.10"}], "steps": [{"id": "x", **SLEEP}]}
    run = await shop.submit(
        {"id": "a", "foreach": [1], "workflow": "inner.yaml"},
        files={"inner.yaml": {"workflow": inner}},
    )
    await shop.until_rows(1, "select id from runs where parent = ? and status = 'waiting'", run)
    ((inside,),) = await shop.rows("select id from runs where parent = ?", run)
    await shop.execute("update tasks set wake_at_ms = 0 where run = ?", inside)
    await shop.execute("update runs set wake_at_ms = 0 where id = ?", inside)
    assert await shop.ended(run) == "done", await shop.error(run)
    told = await chain(shop, run)
    submitted = next(iter((await chain(shop, str(inside))).values()))[1]
    assert told[submitted["triggered_by"]][0] == "step_started"
    detail = json.loads(submitted["detail"])
    assert (detail["parent"], detail["parent_step"]) == (run, "a[0]")


@pytest.mark.parametrize("policy", ["halt", "ask"])
async def test_a_halt_follows_from_what_was_refused_or_from_who_gave_no_more(
    shop: Workshop, policy: str
) -> None:
    """The question, too, and what a person says to it."""
    run = await shop.submit(
        {"id": "a", "command": shop.program("forever.py", *FOR_EVER)},
        budget=[{"usd": dollars(QUOTE_NUSD * 2)}],
        on_exhausted=policy,
    )
    if policy == "halt":
        assert await shop.ended(run) == "halted"
        told = await chain(shop, run)
        assert cause(told, "workflow_halted") == cause(told, "run_completed") == "step_started a"
        return
    await shop.until(run, "asking")
    organisation = shop.stack.organisation
    more = parse_policy([{"usd": dollars(QUOTE_NUSD * 3)}]).limits
    await shop.decide(RaiseBudget(organisation, run, "ann", limits=more))
    await shop.until_rows(1, "select 1 from attempts where run = ? and attempt = 2", run)
    await shop.until(run, "asking")
    await shop.decide(RaiseBudget(organisation, run, "ann"))
    assert await shop.ended(run) == "halted"
    told = await chain(shop, run)
    assert cause(told, "approval_requested") == "step_started a"
    assert cause(told, "approval_resolved") == "approval_requested"
    assert cause(told, "workflow_halted") == cause(told, "run_completed") == "approval_resolved"


async def test_a_run_that_is_cancelled_follows_from_the_last_that_it_did(shop: Workshop) -> None:
    """Where nothing has begun, from its submission."""
    for steps, expected in (
        ({"approval": "Go on?"}, "approval_requested a"),
        ({"sleep": "1h"}, "step_started a"),
    ):
        run = await shop.submit({"id": "a", **steps})
        await shop.until(run, "waiting")
        await shop.decide(Cancel(shop.stack.organisation, run, "ann"))
        assert await shop.ended(run) == "cancelled"
        assert cause(await chain(shop, run), "run_completed") == expected
