"""What a provider says was used, and whether its answer is whole, is read out of its bytes however
they are cut, and never out of what somebody else would make of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translator import wires
from translator.answers import EVENT_BYTES_MAX, Answer
from translator.shapes import SHAPES, anthropic, cohere, converse, google, openai

SSE = "text/event-stream"
JSON = "application/json"
AMAZON = "application/vnd.amazon.eventstream"
STREAMS = [
    (google.SHAPE, SSE, wires.gemini()(True), "totalTokenCount"),
    (openai.SHAPE, SSE, wires.mistral()(True), "total_tokens"),
    (converse.SHAPE, AMAZON, wires.converse()(True), "totalTokens"),
    (cohere.SHAPE, "application/stream+json", wires.cohere()(True), "billed_units"),
]


def begun(shape: Any, content_type: str, *, streamed: bool, status: int = 200) -> Answer:
    """An answer whose head has come."""
    answer = Answer(shape, streamed=streamed)
    answer.begin(status, {"content-type": content_type})
    return answer


@given(st.sampled_from(STREAMS), st.data())
def test_a_stream_in_any_pieces(stream: Any, data: st.DataObject) -> None:
    """The usage is there at the end, and so is the end; without its last piece it is not whole."""
    shape, content_type, pieces, key = stream
    whole = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=10).map(sorted))
    answer = begun(shape, content_type, streamed=True)
    at = 0
    for cut in [*cuts, len(whole)]:
        answer.feed(whole[at:cut])
        at = cut
    answer.end()
    assert answer.complete
    assert key in answer.usage
    cut_off = begun(shape, content_type, streamed=True)
    cut_off.feed(b"".join(pieces[:-2]))
    cut_off.end()
    assert (cut_off.complete, cut_off.usage) == (False, {})


@pytest.mark.parametrize(("shape", "pieces"), [(each[0], each[2]) for each in STREAMS])
def test_crlf_and_comments_change_nothing(shape: Any, pieces: list[bytes]) -> None:
    """Of server-sent events."""
    answer = begun(shape, SSE, streamed=True)
    for piece in pieces:
        answer.feed(b": a comment\r\n\r\n" + piece.replace(b"\n", b"\r\n"))
    answer.end()
    assert answer.complete == (shape in (google.SHAPE, openai.SHAPE))


def test_anthropics_counters_come_in_two_events() -> None:
    """Input at the start, output at the end; later ones win."""
    answer = begun(anthropic.SHAPE, SSE, streamed=True)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    for event in (
        start,
        {"type": "message_delta", "usage": {"output_tokens": 7, "input_tokens": None}},
    ):
        answer.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert (answer.usage, answer.complete) == ({"input_tokens": 9, "output_tokens": 7}, False)
    for end in ({"type": "message_stop"}, {"type": "message_delta", "delta": {"stop_reason": "x"}}):
        answer = begun(anthropic.SHAPE, SSE, streamed=True)
        answer.feed(b"event: x\ndata: " + json.dumps(end).encode() + b"\n\n")
        assert answer.complete


@pytest.mark.parametrize(("shape", "content_type", "pieces", "key"), STREAMS)
def test_a_reader_that_stops_at_the_last_event(
    shape: Any, content_type: str, pieces: list[bytes], key: str
) -> None:
    """Does not wait for the empty line behind it."""
    answer = begun(shape, content_type, streamed=True)
    answer.feed(b"".join(pieces).rstrip(b"\n"))
    answer.flush()
    assert (answer.complete, key in answer.usage) == (True, True)


def test_a_whole_answer() -> None:
    """Is whole when its body has ended, and not before."""
    answer = begun(google.SHAPE, JSON, streamed=False)
    answer.feed(wires.gemini()(False)[0])
    assert answer.usage == {}
    answer.end()
    assert answer.complete
    assert answer.usage["totalTokenCount"] == 23
    cut_off = begun(google.SHAPE, JSON, streamed=False)
    cut_off.feed(wires.gemini()(False)[0])
    cut_off.flush()
    assert not cut_off.complete


def test_a_packed_answer_says_nothing() -> None:
    """It was asked for unpacked: what came is not read, and so is never whole."""
    answer = Answer(google.SHAPE, streamed=False)
    answer.begin(200, {"content-type": JSON, "content-encoding": "gzip"})
    answer.feed(wires.gemini()(False)[0])
    answer.end()
    assert (answer.complete, answer.usage) == (False, {})


@given(
    st.sampled_from(SHAPES),
    st.sampled_from([SSE, JSON, AMAZON, "", "text/plain"]),
    st.booleans(),
    st.lists(st.binary(max_size=60), max_size=8),
)
def test_no_bytes_break_it(
    shape: Any, content_type: str, streamed: bool, pieces: list[bytes]
) -> None:
    """Whatever a provider sends."""
    answer = begun(shape, content_type, streamed=streamed)
    for piece in pieces:
        answer.feed(piece)
    answer.end()
    assert isinstance(answer.usage, dict)


@given(
    st.sampled_from(SHAPES),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(
                st.sampled_from(
                    ["usage", "usageMetadata", "candidates", "choices", "delta", "message", "type"]
                ),
                inner,
            ),
        ),
    ),
)
def test_no_document_breaks_it(shape: Any, document: Any) -> None:
    """Every field of every type."""
    answer = begun(shape, SSE, streamed=True)
    answer.feed(b"data: " + json.dumps(document).encode() + b"\n\n")
    answer.end()
    assert isinstance(answer.usage, dict)


@pytest.mark.parametrize("content_type", [SSE, AMAZON, "text/plain"])
def test_an_event_without_an_end_does_not_fill_the_memory(content_type: str) -> None:
    """It is dropped, and what follows is not whole."""
    answer = begun(google.SHAPE, content_type, streamed=True)
    piece = b"\x00\x00\x00\xff" if content_type == AMAZON else b"data"
    for _ in range(5):
        answer.feed(piece * (EVENT_BYTES_MAX // 8))
    held = vars(answer._splitter) if hasattr(answer._splitter, "__dict__") else {}
    assert sum(len(each) for each in held.values() if hasattr(each, "__len__")) <= EVENT_BYTES_MAX
    answer.end()
    assert not answer.complete
