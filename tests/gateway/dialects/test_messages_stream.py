"""The reader of streamed messages alone: nothing that a provider sends may make it slow, wrong or
silent."""

import json
import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.dialects import MESSAGES
from gateway.dialects.event_stream import EVENT_BYTES_MAX
from gateway.dialects.messages_stream import MessagesStreamReader
from tests.gateway.messages_provider import (
    OVERLOADED,
    PING,
    end,
    event,
    start,
    text_block,
    tool_block,
)

STREAM = b"".join([start(), PING, *text_block(), *tool_block(), *end()])
PRICED = STREAM.replace(
    b'"usage": {"output_tokens": 7}', b'"usage": {"cost":0.1,"output_tokens": 7}'
)
COMMENT = b": keep-alive\n\n"


def read(stream: bytes, size: int) -> tuple[MessagesStreamReader, bytes]:
    """The reader at its end, and what it has passed on before that."""
    reader = MessagesStreamReader("anthropic")
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    return reader, passed


def meters(reader: MessagesStreamReader) -> tuple[int, int]:
    """Input and output tokens."""
    assert reader.usage.meters is not None
    return reader.usage.meters.input_tokens, reader.usage.meters.output_tokens


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, len(STREAM)])
def test_the_same_comes_out_wherever_the_bytes_are_cut(size: int, line_end: bytes) -> None:
    """A stream cut at every byte, with any line ends and comments in it, gives the same bytes, the
    cost in its last usage, and the same usage: input of its beginning, output of its end."""
    stream = (COMMENT + STREAM).replace(b"\n", line_end)
    reader, passed = read(stream, size)
    assert passed + reader.finish("0.1") == (COMMENT + PRICED).replace(b"\n", line_end)
    assert reader.complete
    assert reader.usage_is_final
    assert meters(reader) == (11, 7)
    assert (reader.usage.model_served, reader.usage.finish_reason) == ("served-model", "end_turn")


def test_output_is_passed_on_at_once_and_only_the_end_is_held() -> None:
    """What a client waits for leaves with the chunk that brought it."""
    reader = MessagesStreamReader("anthropic")
    for each in [start(), PING, *text_block(), *tool_block()]:
        assert reader.feed(each) == each
    assert b"".join(reader.feed(each) for each in end()) == b""


@pytest.mark.parametrize("before", [[], [start()], [start(), PING]])
def test_an_error_before_any_output_is_the_provider_s(before: list[bytes]) -> None:
    """Nothing was produced: nothing is billed, and the client reads the error as it came."""
    stream = b"".join([*before, event(OVERLOADED)])
    reader, passed = read(stream, len(stream))
    assert reader.usage.is_error
    assert reader.usage.meters is None
    assert passed + reader.finish(None) == stream


def test_an_error_after_output_leaves_the_bill_open() -> None:
    """What was produced may be billed: that is no provider's error, and no usage."""
    reader, _ = read(b"".join([start(), *text_block(), event(OVERLOADED)]), 10**6)
    assert reader.complete
    assert not reader.usage.is_error
    assert reader.usage.meters is None


def test_an_error_after_the_last_usage_takes_nothing_back() -> None:
    """The provider has said what it bills."""
    reader, _ = read(b"".join([start(), *text_block(), end()[0], event(OVERLOADED)]), 10**6)
    assert meters(reader) == (11, 7)


def test_counts_are_cumulative_and_the_last_one_holds() -> None:
    """A count so far is passed on; a later one replaces it, and brings input of its own."""
    so_far = {
        "type": "message_delta",
        "delta": {"stop_reason": None},
        "usage": {"output_tokens": 3},
    }
    last = {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens"},
        "usage": {"output_tokens": 9, "input_tokens": 40, "cache_read_input_tokens": None},
    }
    stream = b"".join([start(), *text_block(), event(so_far), event(last), end()[1]])
    reader, passed = read(stream, len(stream))
    assert event(so_far) in passed
    assert event(last) not in passed
    assert meters(reader) == (40, 9)


@pytest.mark.parametrize("usage", [b'"many"', b"7", b"[]", b'{"output_tokens": -1}', b"{}"])
def test_a_usage_that_cannot_be_is_none(usage: bytes) -> None:
    """Whatever stands in its place, the answer is passed on as it came."""
    stream = start().replace(b'"usage": {', b'"usage_": {') + b"".join(end())
    stream = stream.replace(b'{"output_tokens": 7}', usage)
    reader, passed = read(stream, len(stream))
    assert passed + reader.finish(None) == stream
    assert reader.usage.meters is None


@pytest.mark.parametrize("kept", [b"", b"\n", b"\n\n"])
def test_a_last_event_may_lack_its_empty_line(kept: bytes) -> None:
    """The end mark counts; half an event does not, and is dropped."""
    reader, passed = read(STREAM.rstrip(b"\n") + kept, 10**6)
    assert reader.complete
    assert (passed + reader.finish(None)).rstrip(b"\n") == STREAM.rstrip(b"\n")
    half, _ = read(STREAM[: STREAM.rindex(b"message_stop") + 5], 10**6)
    assert not half.complete


def test_bad_bytes_are_passed_on() -> None:
    """Bytes that are no UTF-8, and events that are no JSON, are the client's to judge."""
    odd = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":"\xff"}\n\n'
    stream = b"".join([start(), *text_block(), odd, b"data: {\n\n", *end()])
    reader, passed = read(stream, len(stream))
    assert passed + reader.finish(None) == stream
    assert meters(reader) == (11, 7)


def test_an_event_without_end_is_linear_work() -> None:
    """A provider that never ends its event costs time in proportion to its bytes, and memory up to
    a named bound."""
    piece = b"x" * 1024
    reader = MessagesStreamReader("anthropic")
    began = time.process_time()
    passed = sum(len(reader.feed(piece)) for _ in range(4 * 1024))
    assert time.process_time() - began < 2.0
    assert passed >= 4 * 1024 * 1024 - EVENT_BYTES_MAX - len(piece)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_come_out_as_they_went_in(noise: bytes, size: int) -> None:
    """But for the half event at the end, which is dropped or made whole."""
    stream = start() + noise
    reader, passed = read(stream, size)
    whole = passed + reader.finish(None)
    kept = whole[: len(stream)]
    assert stream.startswith(kept) or whole.startswith(stream[: stream.rfind(b"\n\n") + 2])


def test_every_text_that_is_produced_bounds_the_output() -> None:
    """Texts, thinking, arguments and names count their bytes; what is no output counts nothing."""
    texts = ["Hello", " thére", "let me think", '{"a": 1}', "weather"]
    events = [
        start(),
        PING,
        *(
            event({"type": "content_block_delta", "index": 0, "delta": {"type": "", key: text}})
            for key, text in zip(("text", "text", "thinking", "partial_json"), texts, strict=False)
        ),
        event({"type": "content_block_start", "content_block": {"name": texts[-1]}}),
        *end(),
    ]
    least = sum(len(text.encode()) for text in texts)
    counted = MESSAGES.streamed_tokens_max(b"".join(events))
    assert least <= counted <= least + 64
    torn = b"".join(events)[:-30] + json.dumps("x" * 50).encode()
    assert MESSAGES.streamed_tokens_max(torn) >= 50
