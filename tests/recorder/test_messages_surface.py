"""Messages in the records: streams put together, tools found, nothing ever raised."""

import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo import DemoUpstream
from gateway.upstream import NO_HEADERS, Origin, Timeouts, UpstreamRequest
from recorder.surfaces import RESULTS_MAX, TOOL_CALLS_MAX, ToolCall, surface_of
from recorder.surfaces.messages import BLOCKS_MAX, MessagesSurface
from recorder.surfaces.values import DEPTH_MAX, MARK
from tests.gateway.messages_provider import (
    OVERLOADED,
    PING,
    TOOL_USE,
    block,
    end,
    event,
    start,
    text_block,
    tool_block,
)

MESSAGES = MessagesSurface()
STREAM = b"".join([start(), PING, *text_block(), *tool_block(1), *end()])
NAMES = st.sampled_from(
    [
        "type",
        "message",
        "content_block",
        "delta",
        "index",
        "content",
        "usage",
        "stop_reason",
        "error",
        "messages",
        "role",
        "id",
        "name",
        "input",
        "tool_use_id",
        "text",
        "partial_json",
        "citation",
        "comptroller",
    ]
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
        "text",
        "text_delta",
        "input_json_delta",
        "citations_delta",
        "tool_use",
        "tool_result",
        "assistant",
        "user",
    ]
)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


def assembled(body: bytes) -> Any:
    return json.loads(MESSAGES.assembled(body))


async def demo(**asked: Any) -> bytes:
    request = {"model": "demo/reasoner", "messages": [{"role": "user", "content": "Why?"}]} | asked
    origin, body = Origin("http", "demo", 80), json.dumps(request).encode()
    answer = await DemoUpstream(0).send(
        UpstreamRequest(origin, "POST", b"/v1/messages", NO_HEADERS, body, Timeouts(1, 1, 1))
    )
    return await answer.read_all(1 << 20)


@pytest.mark.parametrize(
    "more",
    [{"max_tokens": 50}, {"max_tokens": 50, "tools": [{"name": "look", "input_schema": {}}]}],
)
async def test_a_stream_becomes_the_message_in_one_piece(more: dict[str, Any]) -> None:
    """The demo provider's stream, put together, is its answer without streaming."""
    whole = json.loads(await demo(**more))
    body = await demo(**more, stream=True)
    assert assembled(body) == whole
    assert assembled(body.replace(b"\n", b"\r\n")) == whole
    calls = MESSAGES.tool_calls(MESSAGES.assembled(body))
    assert calls == MESSAGES.tool_calls(json.dumps(whole).encode())
    assert bool(calls) is ("tools" in more)
    assert MESSAGES.finish_reason(json.dumps(whole).encode()) == whole["stop_reason"]


def test_the_table_knows_it() -> None:
    """Its events are read by their endpoint."""
    assert isinstance(surface_of("/v1/messages"), MessagesSurface)


def test_blocks_grow_by_their_own_deltas() -> None:
    """Text, thinking with its signature, citations and inputs each go where a whole message has
    them; a delta that nobody knows is left out."""
    thinking = block(
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "so "},
        {"type": "thinking_delta", "thinking": "then"},
        {"type": "signature_delta", "signature": "abc"},
        {"type": "newer_delta", "x": 1},
    )
    cited = block(
        {"type": "text", "text": "", "citations": None},
        {"type": "citations_delta", "citation": {"n": 1}},
        {"type": "text_delta", "text": "caf"},
        {"type": "text_delta", "text": "é"},
        {"type": "citations_delta", "citation": {"n": 2}},
        index=1,
    )
    empty = block({**TOOL_USE, "input": {}}, index=2)
    message = assembled(b"".join([start(), *thinking, *cited, *empty, *end(9, "tool_use")]))
    assert message["content"] == [
        {"type": "thinking", "thinking": "so then", "signature": "abc"},
        {"type": "text", "text": "café", "citations": [{"n": 1}, {"n": 2}]},
        {**TOOL_USE, "input": {}},
    ]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("tool_use", 9)
    assert message["usage"]["input_tokens"] == 11
    assert MARK not in message


def test_every_cut_is_marked_and_keeps_what_came() -> None:
    """Wherever a stream ends, what arrived is a message that says that it is not whole; a tool's
    input that is cut is kept as its text."""
    last = STREAM.rindex(b"event: message_stop")
    for at in range(len(start()), last, 7):
        message = assembled(STREAM[:at])
        assert message[MARK] == {"truncated": True}
    cut = assembled(STREAM[: STREAM.index(b': \\"Delft')])
    assert cut["content"][1]["input"] == '{"city"'
    assert MARK not in assembled(STREAM)


