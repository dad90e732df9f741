"""A worker that stops waits for its requests for `drain_ms`; then the server cancels those that
still run. Their clients are told so, and what they used is booked."""

import asyncio
import json
import signal

import pytest

from budgets.embedded import EmbeddedServer
from gateway.upstream.exchange import Exchange
from tests.gateway.behaviours import answers, chunk_event, drips, held
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import COUNTED, Stack, chat_body
from tests.gateway.wire import Answer, Wire, post, request_bytes
from tests.pausing import pause

DOCUMENT = json.loads(chat_body(stream=False))
WORD = "word"


def stop() -> None:
    """Cancels every request, as uvicorn does when its graceful time is over."""
    for task in asyncio.all_tasks():
        if "run_asgi" in repr(task.get_coro()):
            task.cancel("Task cancelled, timeout graceful shutdown exceeded")


def assert_told(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """The answer says what happened, and that another try may be served; the log has no fault."""
    assert answer.status == 503, answer
    assert (answer.error["code"], answer.headers["retry-after"]) == ("gateway_stopping", "1")
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_a_whole_answer_that_does_not_come_in_time(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """What the provider did is not known: the whole reservation is charged."""
    stack.provider.behaviour = held(asyncio.Event(), answers())
    call = asyncio.create_task(post(stack.port, await stack.key(budget=COUNTED), DOCUMENT))
    await stack.provider.arrivals(1)
    stop()
    assert_told(await call, caplog)
    entry, _ = await stack.ledger.ending()
    assert charged(entry) == reserved(entry) > 0
    await stack.ledger.at_rest()


async def test_a_stream_that_does_not_end_in_time(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """It is cut as by any other cause: the client is told in the stream, the provider cancelled,
    and what was streamed is charged."""

    async def one_word(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(chunk_event({"content": WORD}))
        await asyncio.Event().wait()

    stack.provider.behaviour = one_word
    async with Wire(stack.port) as wire:
        secret = await stack.key(budget=COUNTED)
        await wire.send(request_bytes(secret, chat_body(stream=True)))
        await wire.until(WORD.encode())
        stop()
        rest = await wire.until_closed()
    assert b"gateway_stopping" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
    await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    entry, event = await stack.ledger.ending()
    assert (event["usage_source"], event["error"]) == ("counted", "STOPPING")
    assert charged(entry) >= INPUT_NUSD + len(WORD) * OUTPUT_NUSD
    await stack.ledger.at_rest()


async def test_a_stream_of_which_bytes_were_not_read(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had arrived and was not read may have been billed: the whole reservation is charged."""
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
        stop()
        assert b"gateway_stopping" in await wire.until_closed()
    entry, event = await stack.ledger.ending()
    assert (charged(entry), event["usage_source"]) == (reserved(entry), "reserved")
    await stack.ledger.at_rest()


async def test_a_stream_whose_ending_waits_for_the_ledger(
    stack: Stack, valkey: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The provider has broken off and the ledger is silent: the client is told all the same, and
    the ending is booked when the ledger is back."""
    gate = asyncio.Event()

    async def breaks_off(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(chunk_event({"content": WORD}))
        await gate.wait()
        reply.reset()

    stack.provider.behaviour = breaks_off
    async with Wire(stack.port) as wire:
        secret = await stack.key(budget=COUNTED)
        await wire.send(request_bytes(secret, chat_body(stream=True)))
        await wire.until(WORD.encode())
        pause(valkey.pid)
        try:
            gate.set()
            async with asyncio.timeout(30):
                while "upstream failed" not in caplog.text:  # noqa: ASYNC110  # only its log tells
                    await asyncio.sleep(0.01)
            stop()
            rest = await wire.until_closed()
        finally:
            valkey.send(signal.SIGCONT)
    assert b"gateway_stopping" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
    await stack.ledger.ending()
    await stack.ledger.at_rest()


async def test_one_who_waits_for_a_budget(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was forwarded, nothing is charged."""
    stack.provider.behaviour = held(asyncio.Event(), answers())
    secret = await stack.key(budget=[*COUNTED, {"concurrency": 1}])
    first = asyncio.create_task(post(stack.port, secret, DOCUMENT))
    await stack.provider.arrivals(1)
    second = asyncio.create_task(post(stack.port, secret, DOCUMENT))
    assert (await stack.get(secret, "/v1/budget")).status_code == 200
    assert (await stack.get(secret, "/v1/budget")).status_code == 200
    stop()
    assert_told(await first, caplog)
    assert_told(await second, caplog)
    await stack.ledger.ending()
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()
