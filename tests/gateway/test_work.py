"""Calls of a key that was minted for a run bear that run in their events, and what a budget that is
used up says no to reaches whoever runs it."""

import asyncio
import json
import time
from typing import Any

import pytest

from budgets.exhausted import Exhausted, told_after
from budgets.keys import Work
from budgets.ledger import LedgerOptions
from budgets.policy import parse_policy
from budgets.recording import Recording
from budgets.transport import LedgerTransport
from clickhouse.stream import read_entry
from gateway.hard_stops import AGAIN_MS
from gateway.options import GatewayOptions
from recorder.rows import rows_of
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.delegating import mint
from tests.gateway.stack import Stack

WORK = Work("report", 3, "r1", "search[2]", 4)
BORNE = {
    "workflow": "report",
    "workflow_version": 3,
    "run_id": "r1",
    "step_id": "search[2]",
    "attempt": 4,
}
RUN = "p/r1"
STEP = "p/r1/search"
HALF_A_MILLION_NUSD = [{"usd": "0.0005"}]


@pytest.fixture
async def soon(make_stack: MakeStack) -> Stack:
    """A gateway that records refusals almost at once."""
    return await make_stack(GatewayOptions(wait_ms=50), refusals_flush_ms=20)


async def working(stack: Stack, **more: Any) -> str:
    """The secret of a key that works for the run."""
    return await stack.key(STEP, work=WORK, **more)


async def budget(stack: Stack, scope: str, limits: object, kind: str) -> None:
    """Sets limits on a scope of a kind."""
    policy = parse_policy({"limits": limits, "kind": kind})
    await stack.administration.set_policy(stack.scope(scope), policy, b"{}")


