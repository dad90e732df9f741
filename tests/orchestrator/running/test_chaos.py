"""Three executors on one PostgreSQL are killed, stopped and woken at random, and their connections
cut: every run ends, and each of its steps is done once."""

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from budgets.embedded import EmbeddedServer
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import fresh_database, postgres_at
from tests.orchestrator.running.executors import Executors, executors
from tests.orchestrator.running.test_kills import PROMPT, desk, slow_answers
from tests.orchestrator.running.workshop import Workshop

COUNT = 3
CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where pid not in (pg_backend_pid(), %s) and datname = current_database() and random() < 0.5"
)
STEPS: list[dict[str, Any]] = [
    {"id": "a", "prompt": PROMPT},
    {"id": "fan", "needs": ["a"], "foreach": [1, 2, 3], "prompt": PROMPT},
    {"id": "nap", "needs": ["a"], "sleep": "1s"},
    {"id": "inside", "needs": ["nap"], "workflow": "inner.yaml"},
    {"id": "last", "needs": ["fan", "inside"], "prompt": PROMPT},
]
INNER = {"name": "inner", "budget": [{"usd": "0.10"}], "steps": [{"id": "x", "prompt": PROMPT}]}
TASKS = 7


async def _harm(made: Executors, url: str, spared: int, chance: random.Random) -> None:
    """One of the things that happen."""
    victim = chance.choice(made.started)
    match chance.choice(("kill", "sleep", "sleep", "nap", "cut")):
        case "kill":
            await made.end(victim)
            await made.start()
        case "sleep":  # longer than its lease
            victim.send_signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(1.2, 2))
            victim.send_signal(signal.SIGCONT)
        case "nap":
            victim.send_signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0, 0.5))
            victim.send_signal(signal.SIGCONT)
        case "cut":
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(CUT, (spared,))


async def _check(shop: Workshop, run: str) -> None:
    assert await shop.ended(run) == "done", await shop.error(run)
    tasks = await shop.rows("select step, entry, status, attempt from tasks where run = ?", run)
    works = [row for row in tasks if row[2] != "fanned"]
    assert {row[2] for row in works} == {"done"}
    done = await shop.rows(
        "select step, entry, attempt from attempts where run = ? and status = 'done'", run
    )
    assert sorted(done) == sorted((step, entry, last) for step, entry, _, last in works)
    late = "select * from attempts a join tasks t on t.run = a.run and t.step = a.step "
    late += "and t.entry = a.entry where a.run = ? and a.attempt > t.attempt"
    assert await shop.rows(late, run) == []


@pytest.mark.parametrize(
    ("runs", "times", "seed"),
    [
        (4, 2, 5),
        *(pytest.param(24, 25, seed, marks=pytest.mark.kills) for seed in (1, 2, 3)),
    ],
)
async def test_whatever_happens_to_executors_each_step_is_done_once(
    stack: Stack,
    valkey: EmbeddedServer,
    tmp_path: Path,
    postgres: str,
    runs: int,
    times: int,
    seed: int,
) -> None:
    url, chance = fresh_database(postgres), random.Random(seed)
    stack.provider.behaviour = slow_answers()
    async with (
        desk(stack, postgres_at(url), tmp_path) as shop,
        executors(tmp_path / "data", valkey.socket_path, stack.base_url, url) as made,
    ):
        files = {"inner.yaml": {"workflow": INNER}}
        submitted = [await shop.submit(*STEPS, files=files) for _ in range(runs)]
        ((spared,),) = await shop.rows("select pg_backend_pid()")
        await asyncio.gather(*(made.start() for _ in range(COUNT)))
        for _ in range(times):
            await asyncio.sleep(chance.uniform(0, 0.4))  # at no event: at random
            await _harm(made, url, int(str(spared)), chance)
        for run in submitted:
            await _check(shop, run)
        inside = await shop.rows("select id from runs where parent is not null")
        assert len(inside) == runs
        for (each,) in inside:
            await _check(shop, str(each))
        told = [(run, kind, event) for run in submitted for kind, event in await shop.told(run)]
        steps = [(run, each["step_id"]) for run, kind, each in told if kind == "step_completed"]
        assert len(steps) == len(set(steps)) == runs * TASKS
        await stack.ledger.at_rest()
