"""`Idempotency-Key` after all that can become of a request: what is answered is replayed, what used
nothing may be tried again, and all else is told and not paid twice."""

import asyncio
import json

import pytest

from budgets import transport
from budgets.scripts import Script
from gateway.options import GatewayOptions
from pricing import dollars
from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    answers,
    drips,
    held,
    says,
    streams,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.naming import BUDGET, NAME, conflict, document, named, replayed
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack
from tests.gateway.wire import Wire, post, request_bytes


async def test_a_refused_request_may_be_made_again_under_its_name(make_stack: MakeStack) -> None:
    """A budget's 402 and 429, a body that cannot be read, an unknown model: no trace of them."""
    stack = await make_stack(GatewayOptions(wait_ms=0))
    secret = await stack.key("research", [{"usd": "0.000000001"}])
    await stack.set_budget("research", [{"concurrency": 1}])
    assert (await named(stack, secret, document())).status == 402
    await stack.set_budget("research/key-1", BUDGET)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    running = asyncio.create_task(post(stack.port, secret, document()))
    await stack.provider.arrivals(1)
    assert (await named(stack, secret, document())).status == 429
    assert (await named(stack, secret, document(model="nobody"))).status == 404
    assert (await named(stack, secret, {"model": "plain"})).status == 400
    gate.set()
    await running
    first = await named(stack, secret, document())
    assert first.status == 200
    assert len(stack.provider.received) == 2
    replayed(await named(stack, secret, document()), first)


