"""How streams end that break off, are cut, or do not say what they used: one booking each, of what
can have been billed (prices as in `test_endings`), and the client is told.
"""

import asyncio
import json

import pytest

from budgets.ledger import LedgerOptions
from gateway.ending import EVENTS_BESIDE_MAX
from gateway.events import RECORDED_BYTES_MAX
from tests.gateway.behaviours import (
    DONE,
    chunk_event,
    drips,
    streams,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.stack import CAP, COUNTED, GREETING, USAGE_NUSD, Stack, chat_body
from tests.gateway.wire import Wire, request_bytes


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


async def test_output_beyond_the_grant_is_cut(stack: Stack) -> None:
    """A provider that ignores its cap and streams on is stopped, and what it streamed is booked: a
    token for each event, also above the reservation."""
    stack.provider.behaviour = drips(interval_ms=0)
    answer = await asyncio.wait_for(
        stack.chat(await stack.key(budget=COUNTED), stream=True, max_tokens=4), timeout=30
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