async def events(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """What the workers wrote of a kind."""
    return [json.loads(each.event) for each in await stack.ledger.outbox() if each.kind == kind]


def borne(event: dict[str, Any]) -> dict[str, Any]:
    """What it says of a run."""
    return {name: event[name] for name in BORNE if name in event}


def transport_of(stack: Stack) -> LedgerTransport:
    """The worker's own."""
    return stack.parts.ledger._session.transport


async def told(stack: Stack, count: int) -> list[Exhausted]:
    """What was told of this test's organisation, once there is so much of it."""
    async with asyncio.timeout(20):
        while True:
            every = await told_after(transport_of(stack), "")
            found = [each for each in every if each.scope.split("/")[0] == stack.organisation]
            if len(found) >= count:
                assert len(found) == count, found
                return found
            await asyncio.sleep(0.01)  # whoever reads it has no event, either


async def all_told(stack: Stack) -> None:
    """Waits until the gateway tells nothing more: what was refused before is out, or lost."""
    async with asyncio.timeout(20):
        while stack.parts.hard_stops._telling is not None:  # noqa: ASYNC110  # beside requests
            await asyncio.sleep(0.005)


async def used_up(stack: Stack, secret: str) -> None:
    """The run has one request, and has made it."""
    await budget(stack, RUN, [{"requests": 1}], "run")
    assert (await stack.chat(secret)).status_code == 200


async def check_told_first(stack: Stack, secret: str) -> None:
    """Of all refusals until now the first that is told is one that follows: the run's last request
    is used up. What was told before it would stand before it."""
    await used_up(stack, secret)
    assert (await stack.chat(secret)).status_code == 402
    await all_told(stack)
    (only,) = await told(stack, 1)
    assert (only.scope, only.dimension, only.window) == (stack.scope(RUN), "requests", "total")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_bears_its_run(stack: Stack, stream: bool) -> None:
    """In its request and in its answer, and nothing else about them is another."""
    secret = await working(stack)
    assert (await stack.chat(secret, stream=stream)).status_code == 200
    await stack.ledger.endings(1)
    (request,) = await events(stack, "llm_request")
    (answer,) = await events(stack, "llm_response")
    assert borne(request) == borne(answer) == BORNE
    assert "correlation_id" not in request


async def test_a_call_of_any_other_key_bears_none(stack: Stack) -> None:
    """Not even empty."""
    assert (await stack.chat(await stack.key())).status_code == 200
    await stack.ledger.endings(1)
    (request,) = await events(stack, "llm_request")
    (answer,) = await events(stack, "llm_response")
    assert borne(request) == borne(answer) == {}


async def test_the_records_have_it_in_columns(soon: Stack) -> None:
    """Request, answer and refusal, as the recorder makes rows of them."""
    secret = await working(soon)
    assert (await soon.chat(secret)).status_code == 200
    await budget(soon, RUN, [{"requests": 0}], "run")
    assert (await soon.chat(secret)).status_code == 402
    await soon.ledger.refusals(1)
    kinds = ("llm_request", "llm_response", "budget_exceeded")
    rows = [row for row in await rows_in(soon) if row["event_type"] in kinds]
    assert [row["event_type"] for row in rows] == list(kinds)
    assert all(borne(row) == BORNE for row in rows)


async def rows_in(stack: Stack) -> list[dict[str, Any]]:
    """The columns of every event, as the recorder makes them."""
    recording = Recording(stack.administration._session, "test")
    entries = await recording.events(stack.organisation, "-", "+", 100)
    rows = [rows_of(stack.organisation, read_entry(*each)).event for each in entries]
    return [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]


async def test_an_expiry_bears_its_run(make_stack: MakeStack) -> None:
    """Nobody is left to say it but the request, which does."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=300))
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    call = asyncio.create_task(stack.chat(await working(stack)))
    await stack.provider.arrivals(1)
    stack.parts.keeper._open.clear()  # as if its worker had died
    (entry,) = await stack.ledger.endings(1)
    assert entry.kind == "reservation_expired"
    (row,) = (each for each in await rows_in(stack) if each["event_type"] == entry.kind)
    assert borne(row) == BORNE
    gate.set()
    assert (await call).status_code == 200


async def test_a_minted_key_inherits_it(stack: Stack) -> None:
    """Whoever an agent hands a part of its budget to works for the same attempt."""
    secret = await working(stack, delegates=True)
    made = await mint(stack, secret)
    assert (await stack.chat(made["key"])).status_code == 200
    await stack.ledger.endings(1)
    (request,) = await events(stack, "llm_request")
    assert borne(request) == BORNE
    assert request["key_id"] == made["id"]


@pytest.mark.parametrize(("scope", "kind"), [(RUN, "run"), (STEP, "step"), ("p", "project")])
async def test_a_budget_that_is_used_up_is_told(stack: Stack, scope: str, kind: str) -> None:
    """Of a run, a step or a project above them: which scope, and to whom it said no. At once: what
    is recorded of the refusal comes much later here."""
    secret = await working(stack)
    await budget(stack, scope, [{"requests": 1}], kind)
    assert (await stack.chat(secret)).status_code == 200
    assert (await stack.chat(secret)).status_code == 402
    (found,) = await told(stack, 1)
    assert found.scope == stack.scope(scope)
    assert (found.dimension, found.window, found.until_ms) == ("requests", "total", 0)
    assert (found.run_id, found.step_id, found.attempt) == ("r1", "search[2]", 4)


async def test_a_day_s_budget_says_when_it_begins_anew(stack: Stack) -> None:
    """Whoever runs it may wait for that."""
    secret = await working(stack)
    await budget(stack, RUN, [{"requests": 1, "window": "day"}], "run")
    assert (await stack.chat(secret)).status_code == 200
    assert (await stack.chat(secret)).status_code == 402
    (found,) = await told(stack, 1)
    assert found.until_ms > time.time() * 1000


@pytest.mark.parametrize(("scope", "kind"), [(RUN, "run"), ("p", "project")])
async def test_a_request_that_is_too_large_is_no_end_of_a_budget(
    stack: Stack, scope: str, kind: str
) -> None:
    """Another one may fit: it is that call's mistake, and not the end of its run."""
    secret = await working(stack)
    await budget(stack, scope, HALF_A_MILLION_NUSD, kind)
    assert (await stack.chat(secret, n=50)).status_code == 402
    await budget(stack, scope, [{"usd": "1"}], kind)
    await check_told_first(stack, secret)


async def test_what_may_go_on_is_not_told(soon: Stack) -> None:
    """A minute's budget, what others hold, a frozen scope, the budget of a key that the agent
    minted itself, and keys that work for no run."""
    secret = await working(soon, delegates=True)
    helper = await mint(soon, secret, budget=[{"requests": 1}])
    other = await soon.key("q", [{"requests": 1}])
    for used in (helper["key"], other):
        assert [(await soon.chat(used)).status_code for _ in range(2)] == [200, 402]
    await budget(soon, RUN, [{"requests": 1, "window": "minute"}], "run")
    statuses = [(await soon.chat(secret)).status_code for _ in range(3)]  # a minute may end there
    assert {402, 429} & {*statuses}
    await budget(soon, RUN, [{"concurrency": 1}], "run")
    gate = asyncio.Event()
    soon.provider.behaviour = held(gate, answers())
    arrived = len(soon.provider.received)
    first = asyncio.create_task(soon.chat(secret))
    await soon.provider.arrivals(arrived + 1)
    assert (await soon.chat(secret)).status_code == 429
    gate.set()
    assert (await first).status_code == 200
    await soon.set_state(RUN, "freeze")
    assert (await soon.chat(secret)).status_code == 402
    await soon.set_state(RUN, "thaw")
    await check_told_first(soon, secret)


async def test_a_storm_is_told_once_a_second(stack: Stack) -> None:
    """A hundred refusals are one or two, and the next second has one of its own."""
    secret = await working(stack)
    await used_up(stack, secret)
    began = time.monotonic()
    for _ in range(5):
        storm = await asyncio.gather(*(stack.chat(secret) for _ in range(20)))
        assert {each.status_code for each in storm} == {402}
    most = 1 + int((time.monotonic() - began) * 1000 / AGAIN_MS)
    await all_told(stack)
    every = await told_after(transport_of(stack), "")
    mine = [each for each in every if each.scope == stack.scope(RUN)]
    assert 1 <= len(mine) <= most
    await asyncio.sleep(AGAIN_MS / 1000)
    assert (await stack.chat(secret)).status_code == 402
    assert (await told(stack, len(mine) + 1))[-1].scope == stack.scope(RUN)


async def test_each_reader_reads_from_its_own_place(stack: Stack) -> None:
    """Nobody takes it away from others; what was read is not read again."""
    secret = await working(stack)
    await used_up(stack, secret)
    before = await told_after(transport_of(stack), "")
    start = before[-1].at if before else ""
    assert (await stack.chat(secret)).status_code == 402
    (found,) = await told(stack, 1)
    transport = transport_of(stack)
    assert found in await told_after(transport, start)
    assert found in await told_after(transport, "")
    assert found not in await told_after(transport, found.at)


async def test_a_write_that_is_lost_is_made_up_for(stack: Stack) -> None:
    """The caller is told whatever becomes of it, and the next refusal tells it."""
    secret = await working(stack)
    await used_up(stack, secret)
    transport = transport_of(stack)
    await transport.command("SET", "comptroller:exhausted", "no stream")
    try:
        assert (await stack.chat(secret)).status_code == 402
        await all_told(stack)
    finally:
        await transport.command("DEL", "comptroller:exhausted")
    await asyncio.sleep(AGAIN_MS / 1000)
    assert (await stack.chat(secret)).status_code == 402
    await told(stack, 1)