def test_the_provider_s_error_is_kept() -> None:
    """Instead of a message in its own shape, or beside what had come."""
    assert assembled(event(OVERLOADED)) == OVERLOADED
    message = assembled(b"".join([start(), *text_block(), event(OVERLOADED)]))
    assert message[MARK] == {"truncated": True, "error": OVERLOADED["error"]}
    assert message["content"][0]["text"].startswith("Hello there")


def test_counts_are_bounded_and_the_rest_is_counted() -> None:
    """Blocks of a stream, calls of an answer, results of a request."""
    many = [block({"type": "text", "text": ""}, index=each)[0] for each in range(BLOCKS_MAX + 3)]
    message = assembled(b"".join([start(), *many, *end()]))
    assert (len(message["content"]), message[MARK]) == (BLOCKS_MAX, {"blocks_left_out": 3})
    answer = {"content": [TOOL_USE] * (TOOL_CALLS_MAX + 2)}
    calls = MESSAGES.tool_calls(json.dumps(answer).encode())
    assert (len(calls), calls[-1].left_out, calls[0].left_out) == (TOOL_CALLS_MAX, 2, 0)
    found = [{"type": "tool_result", "tool_use_id": "toolu_1"}] * (RESULTS_MAX + 4)
    messages = [{"role": "assistant", "content": [TOOL_USE]}, {"role": "user", "content": found}]
    results = MESSAGES.tool_results(json.dumps({"messages": messages}).encode())
    assert (len(results), results[-1].left_out) == (RESULTS_MAX, 4)


def test_calls_and_results_are_measured() -> None:
    """A call's input as its JSON without white space; a result by the text or the blocks that it
    has, with the name of its call."""
    arguments = b'{"city":"Delft"}'
    (call,) = MESSAGES.tool_calls(json.dumps({"content": [TOOL_USE]}).encode())
    assert call == ToolCall("toolu_1", "weather", 16, hashlib.sha256(arguments).hexdigest())
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "other", "content": [{"type": "text", "text": "x"}]},
        {"type": "text", "text": "and now?"},
    ]
    messages = [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "old"}]},
        {"role": "assistant", "content": [TOOL_USE]},
        {"role": "user", "content": results[:1]},
        {"role": "user", "content": results[1:]},
    ]
    asked = json.dumps({"messages": messages}).encode()
    first, second = MESSAGES.tool_results(asked)
    assert (first.call_id, first.name, first.result_bytes) == ("toolu_1", "weather", 5)
    assert (second.name, second.result_bytes) == ("", len('[{"type":"text","text":"x"}]'))
    begun = [*messages, {"role": "assistant", "content": "It is"}]
    assert len(MESSAGES.tool_results(json.dumps({"messages": begun}).encode())) == 2
    answered = [*begun, {"role": "user", "content": "tool_result"}]
    assert MESSAGES.tool_results(json.dumps({"messages": answered}).encode()) == ()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"message"}', b"<html>", b"\xff"])
def test_what_is_no_stream_is_left_alone(body: bytes) -> None:
    """Byte for byte."""
    assert MESSAGES.assembled(body) == body


def test_depth_is_bounded_by_a_number_not_by_the_caller() -> None:
    """An input that is nested too deeply stays the text that came."""
    deep = "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)
    piece = {"type": "input_json_delta", "partial_json": deep}
    body = b"".join([start(), *block({**TOOL_USE, "input": {}}, piece), *end()])
    assert assembled(body)["content"][0]["input"] == deep


@given(st.lists(HOSTILE, max_size=6))
def test_nothing_raises_and_the_same_bytes_give_the_same(said: list[Any]) -> None:
    """Events of any shape, in any order, are put together in one way."""
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in said)
    answer = MESSAGES.assembled(body)
    assert answer == MESSAGES.assembled(body)
    MESSAGES.tool_calls(answer)
    MESSAGES.tool_results(answer)
    MESSAGES.finish_reason(answer)
    if said:
        json.loads(answer)


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(noise: bytes) -> None:
    """Of answers and of requests."""
    for body in (noise, b"data: " + noise, start() + noise):
        answer = MESSAGES.assembled(body)
        MESSAGES.tool_calls(answer)
        MESSAGES.tool_results(answer)


@pytest.mark.parametrize(
    "piece",
    [
        {"type": "text_delta", "text": "x"},
        {"type": "input_json_delta", "partial_json": "x"},
        {"type": "citations_delta", "citation": {}},
    ],
)
def test_time_is_linear(piece: dict[str, Any]) -> None:
    """A stream of fifty thousand small pieces is put together in well under a second."""
    body = b"".join([start(), *block({"type": "text", "text": ""}, *[piece] * 50_000)])
    began = time.process_time()
    MESSAGES.assembled(body)
    assert time.process_time() - began < 5.0
