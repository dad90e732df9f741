"""No step spends beyond its run, whatever its program does: a budget that is used up stops it."""

import asyncio
import json
import time
from typing import Any

import pytest

from budgets.exhausted import Exhausted, tell
from budgets.policy import parse_policy
from orchestrator.places import TaskId
from orchestrator.running import holding, purse
from orchestrator.running.deciding import Approve, Cancel, RaiseBudget
from orchestrator.running.executor import WATCH_MS
from orchestrator.running.processes import GRACE_S
from tests.gateway.behaviours import answers
from tests.gateway.processes import all_gone
from tests.gateway.stack import USAGE_NUSD
from tests.orchestrator.running.workshop import WAIT_S_MAX, Workshop, until, written

CAP = 50
QUOTE_NUSD = 200_000
"""A little more than what one of these calls reserves."""
HALTED_MS_MAX = 5_000
"""A second is what is promised, and a third of it what it takes when nothing else runs. A
machine that lets the test stand for a while is no broken promise: the rest is for that."""
ASKS = (
    "import json, os, sys, time, urllib.error, urllib.request",
    "def ask():",
    "    said = [{'role': 'user', 'content': 'x'}]",
    "    body = json.dumps({'model': 'plain', 'max_tokens': 50, 'messages': said}).encode()",
    "    headers = {'authorization': 'Bearer ' + os.environ['OPENAI_API_KEY'],",
    "               'content-type': 'application/json'}",
    "    url = os.environ['OPENAI_BASE_URL'] + '/chat/completions'",
    "    return urllib.request.urlopen(urllib.request.Request(url, body, headers))",
)
FOR_EVER = (
    *ASKS,
    "while True:",
    "    try: ask()",
    "    except Exception: time.sleep(0.02)",
)
ONCE = (*ASKS, "ask(); print('asked')")


def dollars(nusd: int) -> str:
    return f"0.{nusd:09d}"


async def spent_nusd(shop: Workshop, run: str) -> int:
    """What the log says that a run was charged."""
    return sum(int(event.get("charged_nusd", 0)) for _, event in await shop.told(run))


async def test_a_runaway_is_stopped_at_its_step_and_its_sibling_finishes(shop: Workshop) -> None:
    """Its program takes no notice of refusals, and is ended all the same."""
    budget = [{"usd": dollars(QUOTE_NUSD * 3)}]
    run = await shop.submit(
        {
            "id": "runaway",
            "command": shop.program("forever.py", *FOR_EVER),
            "budget": budget,
            "on_failure": "skip",
        },
        {"id": "sibling", "command": shop.program("once.py", *ONCE)},
        {"id": "after", "needs": ["sibling"], "command": shop.program("again.py", *ONCE)},
        output="{{ steps.after.output }}",
    )
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == "asked"
    runaway = await shop.task(run, "runaway")
    assert (runaway["status"], runaway["attempt"]) == ("skipped", 1), "no more attempts: no money"
    assert "budget" in runaway["error"]
    assert await spent_nusd(shop, run) <= QUOTE_NUSD * 3 + 2 * USAGE_NUSD


EXITS = (*ASKS, "while True: ask()")


async def test_a_program_that_ends_at_a_refusal_is_not_begun_again(shop: Workshop) -> None:
    """Another attempt has the same budget, and would only hear the same."""
    run = await shop.submit(
        {
            "id": "a",
            "command": shop.program("exits.py", *EXITS),
            "budget": [{"usd": dollars(QUOTE_NUSD * 2)}],
            "retries": {"most": 5, "backoff": "1s"},
            "on_failure": "skip",
        },
    )
    assert await shop.ended(run) == "done", await shop.error(run)
    task = await shop.task(run, "a")
    assert (task["status"], task["attempt"]) == ("skipped", 1)
    assert "comptroller budget show" in task["error"]


