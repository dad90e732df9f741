"""However an executor dies, every step of its runs is done once, and the books agree with what the
provider was asked."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from budgets.embedded import EmbeddedServer
from orchestrator.progress import ENDED
from orchestrator.running.journal import Journal
from tests.gateway.behaviours import answers
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect, fresh_database, postgres_at, sqlite_at
from tests.orchestrator.running.executors import Executors, executors
from tests.orchestrator.running.workshop import Workshop, written

PROMPT = {"text": "x", "model": "plain", "max_tokens": 50}
LAYERS, WIDTH = 6, 4


def layered() -> list[dict[str, Any]]:
    """Thirty tasks: layers that need all of the layer above, each with a fan of its own."""
    steps: list[dict[str, Any]] = []
    for layer in range(LAYERS):
        above = [each["id"] for each in steps[-2:]]
        steps.append({"id": f"prompt{layer}", "needs": above, "prompt": PROMPT})
        fan = {"items": [*range(WIDTH)], "concurrency": 3}
        steps.append({"id": f"fan{layer}", "needs": above, "foreach": fan, "prompt": PROMPT})
    return steps


@contextlib.asynccontextmanager
async def desk(stack: Stack, connect: Connect, folder: Path) -> AsyncIterator[Workshop]:
    """Where runs are submitted and looked at: no executor is in this process."""
    journal = Journal(connect)
    await journal.opened()
    try:
        yield Workshop(stack, connect, folder, journal)
    finally:
        await journal.close()


async def check_done_once(shop: Workshop, run: str) -> None:
    """Every task has one attempt that was done, and none begins after that; each call of the
    provider's is one request of the log, and all of them are booked. One that was cut with its
    executor may have left without the provider's reading it."""
    assert await shop.ended(run) == "done", await shop.error(run)
    tasks = await shop.rows("select step, entry, status, attempt from tasks where run = ?", run)
    works = [row for row in tasks if row[2] != "fanned"]
    assert len(works) == LAYERS * (WIDTH + 1)
    assert {row[2] for row in works} == {"done"}
    done = await shop.rows(
        "select step, entry, max(attempt) from attempts where run = ? and status = 'done' "
        "group by step, entry having count(*) = 1",
        run,
    )
    assert {tuple(row) for row in done} == {(step, entry, last) for step, entry, _, last in works}
    told = await shop.told(run)
    completed = [event["step_id"] for kind, event in told if kind == "step_completed"]
    assert len(completed) == len(set(completed)) == len(works)
    await shop.stack.ledger.at_rest()
    requests = [event["request_id"] for kind, event in told if kind == "llm_request"]
    endings = {e["request_id"]: e["status"] for kind, e in told if kind == "llm_response"}
    answered = [each for each in endings.values() if each == 200]
    assert sorted(endings) == sorted(requests)
    assert len(works) <= len(answered) <= len(shop.stack.provider.received) <= len(requests)


async def _kill_at_random(shop: Workshop, made: Executors, run: str, times: int, seed: int) -> int:
    """How often it was killed before the run ended."""
    chance = random.Random(seed)
    for killed in range(times):
        process = await made.start()
        await asyncio.sleep(chance.uniform(0.0, 0.25))  # at no event: at random
        if await shop.status(run) in ENDED:
            return killed
        await made.end(process)
    await made.start()
    return times


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("sqlite", 3),
        pytest.param("sqlite", 20, marks=pytest.mark.kills),
        pytest.param("postgres", 20, marks=pytest.mark.kills),
    ],
)
async def test_an_executor_that_is_killed_at_random_does_every_step_once(
    stack: Stack,
    valkey: EmbeddedServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
    times: int,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    url = "" if kind == "sqlite" else fresh_database(request.getfixturevalue("postgres"))
    connect = postgres_at(url) if url else sqlite_at(data)
    stack.provider.behaviour = slow_answers()
    async with (
        desk(stack, connect, tmp_path) as shop,
        executors(data, valkey.socket_path, stack.base_url, url) as made,
    ):
        run = await shop.submit(*layered())
        killed = await _kill_at_random(shop, made, run, times, seed=times)
        await check_done_once(shop, run)
        assert killed >= min(times, 3)


def slow_answers(seconds: float = 0.05) -> Behaviour:
    """A provider that takes a moment, so that a kill meets calls in flight."""
    answer = answers()

    async def behave(received: Received, reply: Reply) -> None:
        await asyncio.sleep(seconds)
        await answer(received, reply)

    return behave


async def test_another_executor_takes_over_in_seconds(
    stack: Stack, valkey: EmbeddedServer, tmp_path: Path, postgres: str
) -> None:
    """It goes on with what the dead one has left, and is through with it before a wait is given
    up."""
    url = fresh_database(postgres)
    stack.provider.behaviour = slow_answers(0.3)
    async with (
        desk(stack, postgres_at(url), tmp_path) as shop,
        executors(tmp_path / "data", valkey.socket_path, stack.base_url, url) as made,
    ):
        run = await shop.submit(*layered())
        first = await made.start()
        await shop.until_task(run, "prompt1", "running", "done")
        await made.start()
        await made.end(first)
        await check_done_once(shop, run)
        executed = await shop.rows("select distinct executor from attempts where run = ?", run)
        assert len(executed) == 2


async def test_an_executor_that_slept_spends_nothing_when_it_wakes(
    stack: Stack, valkey: EmbeddedServer, tmp_path: Path, postgres: str
) -> None:
    """Its keys are dead, and what it writes does not count."""
    url = fresh_database(postgres)
    lines = (
        "import os, pathlib, time, urllib.request",
        "here = pathlib.Path(os.environ['COMPTROLLER_STEP'] + os.environ['COMPTROLLER_ATTEMPT'])",
        "here.write_text(os.environ['OPENAI_API_KEY'])",
        "deadline = time.time() + 20",
        "while not pathlib.Path('go').exists() and time.time() < deadline: time.sleep(0.01)",
        "print(here)",
    )
    async with (
        desk(stack, postgres_at(url), tmp_path) as shop,
        executors(tmp_path / "data", valkey.socket_path, stack.base_url, url) as made,
    ):
        run = await shop.submit({"id": "a", "command": shop.program("wait.py", *lines)})
        first = await made.start()
        secret = await written(tmp_path / "a1")
        assert (await stack.chat(secret, max_tokens=50)).status_code == 200
        first.send_signal(signal.SIGSTOP)
        await made.start()
        await written(tmp_path / "a2")
        assert (await stack.chat(secret, max_tokens=50)).status_code in (401, 402)
        first.send_signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        assert await shop.ended(run) == "done"
        assert (await shop.task(run, "a"))["output"] == "a2"
        attempts = await shop.rows(
            "select attempt, status from attempts where run = ? order by attempt", run
        )
        assert attempts[-1] == (2, "done")
        assert len(attempts) == 2
        assert first.returncode is None
        assert len(stack.provider.received) == 1
        await stack.ledger.at_rest()
