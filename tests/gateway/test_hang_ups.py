"""Clients that hang up, in every phase of a request: the reservation belongs to the response, not
to the client's connection."""

import asyncio

import pytest

from gateway.options import GatewayOptions
from gateway.upstream.exchange import Exchange
from tests.gateway.behaviours import (
    DONE,
    answers,
    drips,
    held,
    plain_body,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import COUNTED, GREETING, USAGE_NUSD, Stack, chat_body
from tests.gateway.wire import Wire, request_bytes


async def test_hang_up_while_sending_the_request(stack: Stack) -> None:
    """Half a request is none: nothing is reserved, nothing forwarded."""
    secret = await stack.key(budget=COUNTED)
    await stack.chat(secret)
    before = await stack.ledger.state()
    request = request_bytes(secret, chat_body(stream=False))
    for size in (10, len(request) - 30, len(request) - 1):
        async with Wire(stack.port) as wire:
            await wire.send(request[:size])
    await stack.chat(secret)
    assert len(await stack.ledger.endings(2)) == 2
    assert len(stack.provider.received) == 2
    assert before["leases"] == {}
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["plain", "thinker", "biller"])
async def test_hang_up_while_the_provider_thinks(stack: Stack, model: str, stream: bool) -> None:
    """A provider that stops when it is cancelled is cancelled; any other is read to its end. Either
    way one booking, never below what can have been billed, and the next caller has the place."""
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    secret = await stack.key(budget=[*COUNTED, {"concurrency": 1}])
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, chat_body(stream=stream, model=model)))
        await stack.provider.arrivals(1)
    if model == "plain" and stream:
        await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    gate.set()
    entry, event = await stack.ledger.ending()
    if event["usage_source"] == "provider":
        assert charged(entry) == USAGE_NUSD
    elif event["usage_source"] == "counted":
        assert stream
        assert charged(entry) >= len(GREETING[0]["content"]) * INPUT_NUSD
    else:
        assert charged(entry) == reserved(entry)
    assert charged(entry, 3) == 1
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()
    stack.provider.behaviour = answers()
    assert (await stack.chat(secret)).status_code == 200


async def test_hang_up_while_waiting_for_others(make_stack: MakeStack) -> None:
    """Who leaves while waiting in line for a budget is not served when it comes free: the provider
    is not asked on behalf of nobody, and the next in line is."""
    stack = await make_stack(GatewayOptions(wait_ms=60_000))
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    secret = await stack.key(budget=[*COUNTED, {"concurrency": 1}])
    first = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, chat_body(stream=False)))
        await stack.until_waiting(1)
    await stack.until_waiting(0)
    next_ = asyncio.create_task(stack.chat(secret, max_tokens=3))
    await stack.until_waiting(1)
    gate.set()
    assert (await first).status_code == 200
    assert (await next_).status_code == 200
    assert len(stack.provider.received) == 2
    await stack.ledger.endings(2)
    await stack.ledger.at_rest()


async def test_hang_up_in_the_middle_of_a_whole_answer(stack: Stack) -> None:
    """What a provider generated without streaming it is never counted by what had arrived: the
    truth is booked, or all."""
    gate = asyncio.Event()

    async def begins(_received: Received, reply: Reply) -> None:
        content = plain_body(usage_text(11, 7))
        reply.begin(len(content), "application/json")
        reply.raw(content[:10])
        await gate.wait()
        reply.raw(content[10:])
        reply.complete = True

    stack.provider.behaviour = begins
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(await stack.key(budget=COUNTED), chat_body(stream=False)))
        await stack.provider.arrivals(1)
    gate.set()
    entry, event = await stack.ledger.ending()
    truth = {"provider": USAGE_NUSD, "reserved": reserved(entry)}
    assert charged(entry) == truth[event["usage_source"]]
    await stack.ledger.at_rest()


@pytest.mark.parametrize("model", ["plain", "thinker", "biller"])
async def test_hang_up_in_mid_stream(stack: Stack, model: str) -> None:
    """After three words the client is gone: a provider that stops billing is cancelled and the
    words are booked; another is read to its end and its truth is booked."""
    gate = asyncio.Event()

    async def two_parts(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(b"".join(word_events(("one ", "two ", "three "))[:-1]))
        await gate.wait()
        reply.chunk(usage_event(usage_text(11, 7)) + DONE)
        reply.end()

    stack.provider.behaviour = two_parts
    async with Wire(stack.port) as wire:
        await wire.send(
            request_bytes(await stack.key(budget=COUNTED), chat_body(stream=True, model=model))
        )
        await wire.until(b"three ")
    if model == "plain":
        await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    gate.set()
    entry, event = await stack.ledger.ending()
    if model == "plain":
        assert event["usage_source"] == "counted"
        text = len("one two three ")
        assert charged(entry) >= len(GREETING[0]["content"]) * INPUT_NUSD + text * OUTPUT_NUSD
        assert charged(entry) < reserved(entry)
    else:
        assert (charged(entry), event["usage_source"]) == (USAGE_NUSD, "provider")
    await stack.ledger.at_rest()


async def test_hang_up_while_bytes_of_the_provider_wait(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has arrived and was not read may have been billed: then what was read bounds nothing,
    and the whole reservation is booked."""
    abort = Exchange.abort

    def with_unread(exchange: Exchange) -> bool:
        exchange.body += b"data: more"
        return abort(exchange)

    monkeypatch.setattr(Exchange, "abort", with_unread)
    stack.provider.behaviour = drips(interval_ms=20)
    secret = await stack.key(budget=COUNTED)
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, chat_body(stream=True)))
        await wire.until(b"drip ")
    entry, event = await stack.ledger.ending()
    assert (charged(entry), event["usage_source"]) == (reserved(entry), "reserved")
    await stack.ledger.at_rest()


async def test_hang_up_after_the_last_byte(stack: Stack) -> None:
    """Who has the whole answer finds it booked already; leaving then changes nothing."""
    secret = await stack.key(budget=COUNTED)
    for number, stream in enumerate((False, True), start=1):
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, chat_body(stream=stream)))
            await wire.answer()
            assert len(await stack.ledger.endings(number)) == number
    assert await stack.ledger.spent_in(1) == 2 * USAGE_NUSD
    await stack.ledger.at_rest()


async def test_a_hundred_clients_that_hang_up(stack: Stack) -> None:
    """Hanging up at once, in the middle or at the end: as many bookings as calls reached the
    provider or were reserved, and nothing stays reserved."""
    stack.provider.behaviour = answers()
    secret = await stack.key(budget=COUNTED)

    async def leaves(n: int) -> None:
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, chat_body(stream=bool(n % 2))))
            if n % 3 == 1:
                await asyncio.sleep(0)
            elif n % 3 == 2:
                await wire.until(b"\r\n")

    await asyncio.gather(*(leaves(n) for n in range(100)))
    assert (await stack.client.get("/readyz")).status_code == 200
    asked = await stack.ledger.requests()
    await stack.ledger.endings(len(asked))
    await stack.ledger.until_at_rest()
    assert len(stack.provider.received) <= len(await stack.ledger.requests())
