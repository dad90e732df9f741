"""How requests end (the ledger's contract, section 4): one booking each, and the right one.

Prices are $1 and $2 per million tokens, so a token of input is 1,000 nano-dollars and one of output
2,000; each test knows what the provider would bill.
"""

import asyncio
import json

import pytest

from budgets.ledger import LedgerOptions
from gateway.ending import EVENTS_BESIDE_MAX
from gateway.events import RECORDED_BYTES_MAX
from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    answers,
    chunk_event,
    drips,
    held,
    plain_body,
    says,
    silent,
    streams,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import CAP, COUNTED, GREETING, USAGE_NUSD, Stack, chat_body
from tests.gateway.wire import Wire, request_bytes


async def whole_reservation(stack: Stack) -> None:
    """The one ending charged all that was reserved, in every dimension."""
    entry, event = await stack.ledger.ending()
    assert event["usage_source"] == "reserved"
    for dimension in (1, 2, 3):
        assert charged(entry, dimension) == reserved(entry, dimension) > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_was_not_reached_costs_nothing(stack: Stack, stream: bool) -> None:
    """Nothing listens there: 502, all given back, not even the request counts."""
    answer = await stack.chat(await stack.key(budget=COUNTED), "absent", stream=stream)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"
    entry, event = await stack.ledger.ending()
    assert event["usage_source"] == "released"
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 0]
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 529])
async def test_the_providers_own_error_costs_nothing_but_a_request(
    stack: Stack, status: int, stream: bool
) -> None:
    """Its status and body pass; zero is booked and the request counts."""
    stack.provider.behaviour = says(ERROR_BODY, status)
    answer = await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    assert answer.status_code == status
    assert answer.content == ERROR_BODY
    entry, _ = await stack.ledger.ending()
    assert answer.headers["x-comptroller-request-id"] == entry.id
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    await stack.ledger.at_rest()


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_the_operators_trouble_with_the_provider_is_not_the_callers(
    stack: Stack, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that refuses the gateway's own key costs nothing; its body, which may name that
    key, is passed on and recorded nowhere, and the caller is told that it is not about theirs."""
    stack.provider.behaviour = says(b'{"error": {"message": "bad key sk-provider-1"}}', status)
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "upstream_error"
    assert b"sk-provider-1" not in answer.content
    assert str(status) in caplog.text
    assert "sk-provider-1" not in caplog.text
    entry, _ = await stack.ledger.ending()
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    assert not any(b"sk-provider-1" in body for body in (await stack.ledger.bodies()).values())
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_body_before_any_output_costs_nothing(stack: Stack, stream: bool) -> None:
    """Some providers say 200 first and then send their error: without output before it, it is
    passed on and booked as any error of theirs, zero and one request."""
    error = b'{"error":{"message":"overloaded","code":502}}'
    stack.provider.behaviour = (
        streams([b"data: " + error + b"\n\n", DONE]) if stream else says(error)
    )
    answer = await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    assert b'"overloaded"' in answer.content
    entry, _ = await stack.ledger.ending()
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    await stack.ledger.at_rest()


async def test_the_providers_advice_to_wait_passes(stack: Stack) -> None:
    """Retry-After of a provider's 429 reaches the client; other headers of its do not."""

    async def limits(_received: Received, reply: Reply) -> None:
        reply.whole(429, ERROR_BODY, ("retry-after", "17"), ("set-cookie", "a=b"), ("x-org", "o"))

    stack.provider.behaviour = limits
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.headers["retry-after"] == "17"
    assert "set-cookie" not in answer.headers
    assert "x-org" not in answer.headers
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    ("status", "content", "content_type"),
    [
        (502, ERROR_BODY, "application/json"),
        (503, ERROR_BODY, "application/json"),
        (504, ERROR_BODY, "application/json"),
        (503, HTML_BODY, "text/html"),
        (500, HTML_BODY, "text/html"),
        (403, HTML_BODY, "text/html; charset=utf-8"),
        (301, b"", "text/plain"),
    ],
)
@pytest.mark.parametrize("model", ["plain", "thinker"])
async def test_something_in_between_leaves_the_outcome_unknown(
    stack: Stack, status: int, content: bytes, content_type: str, model: str
) -> None:
    """What a proxy answers says nothing of the provider: the whole reservation is booked, and the
    page is not passed on."""
    stack.provider.behaviour = says(content, status, content_type)
    answer = await stack.chat(await stack.key(budget=COUNTED), model)
    assert answer.status_code == (status if status >= 400 else 502)
    assert answer.json()["error"]["code"] == "upstream_error"
    assert b"Service Unavailable" not in answer.content
    await whole_reservation(stack)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        b"null",
        b"{}",
        b'{"prompt_tokens": 5}',
        b'{"prompt_tokens": 5, "completion_tokens": -1}',
        b'{"prompt_tokens": 5, "completion_tokens": "7"}',
        b'{"prompt_tokens": 5, "completion_tokens": 1e3}',
        b'{"prompt_tokens": true, "completion_tokens": 7}',
        b'{"prompt_tokens": 99999999999999999999, "completion_tokens": 7}',
        b"[5, 7]",
        b'"5"',
    ],
    ids=str,
)
async def test_an_answer_without_a_believable_usage_is_booked_whole(
    stack: Stack, usage: bytes | None
) -> None:
    """The client has its answer as it came; the books take the ceiling."""
    stack.provider.behaviour = says(plain_body(usage))
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.status_code == 200
    assert answer.content == plain_body(usage)
    assert "x-comptroller-cost-usd" not in answer.headers
    await whole_reservation(stack)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_page_instead_of_an_answer_is_booked_whole(stack: Stack, stream: bool) -> None:
    """200 with a page of a portal in between: nobody knows what the provider did."""
    stack.provider.behaviour = says(HTML_BODY, 200, "text/html")
    await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    await whole_reservation(stack)