@pytest.mark.parametrize("policy", ["halt", "ask"])
async def test_a_program_that_ends_at_its_run_s_refusal_ends_the_run_as_that(
    shop: Workshop, policy: str
) -> None:
    """Also where it has no attempts left: the run has not failed, it has no money."""
    run = await shop.submit(
        {"id": "a", "command": shop.program("exits.py", *EXITS), "retries": 0},
        budget=[{"usd": dollars(QUOTE_NUSD * 2)}],
        on_exhausted=policy,
    )
    assert (
        await shop.until(run, "halted", "asking", "failed", "done")
        == {
            "halt": "halted",
            "ask": "asking",
        }[policy]
    )


async def test_a_run_that_is_used_up_halts_within_a_second_and_says_who_spent_what(
    shop: Workshop,
) -> None:
    """All of it: programs are gone, and what had not begun never does. What is used up is looked
    for often enough for the second that is promised."""
    assert WATCH_MS * 2 <= 1_000
    where = shop.folder / "pid"
    notes = f"import os, pathlib; pathlib.Path({str(where)!r}).write_text(str(os.getpid()))"
    forever = shop.program("forever.py", notes, *FOR_EVER)
    run = await shop.submit(
        {
            "id": "a",
            "command": shop.program("once.py", *ONCE),
            "budget": [{"usd": dollars(QUOTE_NUSD)}],
        },
        {"id": "b", "needs": ["a"], "command": forever},
        {"id": "c", "needs": ["b"], "sleep": "1s"},
        budget=[{"usd": dollars(QUOTE_NUSD * 4)}],
    )
    assert await shop.ended(run) == "halted"
    refused_ms = await first_refusal_ms(shop, run)
    ((ended_ms,),) = await shop.rows("select ended_ms from runs where id = ?", run)
    assert int(str(ended_ms)) - refused_ms < HALTED_MS_MAX
    await all_gone([int(where.read_text())])
    assert await shop.rows("select step from tasks where run = ? and step = 'c'", run) == []
    halted = [event for kind, event in await shop.told(run) if kind == "workflow_halted"]
    assert len(halted) == 1
    detail = json.loads(halted[0]["detail"])
    (limit,) = detail["spent"]
    (of_a,) = detail["steps"]["a"]
    assert QUOTE_NUSD * 3 <= limit["spent"] <= limit["limit"] == QUOTE_NUSD * 4
    assert 0 < of_a["spent"] < limit["spent"]
    assert detail["not_counted"] == ["b"], "it has spent too, and c has not begun"


async def first_refusal_ms(shop: Workshop, run: str) -> int:
    """When the gateway first said no, as its event tells it."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            refusals = [event for kind, event in await shop.told(run) if kind == "budget_exceeded"]
            if refusals:
                return int(json.loads(refusals[0]["detail"])["first_ms"])
            await asyncio.sleep(0.02)


async def all_heard(shop: Workshop) -> None:
    """What the gateway has to say of budgets that are used up has come."""
    await until(lambda: shop.stack.parts.hard_stops._telling is None)
    await shop.executors[0]._kit.watch.round()


async def test_a_run_that_asks_goes_on_with_more(shop: Workshop) -> None:
    """What was paid for before is not paid again."""
    shop.stack.provider.behaviour = answers()
    prompt = {"text": "x", "model": "plain", "max_tokens": CAP}
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "prompt": prompt, "needs": [f"s{n - 1}"] if n else []} for n in range(6)
    ]
    run = await shop.submit(
        *steps, budget=[{"usd": dollars(QUOTE_NUSD + USAGE_NUSD * 2)}], on_exhausted="ask"
    )
    assert await shop.until(run, "asking", "done", "failed", "halted") == "asking"
    done = await shop.rows("select step from tasks where run = ? and status = 'done'", run)
    assert 0 < len(done) < 6
    limits = parse_policy([{"usd": dollars(QUOTE_NUSD * 100)}]).limits
    await all_heard(shop)  # a person takes longer
    organisation = shop.stack.organisation
    await shop.decide(RaiseBudget(organisation, run, "ann", limits=limits))
    assert await shop.ended(run) == "done", await shop.error(run)
    assert len(shop.stack.provider.received) == 6
    kinds = [kind for kind, _ in await shop.told(run)]
    assert kinds.count("approval_requested") == kinds.count("approval_resolved") == 1


async def test_a_program_inside_a_run_that_asks_goes_on_with_more(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at the refusal, and neither fails nor is kept from what was given."""
    monkeypatch.setattr(holding, "ASKING_MS", 200)
    often = (*ASKS, "for _ in range(6): ask()", "print('asked')")
    inner = {
        "name": "inner",
        "budget": [{"usd": dollars(QUOTE_NUSD * 9)}],
        "steps": [{"id": "x", "command": shop.program("often.py", *often), "retries": 0}],
        "output": "{{ steps.x.output }}",
    }
    run = await shop.submit(
        {"id": "a", "workflow": "inner.yaml"},
        budget=[{"usd": dollars(QUOTE_NUSD + USAGE_NUSD)}],
        on_exhausted="ask",
        files={"inner.yaml": {"workflow": inner}},
        output="{{ steps.a.output }}",
    )
    assert await shop.until(run, "asking", "done", "failed", "halted") == "asking"
    ((inside,),) = await shop.rows("select id from runs where parent = ?", run)
    held = await shop.until_task(str(inside), "x", "again", "failed")
    assert (held["status"], held["failures"]) == ("again", 0)
    limits = parse_policy([{"usd": dollars(QUOTE_NUSD * 9)}]).limits
    await shop.decide(RaiseBudget(shop.stack.organisation, run, "ann", limits=limits))
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == "asked"


