"""A run does each of its steps once, in the order of its needs, and hands what they answer on."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from orchestrator.definition import Step
from orchestrator.places import TaskId
from orchestrator.problems import Place
from orchestrator.running.deciding import Approve
from tests.gateway.behaviours import speaks
from tests.orchestrator.running.workshop import Workshop, until
from tests.orchestrator.running.written_runs import submission

PRINTS = "import sys; print(sys.argv[1])"
TWICE = "import sys; print(int(sys.argv[1]) * 2)"


async def test_outputs_go_from_step_to_step(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "one", "command": shop.program("one.py", "print('[1, 2, 3]')")},
        {
            "id": "each",
            "needs": ["one"],
            "foreach": "{{ steps.one.output }}",
            "command": [*shop.program("each.py", TWICE), "{{ item }}"],
        },
        {
            "id": "sum",
            "needs": ["each"],
            "python": {
                "function": "functions:total",
                "arguments": {"numbers": "{{ steps.each.output }}"},
            },
        },
        output="{{ steps.sum.output }}",
    )
    (shop.folder / "functions.py").write_text("def total(numbers): return sum(numbers)\n")
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == 12


async def test_a_prompt_is_one_call_with_the_key_of_its_attempt(shop: Workshop) -> None:
    shop.stack.provider.behaviour = speaks('{"sections": ', '["a", "b"]}')
    prompt = {
        "text": "Outline {{ input.topic }}",
        "model": "plain",
        "output": "json",
        "max_tokens": 50,
    }
    run = await shop.submit(
        {"id": "plan", "prompt": prompt, "agent": "planner"},
        input={"topic": {"type": "string"}},
        given={"topic": "reefs"},
        output="{{ steps.plan.output.sections }}",
    )
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == ["a", "b"]
    (received,) = shop.stack.provider.received
    assert json.loads(received.body)["messages"][-1] == {"role": "user", "content": "Outline reefs"}
    (request,) = [event for kind, event in await shop.told(run) if kind == "llm_request"]
    assert (request["step_id"], request["attempt"], request["agent"]) == ("plan", 1, "planner")


@pytest.mark.parametrize(("said", "expected"), [("false", "skipped"), ("true", "done")])
async def test_when_decides_whether_a_step_runs_and_what_needs_it(
    shop: Workshop, said: str, expected: str
) -> None:
    run = await shop.submit(
        {"id": "ask", "command": shop.program("ask.py", f"print('{said}')")},
        {"id": "maybe", "needs": ["ask"], "when": "{{ steps.ask.output }}", "sleep": "1s"},
        {"id": "after", "needs": ["maybe"], "sleep": "1s"},
        {
            "id": "always",
            "needs": ["maybe"],
            "when": "{{ steps.maybe.status == 'skipped' }}",
            "sleep": "1s",
        },
    )
    await shop.execute("update tasks set wake_at_ms = 0 where status = 'waiting'")
    assert await shop.ended(run) == "done"
    for step in ("maybe", "after"):
        assert (await shop.task(run, step))["status"] == expected
    other = {"done": "skipped", "skipped": "done"}[expected]
    assert (await shop.task(run, "always"))["status"] == other


async def test_until_does_a_step_again_with_its_last_output(shop: Workshop) -> None:
    counts = shop.program("count.py", "import sys; print(int(sys.argv[1] or 0) + 1)")
    run = await shop.submit(
        {
            "id": "count",
            "command": [*counts, "{{ last }}"],
            "until": {"condition": "{{ last >= 3 }}", "most": 5},
        },
        output="{{ steps.count.output }}",
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == 3
    task = await shop.task(run, "count")
    assert (task["attempt"], task["round"]) == (3, 2)


async def test_a_condition_that_never_holds_fails_its_step(shop: Workshop) -> None:
    run = await shop.submit(
        {
            "id": "count",
            "command": shop.program("no.py", "print('no')"),
            "until": {"condition": "{{ last == 'yes' }}", "most": 2},
        },
    )
    assert await shop.ended(run) == "failed"
    assert await shop.error(run) == (
        "count: its condition did not hold after 2 rounds: raise until.most"
    )


async def test_what_fails_is_tried_again_and_then_fails_the_run(shop: Workshop) -> None:
    fails = shop.program("fails.py", "import sys; sys.exit('no luck')")
    run = await shop.submit(
        {"id": "a", "command": fails, "retries": {"most": 1, "backoff": "1s"}},
        {"id": "b", "needs": ["a"], "command": fails},
    )
    assert await shop.ended(run) == "failed"
    assert "no luck" in await shop.error(run)
    task = await shop.task(run, "a")
    assert (task["attempt"], task["failures"], task["status"]) == (2, 2, "failed")
    assert await shop.rows("select * from tasks where run = ? and step = 'b'", run) == []


async def test_a_step_that_may_fail_is_skipped_and_its_sibling_goes_on(shop: Workshop) -> None:
    fails = shop.program("fails.py", "import sys; sys.exit('no luck')")
    run = await shop.submit(
        {"id": "a", "command": fails, "retries": 0, "on_failure": "skip"},
        {"id": "b", "command": shop.program("b.py", "print(1)")},
        {
            "id": "c",
            "needs": ["a", "b"],
            "when": "{{ steps.a.status == 'skipped' }}",
            "sleep": "1s",
        },
        output="{{ steps.b.output }}",
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == 1


async def test_a_step_that_takes_too_long_is_ended(shop: Workshop) -> None:
    slow = shop.program("slow.py", "import time; time.sleep(60)")
    run = await shop.submit({"id": "a", "command": slow, "timeout": "1s", "retries": 0})
    assert await shop.ended(run) == "failed"
    assert await shop.error(run) == "a: it took longer than its timeout of 1 s"


async def test_a_template_that_names_what_is_not_there_fails_its_step(shop: Workshop) -> None:
    run = await shop.submit(
        {"id": "a", "command": shop.program("a.py", "print('{}')")},
        {"id": "b", "needs": ["a"], "command": ["true", "{{ steps.a.output.nothing }}"]},
    )
    assert await shop.ended(run) == "failed"
    assert "nothing" in await shop.error(run)


async def test_a_fan_is_as_wide_as_its_limit(shop: Workshop) -> None:
    """As many as may be at work are, no more than these have begun, and each has its output."""
    working, go = shop.folder / "working", shop.folder / "go"
    working.mkdir()
    lines = (
        "import os, sys, time, pathlib",
        "mine = pathlib.Path('working') / sys.argv[1]; mine.touch()",
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
        "n = len(os.listdir('working')); mine.unlink(); print(n)",
    )
    run = await shop.submit(
        {
            "id": "a",
            "foreach": {"items": [*range(8)], "concurrency": 3},
            "command": [*shop.program("wide.py", *lines), "{{ index }}"],
        },
        output="{{ steps.a.output }}",
    )
    await until(lambda: len([*working.iterdir()]) >= 3)
    await shop.until_rows(3, "select entry from tasks where run = ? and status = 'running'", run)
    begun = await shop.rows("select entry from attempts where run = ?", run)
    assert {*begun} == {(0,), (1,), (2,)}
    go.touch()
    assert await shop.ended(run) == "done"
    widths = await shop.output(run)
    assert len(widths) == 8
    assert max(widths) <= 3


async def test_a_run_inside_a_run_hands_its_output_up(shop: Workshop) -> None:
    inner = {
        "name": "inner",
        "budget": [{"usd": "0.10"}],
        "input": {"n": {"type": "integer"}},
        "steps": [{"id": "x", "command": [*shop.program("p.py", PRINTS), "{{ input.n }}"]}],
        "output": "{{ steps.x.output + 1 }}",
    }
    run = await shop.submit(
        {
            "id": "a",
            "foreach": [1, 2],
            "workflow": {"name": "inner.yaml", "input": {"n": "{{ item }}"}},
        },
        output="{{ steps.a.output }}",
        files={"inner.yaml": {"workflow": inner}},
    )
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == [2, 3]
    rows = await shop.rows("select scope, depth from runs where parent = ? order by scope", run)
    assert [row[1] for row in rows] == [1, 1]
    parent = f"{shop.stack.scope('p')}/w/{run}/a"
    assert [str(row[0]).rsplit("/", 1)[0] for row in rows] == [f"{parent}/0", f"{parent}/1"]


async def test_the_log_tells_a_run_as_one_chain(shop: Workshop) -> None:
    """Every event names its run; what each follows from: see test_chain.py."""
    run = await shop.submit(
        {"id": "a", "command": shop.program("a.py", "print(1)")},
        {"id": "b", "needs": ["a"], "command": shop.program("b.py", "print(2)")},
    )
    assert await shop.ended(run) == "done"
    told = [(kind, event) for kind, event in await shop.told(run) if "key" not in kind]
    story = [(kind, event.get("step_id", "")) for kind, event in told if kind != "budget_changed"]
    assert story == [
        ("run_submitted", ""),
        ("step_started", "a"),
        ("step_completed", "a"),
        ("step_started", "b"),
        ("step_completed", "b"),
        ("run_completed", ""),
    ]
    assert {event["correlation_id"] for _, event in told} == {run}


@pytest.mark.parametrize("more", [{}, {"callback": True}, {"key": True}], ids=str)
async def test_a_request_carries_what_its_step_asks_for_and_no_more(
    shop: Workshop, more: dict[str, bool]
) -> None:
    """A server that is not to end the step has no address to end it by."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        run = await shop.submit({"id": "a", "http": {"url": f"http://{host}:{port}/", **more}})
        await shop.until_task(run, "a", "waiting", "done")
    (head,) = heads
    assert ("x-comptroller-callback" in head) is ("callback" in more)
    assert ("x-comptroller-base-url" in head) is ("authorization" in head) is ("key" in more)