async def test_a_whole_answer_that_breaks_off_is_booked_whole(stack: Stack) -> None:
    """Reset or closed in the middle of a body with a length: 502, and the reservation is spent."""

    def breaks(how: str) -> Behaviour:
        async def behave(_received: Received, reply: Reply) -> None:
            content = plain_body(usage_text(11, 7))
            reply.begin(len(content), "application/json")
            reply.raw(content[:-5])
            await asyncio.sleep(0.01)
            getattr(reply, how)()

        return behave

    secret = await stack.key(budget=COUNTED)
    for number, how in enumerate(("reset", "close"), start=1):
        stack.provider.behaviour = breaks(how)
        answer = await stack.chat(secret)
        assert answer.status_code == 502
        entry = (await stack.ledger.endings(number))[-1]
        assert charged(entry) == reserved(entry) > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_reset_unanswered_is_booked_whole_and_never_sent_again(
    stack: Stack, stream: bool
) -> None:
    """The provider took it and died: it may have billed it, so it is neither free nor repeated."""

    async def dies(_received: Received, reply: Reply) -> None:
        reply.reset()

    stack.provider.behaviour = dies
    answer = await stack.chat(await stack.key(budget=COUNTED), "thinker", stream=stream)
    assert answer.status_code == 502
    assert len(stack.provider.received) == 1
    await whole_reservation(stack)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_never_answers_times_out(stack: Stack, stream: bool) -> None:
    """504 after the route's timeout, the provider's connection is closed, the money is spent."""
    stack.provider.behaviour = silent()
    answer = await stack.chat(await stack.key(budget=COUNTED), "hasty", stream=stream)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_error"
    await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    entry, _ = await stack.ledger.ending()
    assert 0 < charged(entry) <= reserved(entry)
    assert stream or charged(entry) == reserved(entry)
    await stack.ledger.at_rest()


@pytest.mark.parametrize("end", ["close", "reset", "silence"])
@pytest.mark.parametrize("model", ["hasty", "thinker", "biller"])
async def test_a_stream_that_breaks_off(stack: Stack, end: str, model: str) -> None:
    """The client has all that came and then an error event, never an end mark; booked is the
    streamed text where that is all that can have been billed, else the whole reservation."""
    if end == "silence" and model != "hasty":
        return  # their timeouts are long; what they book is the same as for a reset
    events = word_events(("one ", "two "))[:-1]
    stack.provider.behaviour = streams(events, end=end)
    answer = await stack.chat(await stack.key(budget=COUNTED), model, stream=True, max_tokens=CAP)
    assert answer.status_code == 200
    assert answer.content.startswith(b"".join(events))
    last = answer.content.removeprefix(b"".join(events))
    assert last.startswith(b"data: {")
    assert last.endswith(b"\n\n")
    assert json.loads(last[6:])["error"]["code"] == "upstream_error"
    entry, event = await stack.ledger.ending()
    if model == "hasty":
        assert event["usage_source"] == "counted"
        assert len(GREETING[0]["content"]) * INPUT_NUSD + 8 * OUTPUT_NUSD <= charged(entry)
        assert charged(entry) <= reserved(entry)
    else:
        assert charged(entry) == reserved(entry)
    await stack.ledger.at_rest()


@pytest.mark.parametrize("model", ["plain", "thinker"])
async def test_a_stream_without_usage_but_with_an_end(stack: Stack, model: str) -> None:
    """A server that does not know `include_usage`: the client's stream is as the provider sent it;
    booked is what was streamed, or all where the model may have reasoned unseen."""
    events = [*word_events(), DONE]
    stack.provider.behaviour = streams(events)
    answer = await stack.chat(await stack.key(budget=COUNTED), model, stream=True, max_tokens=CAP)
    assert answer.content == b"".join(events)
    entry, _ = await stack.ledger.ending()
    assert charged(entry) <= reserved(entry)
    assert model == "plain" or charged(entry) == reserved(entry)
    await stack.ledger.at_rest()