async def test_an_attempt_s_key_is_dead_when_it_has_ended(shop: Workshop) -> None:
    tells = shop.program(
        "tells.py",
        "import os; print(os.environ['OPENAI_API_KEY'])",
        "open('told', 'w').write(os.environ['OPENAI_API_KEY'])",
    )
    run = await shop.submit(
        {"id": "a", "command": tells}, {"id": "b", "needs": ["a"], "sleep": "1h"}
    )
    await shop.until_task(run, "b", "waiting")
    secret = (shop.folder / "told").read_text()
    assert secret.startswith("ck-")
    assert (await shop.task(run, "a"))["output"] == "***"
    assert (await shop.stack.chat(secret, max_tokens=CAP)).status_code == 401


async def test_cancel_ends_keys_and_programs_at_once(shop: Workshop) -> None:
    """A program that hears SIGTERM is gone before its grace is over, and its key is refused."""
    where = shop.folder / "secret"
    holds = shop.program(
        "holds.py",
        "import os, time, pathlib",
        f"pathlib.Path({str(where)!r}).write_text(os.environ['OPENAI_API_KEY'])",
        "time.sleep(600)",
    )
    run = await shop.submit({"id": "a", "command": holds})
    secret = await written(where)
    assert (await shop.stack.chat(secret, max_tokens=CAP)).status_code == 200
    began_s = time.monotonic()
    await shop.decide(Cancel(shop.stack.organisation, run, "ann"))
    assert await shop.ended(run) == "cancelled"
    assert (await shop.stack.chat(secret, max_tokens=CAP)).status_code in (401, 402)
    assert time.monotonic() - began_s < GRACE_S
    assert await shop.error(run) == "cancelled by ann"
    await until(lambda: not shop.executors[0].at_work)


UNTIL_REFUSED = (
    *ASKS,
    "while True:",
    "    try: ask()",
    "    except urllib.error.HTTPError as error:",
    "        assert error.code == 429, error.code",
    "        break",
)


def touches(name: str) -> tuple[str, ...]:
    """A program's lines: it tells others that it is so far."""
    return (f"import pathlib; pathlib.Path({name!r}).touch()",)


def waits_for(name: str) -> tuple[str, ...]:
    """A program's lines: it waits until another one is so far."""
    here = f"pathlib.Path({name!r})"
    return ("import pathlib, time", f"while not {here}.exists(): time.sleep(0.01)")


async def test_a_guaranteed_step_has_its_money_when_siblings_have_spent_the_rest(
    shop: Workshop,
) -> None:
    """The sibling has no limit of its own: it spends until the run has nothing for it, and what is
    left then is the step's."""
    shop.stack.provider.behaviour = answers()
    late = shop.program("late.py", *touches("moved"), *waits_for("spent"), *ONCE)
    spends = shop.program("spends.py", *waits_for("moved"), *UNTIL_REFUSED, *touches("spent"))
    run = await shop.submit(
        {
            "id": "safe",
            "command": late,
            "budget": [{"usd": dollars(QUOTE_NUSD)}],
            "guaranteed": True,
            "retries": 0,
        },
        {"id": "greedy", "command": spends, "retries": 0},
        budget=[{"usd": dollars(QUOTE_NUSD * 3)}],
        output="{{ steps.safe.output }}",
    )
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == "asked"
    assert len(shop.stack.provider.received) > 2