async def test_a_workflow_that_is_known_by_name_works_in_its_own_folder(shop: Workshop) -> None:
    other = shop.folder / "other"
    other.mkdir()
    (other / "here.py").write_text("print('here')")
    scope = shop.stack.scope("p")
    step = {"id": "x", "command": ["python", "here.py"]}
    known = submission(
        step, scope=scope, name="known", folder=str(other), output="{{ steps.x.output }}"
    )
    assert await shop.ended(await shop.submitted(known)) == "done"
    run = await shop.submit({"id": "a", "workflow": "known"}, output="{{ steps.a.output }}")
    assert await shop.ended(run) == "done", await shop.error(run)
    assert await shop.output(run) == "here"


async def test_templates_of_a_step_are_looked_through_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for each entry of a list, all of which may be templates: ten thousand times ten
    thousand."""
    run = await shop.submit(
        {"id": "ask", "approval": {"message": "go on?"}},
        {"id": "each", "needs": ["ask"], "foreach": [*range(20)], "sleep": "1s"},
    )
    await shop.until_task(run, "ask", "waiting")
    looked, templates = list[str](), Step.templates

    def counted(self: Step) -> Iterator[tuple[Place, str]]:
        looked.append(self.id)
        return templates(self)

    monkeypatch.setattr(Step, "templates", counted)
    task = TaskId("ask")
    await shop.decide(Approve(shop.stack.organisation, run, "ann", task=task, approved=True))
    assert await shop.ended(run) == "done"
    assert looked.count("each") <= 4, "once each time that an executor has taken the run"