async def test_a_stream_without_an_end_mark_but_with_usage_is_the_truth(stack: Stack) -> None:
    """The usage came: that is booked; the client is told that the end is missing."""
    stack.provider.behaviour = streams([*word_events(), usage_event(usage_text(11, 7))])
    answer = await stack.chat(await stack.key(budget=COUNTED), stream=True)
    assert b"upstream_error" in answer.content
    assert b"\n\ndata: [DONE]\n\n" not in answer.content
    entry, event = await stack.ledger.ending()
    assert (charged(entry), event["usage_source"]) == (USAGE_NUSD, "provider")
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overrun_is_booked_and_labelled(stack: Stack, stream: bool) -> None:
    """The truth is booked even above the reservation, and the event says so."""
    stack.provider.behaviour = answers(prompt=10, completion=5_000)
    await stack.chat(await stack.key(budget=COUNTED), stream=stream, max_tokens=CAP)
    entry, event = await stack.ledger.ending()
    assert charged(entry) == 10 * INPUT_NUSD + 5_000 * OUTPUT_NUSD > reserved(entry)
    assert charged(entry, 2) == 5_010
    assert event["overrun"] is True
    await stack.ledger.at_rest()


async def test_output_beyond_the_grant_is_cut(stack: Stack) -> None:
    """A provider that ignores its cap and streams on is stopped, and what it streamed is booked: a
    token for each event, also above the reservation."""
    stack.provider.behaviour = drips(interval_ms=0)
    answer = await asyncio.wait_for(
        stack.chat(await stack.key(budget=COUNTED), stream=True, max_tokens=4), timeout=8
    )
    assert b"error" in answer.content
    await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    entry, event = await stack.ledger.ending()
    assert charged(entry) >= 2 * 4 * OUTPUT_NUSD + EVENTS_BESIDE_MAX * OUTPUT_NUSD > reserved(entry)
    assert (event["usage_source"], event["overrun"]) == ("counted", True)
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x" * 40},
        {"reasoning_content": "x" * 40},
        {"reasoning": "x" * 40},
        {"refusal": "x" * 40},
        {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 40}}]},
        {"function_call": {"arguments": "x" * 40}},
        {"tool_calls": [{"index": 0, "type": "custom", "custom": {"input": "x" * 40}}]},
        {"audio": {"transcript": "x" * 40}},
        {"content": [{"type": "text", "text": "x" * 40}]},
    ],
    ids=lambda delta: str(delta)[:30],
)
async def test_whatever_text_was_streamed_is_counted(
    stack: Stack, delta: dict[str, object]
) -> None:
    """Every kind of text in a stream that breaks off counts, a token for each byte at most."""
    stack.provider.behaviour = streams([chunk_event(delta)], end="close")
    await stack.chat(await stack.key(budget=COUNTED), stream=True, max_tokens=100)
    entry, _ = await stack.ledger.ending()
    assert charged(entry) >= (len(GREETING[0]["content"]) * INPUT_NUSD + 40 * OUTPUT_NUSD)
    await stack.ledger.at_rest()


@pytest.mark.parametrize("beyond", [0, 7])
async def test_a_stream_too_long_to_remember_is_booked_whole(stack: Stack, beyond: int) -> None:
    """When more was streamed than is kept, what is kept is no count of it, also where it ends with
    an event."""
    count = 64
    begin, end = b'data: {"choices":[],"obfuscation":"', b'"}\n\n'
    size = (RECORDED_BYTES_MAX + beyond) // count - len(begin) - len(end)
    padding = [begin + b"x" * size + end] * count
    left = RECORDED_BYTES_MAX + beyond - len(b"".join(padding))
    padding[0] = begin + b"x" * (size + left) + end
    text = chunk_event({"content": "y" * 2_000})
    stack.provider.behaviour = streams([*padding, text], end="close")
    await stack.chat(await stack.key(budget=COUNTED), stream=True, max_tokens=2_000)
    entry, _ = await stack.ledger.ending()
    assert charged(entry) >= 2_000 * OUTPUT_NUSD
    await stack.ledger.at_rest()


@pytest.mark.parametrize("action", ["freeze", "close", "revoke"])
async def test_a_stream_is_cut_when_its_path_is_shut(make_stack: MakeStack, action: str) -> None:
    """Frozen, halted or revoked in mid-stream: cut at the next heartbeat with an error event, the
    provider is cancelled, what was streamed is booked."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=600))
    secret = await stack.key(budget=COUNTED)
    stack.provider.behaviour = drips(interval_ms=20)
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, chat_body(stream=True)))
        await wire.until(b"drip ")
        if action == "revoke":
            await stack.keyring.revoke(stack.keys[secret])
        else:
            await stack.set_state("research", action)
        last = await asyncio.wait_for(wire.until(b'"error"'), 30)
        assert b"[DONE]" not in last
    await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    entry, _ = await stack.ledger.ending()
    assert 0 < charged(entry) <= reserved(entry)
    await stack.ledger.at_rest()


async def test_a_long_answer_outlives_its_first_lease(make_stack: MakeStack) -> None:
    """A request that runs for several leases keeps its reservation and is settled by its truth."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=1_000))
    secret = await stack.key(budget=COUNTED)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    call = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    await asyncio.sleep(3.2)  # more than three leases: nothing happens that could be awaited
    gate.set()
    assert (await call).status_code == 200
    entry, event = await stack.ledger.ending()
    assert (entry.kind, charged(entry)) == ("llm_response", USAGE_NUSD)
    assert event["usage_source"] == "provider"
    await stack.ledger.at_rest()
