"""Anthropic's answers become chat completions that say the same, whole or streamed, however the
stream is cut into pieces."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageFunctionToolCall,
)

from gateway.dialects.chat import ChatDialect
from gateway.errors import UpstreamFailed
from gateway.translations import TRANSLATIONS

PAIR = TRANSLATIONS["/v1/chat/completions", "/v1/messages"]
USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "output_tokens": 5,
    "cost": 0.25,
}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
TEXT = {"type": "text", "text": "Hello there"}
TOOL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "claude-x", "usage": {**USAGE, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
    {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "ping"},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello "}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "there"}},
    {"type": "content_block_start", "index": 2, "content_block": {**TOOL, "input": {}}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": ":[1]}"}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]
STREAM = b"".join(
    b"event: %b\r\ndata: %b\r\n\r\n" % (each["type"].encode(), msgspec.json.encode(each))
    for each in EVENTS
)


def answer(**more: Any) -> ChatCompletion:
    """Of a message with these fields, as OpenAI's library reads it."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [THINKING, TEXT, TOOL],
        "stop_reason": "tool_use",
        "usage": USAGE,
    }
    return ChatCompletion.model_validate_json(PAIR.answer(msgspec.json.encode(message | more)))


def test_a_whole_answer() -> None:
    """Text, calls with their arguments as JSON, thoughts, names, and usage as OpenAI counts it."""
    whole = answer()
    (choice,) = whole.choices
    assert (whole.id, whole.model, choice.finish_reason) == ("msg_1", "claude-x", "tool_calls")
    assert choice.message.content == "Hello there"
    assert choice.message.model_extra == {"reasoning_content": "hm"}
    (call,) = choice.message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert (call.id, call.function.name, call.function.arguments) == ("t1", "f", '{"a":[1]}')
    usage = whole.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (16, 5, 21)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert (usage.model_extra or {})["cost"] == 0.25


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_reasons_to_stop(reason: str, finish: str) -> None:
    """Each has its counterpart; one that is new reads as an end."""
    assert answer(stop_reason=reason, content=[TEXT]).choices[0].finish_reason == finish


def streamed(pieces: list[bytes], *, complete: bool = True, usage: bool = True) -> bytes:
    """The client's bytes for the provider's in these pieces."""
    options = {"stream_options": {"include_usage": usage}}
    body = {"model": "c", "messages": [{"role": "user", "content": "x"}], "stream": True, **options}
    stream = PAIR.stream(ChatDialect().parse(msgspec.json.encode(body)))
    out = b"".join(stream.feed(each) for each in pieces)
    return out + stream.finish(b"", complete=complete)


def chunks(out: bytes) -> list[ChatCompletionChunk]:
    """As OpenAI's library reads them, without the end mark."""
    events = [each.removeprefix(b"data: ") for each in out.split(b"\n\n")[:-1]]
    return [ChatCompletionChunk.model_validate_json(each) for each in events if each != b"[DONE]"]


def test_a_stream_says_what_the_whole_answer_does() -> None:
    """Its deltas joined are the message, its last chunk is the usage."""
    out = streamed([STREAM])
    assert out.endswith(b"data: [DONE]\n\n")
    *body, last = chunks(out)
    deltas = [each.choices[0].delta for each in body]
    assert deltas[0].role == "assistant"
    assert "".join(each.content or "" for each in deltas) == "Hello there"
    thoughts = [(each.model_extra or {}).get("reasoning_content", "") for each in deltas]
    assert "".join(thoughts) == "hm"
    calls = [call for each in deltas for call in each.tool_calls or ()]
    functions = [call.function for call in calls if call.function]
    assert (calls[0].id, functions[0].name) == ("t1", "f")
    assert "".join(each.arguments or "" for each in functions) == '{"a":[1]}'
    assert body[-1].choices[0].finish_reason == "tool_calls"
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (16, 5)
    assert {each.id for each in body} == {"msg_1"}


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_pieces_do_not_matter(cuts: set[int]) -> None:
    """However the bytes arrive, the client gets the same."""
    at = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[one:other] for one, other in itertools.pairwise(at)]
    assert streamed(pieces) == streamed([STREAM])


def test_usage_is_for_those_who_asked() -> None:
    """As OpenAI has it."""
    assert all(each.usage is None for each in chunks(streamed([STREAM], usage=False)))


def test_a_stream_that_breaks_off_has_no_end_mark() -> None:
    """The error that comes behind it is its end."""
    out = streamed([STREAM[:900]], complete=False)
    assert b"[DONE]" not in out
    assert chunks(out)[0].choices[0].delta.role == "assistant"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type":"error"}', b"\xff", b"[" * 10**5])
def test_what_is_no_message_is_the_provider_s_failure(body: bytes) -> None:
    """It is not passed off as an answer."""
    with pytest.raises(UpstreamFailed):
        PAIR.answer(body)


def test_an_error_s_message() -> None:
    """What a person is told; nothing for what says nothing."""
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert PAIR.error_message(body) == "Overloaded"
    assert PAIR.error_message(b"<html>") == ""


JSON = st.recursive(
    st.none() | st.integers(-2, 2) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("type", "message", "content_block", "delta", "usage", "text", "thinking", "id")
            ),
            inner | st.sampled_from([each["type"] for each in EVENTS] + ["text_delta"]),
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=6))
def test_no_stream_breaks_it(values: list[Any]) -> None:
    """Whatever a provider says, the client reads a stream."""
    pieces = [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in values]
    assert streamed(pieces).endswith(b"data: [DONE]\n\n")