async def test_a_run_that_fails_leaves_no_key_and_no_money_set_aside(shop: Workshop) -> None:
    """It may be tried again; until then its project has what it was guaranteed, and a server that
    a step waits for can spend nothing."""
    keys: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        keys.extend(each.split()[-1] for each in head.splitlines() if each.startswith("auth"))
        writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    await shop.stack.set_budget("p", [{"usd": dollars(QUOTE_NUSD * 4)}])
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        asks = {"url": f"http://{host}:{port}/", "callback": True, "key": True}
        budget = [{"usd": dollars(QUOTE_NUSD * 3)}]
        run = await shop.submit(
            {"id": "waits", "http": asks, "budget": budget, "guaranteed": True},
            {"id": "nap", "sleep": "1s"},
            {"id": "fails", "needs": ["nap"], "command": ["false"], "retries": 0},
            budget=budget,
        )
        await shop.until_task(run, "waits", "waiting")
        (key,) = keys
        assert (await shop.stack.chat(key, max_tokens=CAP)).status_code == 200
        assert await shop.ended(run) == "failed"
    assert (await shop.stack.chat(key, max_tokens=CAP)).status_code == 401
    other = await shop.stack.key("p")
    for _ in range(2):
        assert (await shop.stack.chat(other, max_tokens=CAP)).status_code == 200


async def test_a_frozen_step_waits_and_begins_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One attempt finds it frozen; until somebody thaws it, no other is begun, told or counted."""
    monkeypatch.setattr(purse, "AGAIN_MS", 20)
    looked = asyncio.Queue[None]()
    load = purse.Purse.check_thawed

    async def counted(self: purse.Purse, scope: str) -> None:
        looked.put_nowait(None)
        await load(self, scope)

    monkeypatch.setattr(purse.Purse, "check_thawed", counted)
    run = await shop.submit(
        {"id": "ask", "approval": {"message": "go on?"}},
        {"id": "a", "needs": ["ask"], "command": shop.program("once.py", *ONCE)},
    )
    await shop.until_task(run, "ask", "waiting")
    ((scope,),) = await shop.rows("select scope from runs where id = ?", run)
    frozen = f"{scope}/a".partition("/")[2]
    await shop.stack.set_state(frozen, "freeze")
    organisation, task = shop.stack.organisation, TaskId("ask")
    await shop.decide(Approve(organisation, run, "ann", task=task, approved=True))
    for _ in range(5):
        await asyncio.wait_for(looked.get(), 20)
    held = await shop.task(run, "a")
    assert (held["status"], held["attempt"], held["failures"]) == ("again", 1, 0)
    assert "comptroller budget thaw" in held["error"]
    await shop.stack.set_state(frozen, "thaw")
    assert await shop.ended(run) == "done", await shop.error(run)
    begun = [event for kind, event in await shop.told(run) if kind == "step_started"]
    assert [event["step_id"] for event in begun] == ["ask", "a", "a"]


async def test_a_refusal_that_is_heard_after_somebody_has_raised_the_budget(shop: Workshop) -> None:
    """It is not true any more, and ends nothing; one by the limit as it is now does."""
    run = await shop.submit({"id": "nap", "sleep": "1h"})
    await shop.until(run, "waiting")
    ((scope,),) = await shop.rows("select scope from runs")
    executor = shop.executors[0]
    transport = shop.stack.parts.ledger._session.transport
    for amount, status in ((10**9 - 1, "waiting"), (10**9, "halted")):
        told = Exhausted(str(scope), "usd", "total", amount, 0, run, "nap", 1)
        await tell(transport, told)
        await executor._kit.watch.round()
        assert await shop.status(run) == status
    assert await shop.ended(run) == "halted"
