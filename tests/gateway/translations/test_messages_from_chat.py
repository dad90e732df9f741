"""Chat completions become Anthropic's messages that say the same, whole or streamed, however the
stream is cut into pieces."""

import itertools
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.errors import UpstreamFailed
from gateway.translations import TRANSLATIONS
from tests.gateway.translations.samples import CALL, STREAM, USAGE, chunk, parsed, piece, written

PAIR = TRANSLATIONS["/v1/messages", "/v1/chat/completions"]
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def answer(message: dict[str, Any], finish: str = "stop") -> Message:
    """Of this message, as Anthropic's library reads it."""
    body = {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
    }
    return Message.model_validate_json(PAIR.answer(msgspec.json.encode(body)))


def test_a_whole_answer() -> None:
    """Text, calls with their input as an object, names, and usage as Anthropic counts it."""
    message = answer({"content": "Hello there", "tool_calls": [CALL]}, "tool_calls")
    text, used = message.content
    assert text.type == "text"
    assert text.text == "Hello there"
    assert used.type == "tool_use"
    assert (used.id, used.name, used.input) == ("c1", "f", {"a": [1]})
    assert (message.id, message.model, message.stop_reason) == ("chatcmpl-1", "gpt-x", "tool_use")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (12, 4, 5)
    assert (usage.model_extra or {})["cost"] == 0.25


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("something_new", "end_turn"),
    ],
)
def test_reasons_to_stop(finish: str, reason: str) -> None:
    """Each has its counterpart; one that is new reads as an end."""
    assert answer({"content": "x"}, finish).stop_reason == reason


@pytest.mark.parametrize("arguments", ["[1]", "{", "7", "NaN"])
def test_arguments_that_are_no_object_are_kept_as_text(arguments: str) -> None:
    """A model may write anything; nothing of it is lost."""
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    (used,) = answer({"content": None, "tool_calls": [call]}).content
    assert used.type == "tool_use"
    assert used.input == {"unparsed": arguments}


def streamed(pieces: list[bytes], *, complete: bool = True) -> bytes:
    """The client's bytes for the provider's in these pieces."""
    stream = PAIR.stream(parsed({"model": "m", "stream": True}))
    return b"".join(map(stream.feed, pieces)) + stream.finish(b"", complete=complete)


def events(out: bytes) -> list[Any]:
    """As Anthropic's library reads them."""
    found = []
    for each in out.split(b"\n\n")[:-1]:
        name, data = each.split(b"\n", 1)
        event = EVENT.validate_json(data.removeprefix(b"data: "))
        assert name == f"event: {event.type}".encode()
        found.append(event)
    return found


def test_a_stream_says_what_the_whole_answer_does() -> None:
    """Blocks one after another, each begun and ended; usage and the reason in the last but one."""
    found = events(streamed([STREAM]))
    kinds = [each.type.removeprefix("content_block_") for each in found]
    assert kinds == [
        *("message_start", "start", "delta", "delta", "stop"),
        *("start", "delta", "delta", "stop", "start", "delta", "stop"),
        *("message_delta", "message_stop"),
    ]
    deltas = [each for each in found if each.type == "content_block_delta"]
    assert "".join(each.delta.text for each in deltas if each.index == 0) == "Hello there"
    assert "".join(each.delta.partial_json for each in deltas if each.index == 1) == '{"a":[1]}'
    starts = [each.content_block for each in found if each.type == "content_block_start"]
    assert [(each.id, each.name) for each in starts[1:]] == [("c1", "f"), ("c2", "g")]
    last = found[-2]
    assert last.delta.stop_reason == "tool_use"
    assert (last.usage.input_tokens, last.usage.output_tokens) == (12, 5)
    assert (found[0].message.id, found[0].message.model) == ("chatcmpl-1", "gpt-x")


def test_calls_without_an_index_are_told_apart() -> None:
    """By their ids; a piece without one belongs to the last."""
    chunks = [
        chunk(piece(None, '{"a"', id="c1", function={"name": "f"})),
        chunk(piece(None, ":1}")),
        chunk(piece(None, "{}", id="c2", function={"name": "g"})),
    ]
    found = [each for each in events(streamed([written(chunks)])) if hasattr(each, "index")]
    deltas = [each for each in found if each.type == "content_block_delta"]
    assert [(each.index, each.delta.partial_json) for each in deltas] == [
        (0, '{"a"'),
        (0, ":1}"),
        (1, "{}"),
    ]


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
    assert b"message_stop" not in out
    assert events(out)[0].type == "message_start"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b"\xff", b"[" * 10**5])
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
    assert (found[0].type, found[-1].type) == ("message_start", "message_stop")
