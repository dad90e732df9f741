"""Chat completions become responses that say the same, whole or streamed, however the stream is cut
into pieces."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseStreamEvent,
)
from pydantic import TypeAdapter

from gateway.errors import UpstreamFailed
from gateway.translations import TRANSLATIONS
from gateway.translations.responses_stream import KEPT_CHARS_MAX
from gateway.upstream import UpstreamError
from tests.gateway.translations.samples import CALL, STREAM, USAGE, chunk, parsed, written

PAIR = TRANSLATIONS["/v1/responses", "/v1/chat/completions"]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def answer(message: dict[str, Any], finish: str = "stop") -> Response:
    """Of this message, as OpenAI's library reads it."""
    body = {
        "id": "chatcmpl-1",
        "created": 5,
        "model": "gpt-x",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
    }
    return Response.model_validate_json(PAIR.answer(msgspec.json.encode(body)))


def test_a_whole_answer() -> None:
    """Text, calls, names, and usage under its other names."""
    whole = answer({"content": "Hello there", "tool_calls": [CALL]}, "tool_calls")
    assert (whole.id, whole.model, whole.status) == ("resp_chatcmpl-1", "gpt-x", "completed")
    assert whole.output_text == "Hello there"
    call = whole.output[1]
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.call_id, call.name, call.arguments) == ("c1", "f", '{"a":[1]}')
    usage = whole.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (16, 5, 21)
    assert usage.input_tokens_details.cached_tokens == 4
    assert (usage.model_extra or {})["cost"] == 0.25


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended(finish: str, status: str, reason: str | None) -> None:
    """What was cut off says by what."""
    whole = answer({"content": "x"}, finish)
    details = whole.incomplete_details
    assert (whole.status, details.reason if details else None) == (status, reason)


def test_a_refusal_is_a_part_of_its_own() -> None:
    """As the model gave it."""
    (message,) = answer({"content": None, "refusal": "No."}).output
    assert isinstance(message, ResponseOutputMessage)
    assert message.content[0].type == "refusal"


def streamed(pieces: list[bytes], *, complete: bool = True) -> bytes:
    """The client's bytes for the provider's in these pieces."""
    stream = PAIR.stream(parsed({"model": "m", "stream": True}))
    return b"".join(map(stream.feed, pieces)) + stream.finish(b"", complete=complete)


def events(out: bytes) -> list[Any]:
    """As OpenAI's library reads them, numbered in their order."""
    found = [
        EVENT.validate_json(each.split(b"\n", 1)[1].removeprefix(b"data: "))
        for each in out.split(b"\n\n")[:-1]
    ]
    assert [each.sequence_number for each in found] == list(range(len(found)))
    return found


def test_a_stream_says_what_the_whole_answer_does() -> None:
    """Each item is announced, grows and ends; all of them stand in the last event."""
    found = events(streamed([STREAM]))
    kinds = [each.type.removeprefix("response.") for each in found]
    assert kinds == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    whole = found[-1].response
    assert whole.output_text == "Hello there"
    assert [each.type for each in whole.output] == ["message", "function_call", "function_call"]
    assert (whole.output[1].name, whole.output[1].arguments) == ("f", '{"a":[1]}')
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (16, 5)
    done = [each.item for each in found if each.type == "response.output_item.done"]
    assert done == whole.output
    added = [each.item.id for each in found if each.type == "response.output_item.added"]
    assert added == [each.id for each in whole.output]


def test_a_custom_tool_s_input_is_streamed() -> None:
    """As free text."""
    piece = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** "}}
    more = {"index": 0, "custom": {"input": "End"}}
    chunks = [chunk({"tool_calls": [piece]}), chunk({"tool_calls": [more]}, "tool_calls")]
    whole = events(streamed([written(chunks)]))[-1].response
    assert (whole.output[0].type, whole.output[0].input) == ("custom_tool_call", "*** End")


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_pieces_do_not_matter(cuts: set[int]) -> None:
    """However the bytes arrive, the client gets the same."""
    pieces = [
        STREAM[one:other] for one, other in itertools.pairwise([0, *sorted(cuts), len(STREAM)])
    ]
    assert streamed(pieces) == streamed([STREAM])


def test_a_stream_that_breaks_off_has_no_end() -> None:
    """The error that comes behind it is its end."""
    out = streamed([STREAM[:500]], complete=False)
    assert b"response.completed" not in out
    assert events(out)[0].type == "response.created"


def test_what_is_kept_is_bounded() -> None:
    """An answer beyond all bounds breaks off."""
    stream = PAIR.stream(parsed({"model": "m", "stream": True}))
    piece = written([chunk({"content": "x" * (4 * 1024 * 1024)})])
    for _ in range(KEPT_CHARS_MAX // (4 * 1024 * 1024)):
        stream.feed(piece)
    with pytest.raises(UpstreamError):
        stream.feed(piece)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b"\xff"])
def test_what_is_no_completion_is_the_provider_s_failure(body: bytes) -> None:
    """It is not passed off as an answer."""
    with pytest.raises(UpstreamFailed):
        PAIR.answer(body)


JSON = st.recursive(
    st.none() | st.integers(-2, 2) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("choices", "delta", "tool_calls", "function", "index", "id", "usage", "content")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=6))
def test_no_stream_breaks_it(values: list[Any]) -> None:
    """Whatever a provider says, the client reads a stream that begins and ends."""
    pieces = [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in values]
    found = events(streamed(pieces))
    assert (found[0].type, found[-1].type) == ("response.created", "response.completed")