async def test_two_of_a_name_that_wait_in_line_are_one(make_stack: MakeStack) -> None:
    """Neither has the name while others hold the budget; the first that is granted takes it, and
    the other is told so in its turn."""
    stack = await make_stack(GatewayOptions(wait_ms=60_000))
    secret = await stack.key(budget=[{"concurrency": 1}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    holder = asyncio.create_task(post(stack.port, secret, document()))
    await stack.provider.arrivals(1)
    waiting = [asyncio.create_task(named(stack, secret, document())) for _ in range(2)]
    await stack.until_waiting(2)
    assert not any(each.done() for each in waiting)
    gate.set()
    await holder
    made = await asyncio.gather(*waiting)
    assert len({each.headers["x-comptroller-request-id"] for each in made}) == 1
    assert 1 <= [each.status for each in made].count(200) <= 2
    assert len(stack.provider.received) == 2
    await stack.ledger.at_rest()


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_providers_own_error_may_be_tried_again(stack: Stack, status: int) -> None:
    """It cost nothing, so its repetition pays for nothing twice: SDKs do it by themselves."""
    secret = await stack.key(budget=BUDGET)
    stack.provider.behaviour = says(ERROR_BODY, status)
    assert (await named(stack, secret, document())).status == status
    stack.provider.behaviour = answers()
    first = await named(stack, secret, document())
    replayed(await named(stack, secret, document()), first)
    assert len(stack.provider.received) == 2
    await stack.ledger.at_rest()


async def test_a_provider_that_was_not_reached_may_be_tried_again(stack: Stack) -> None:
    """Nothing was sent, and the reservation was released: the name is free."""
    secret = await stack.key(budget=BUDGET)
    for _ in range(2):
        assert (await named(stack, secret, document(model="absent"))).status == 502
    assert (await named(stack, secret, document())).status == 200


async def test_a_name_is_free_after_a_reserve_without_an_answer(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger granted, its answer was lost, and the worker gave up: 503, and the retry that SDKs
    make of it is served."""
    secret = await stack.key(budget=BUDGET)
    link = stack.administration._session.transport
    call = link.call

    async def silent_once(
        script: Script, keys: tuple[bytes, ...], args: tuple[transport.Argument, ...]
    ) -> transport.Reply:
        reply = await call(script, keys, args)
        if script.name == "reserve" and reply[0] == b"GRANTED":
            monkeypatch.undo()
            raise transport.LedgerSilent("the answer was lost")
        return reply

    monkeypatch.setattr(link, "call", silent_once)
    assert (await named(stack, secret, document())).status == 503
    first = await named(stack, secret, document())
    replayed(await named(stack, secret, document()), first)
    assert len(stack.provider.received) == 1
    assert [each.kind for each in await stack.ledger.endings(2)] == ["llm_response"] * 2
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_outcome_is_not_paid_twice(stack: Stack, stream: bool) -> None:
    """What stands between us and the provider failed: the request may have been served, and was
    charged whole. Its repetition says so instead of asking again; a new name does ask."""
    secret = await stack.key(budget=BUDGET)
    stack.provider.behaviour = says(HTML_BODY, 502, "text/html")
    body = document(model="thinker", stream=stream)
    assert (await named(stack, secret, body)).status == 502
    stack.provider.behaviour = answers()
    for _ in range(2):
        answer = await named(stack, secret, body)
        conflict(answer, "unknown")
        charged_usd = dollars(await stack.ledger.spent())
        assert answer.headers["x-comptroller-cost-usd"] == charged_usd
    assert len(stack.provider.received) == 1
    assert (await named(stack, secret, body, "a new name")).status == 200
    await stack.ledger.at_rest()


async def test_a_broken_stream_is_not_replayed(stack: Stack) -> None:
    """Half an answer is not an answer: its repetition is told what the half cost."""
    secret = await stack.key(budget=BUDGET)
    stack.provider.behaviour = streams(word_events()[:3], end="reset")
    body = document(stream=True)
    assert b"error" in (await named(stack, secret, body)).body
    answer = await named(stack, secret, body)
    conflict(answer, "settled")
    assert answer.headers["x-comptroller-cost-usd"] == dollars(await stack.ledger.spent())
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


async def test_a_stream_is_replayed_only_when_it_has_ended(stack: Stack) -> None:
    """A repetition in mid-stream is told that the first runs; its client gets the rest."""
    secret = await stack.key(budget=BUDGET)
    gate = asyncio.Event()

    async def two_parts(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(b"".join(word_events(("one ",))[:-1]))
        await gate.wait()
        reply.chunk(word_events()[-1] + usage_event(usage_text(11, 7)) + DONE)
        reply.end()

    stack.provider.behaviour = two_parts
    body = document(stream=True)
    async with Wire(stack.port) as wire:
        sent = json.dumps(body).encode()
        await wire.send(request_bytes(secret, sent, f"idempotency-key: {NAME}"))
        begun = await wire.until(b"one ")
        conflict(await named(stack, secret, body), "in_flight")
        gate.set()
        rest = await wire.until_closed()
    again = await named(stack, secret, body)
    assert again.status == 200
    assert (begun + rest).count(b"data: ") == again.body.count(b"data: ")
    assert again.body.endswith(DONE)


async def test_a_client_that_hung_up_finds_its_answer(stack: Stack) -> None:
    """A whole answer is read to its end and booked though nobody is left to hear it: that is what
    the client asks for again, and gets without paying twice."""
    secret = await stack.key(budget=BUDGET)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    async with Wire(stack.port) as wire:
        sent = json.dumps(document()).encode()
        await wire.send(request_bytes(secret, sent, f"idempotency-key: {NAME}"))
        await stack.provider.arrivals(1)
    gate.set()
    await stack.ledger.until_at_rest()
    again = await named(stack, secret, document())
    assert again.headers["x-comptroller-replayed"] == "true"
    assert again.json["usage"]["completion_tokens"] == 7
    assert len(stack.provider.received) == 1


async def test_a_stream_whose_client_hung_up_is_not_made_again(stack: Stack) -> None:
    """It was cancelled and charged by what had come; the repetition learns how much."""
    secret = await stack.key(budget=BUDGET)
    stack.provider.behaviour = drips(interval_ms=10)
    body = document(stream=True)
    async with Wire(stack.port) as wire:
        sent = json.dumps(body).encode()
        await wire.send(request_bytes(secret, sent, f"idempotency-key: {NAME}"))
        await wire.until(b"drip ")
    await stack.ledger.until_at_rest()
    conflict(await named(stack, secret, body), "settled")
    assert len(stack.provider.received) == 1
