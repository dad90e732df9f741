"""The splitting of recorded event streams, after WHATWG HTML 9.2."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.surfaces.sse import SseEvent, events, is_event_stream

STREAM = b"data: one\n\n: comment\n\nevent: x\ndata:two\ndata:  three\nid: 7\n\ndata: [DONE]\n\n"
EXPECTED = [SseEvent(b"one", True), SseEvent(b"two\n three", True), SseEvent(b"[DONE]", True)]
DATA = st.binary(min_size=1).filter(lambda data: not set(data) & set(b"\r\n"))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_every_line_ending_gives_the_same_events(line_end: bytes, bom: bytes) -> None:
    """LF, CRLF and CR, with a byte order mark or without, split into the same events."""
    assert list(events(bom + STREAM.replace(b"\n", line_end))) == EXPECTED


@given(parts=st.lists(st.lists(DATA, min_size=1, max_size=3), max_size=6))
def test_what_was_sent_comes_out(parts: list[list[bytes]]) -> None:
    """Any data lines written as the standard says come out as they went in."""
    body = b"".join(b"".join(b"data: %b\n" % line for line in lines) + b"\n" for lines in parts)
    assert [event.data for event in events(body)] == [b"\n".join(lines) for lines in parts]


@given(at=st.integers(0, len(STREAM)))
def test_a_cut_shows_on_the_last_event_only(at: int) -> None:
    """Wherever a stream is cut, its events are a prefix, and only the last can be half."""
    found = list(events(STREAM[:at]))
    assert found[:-1] == EXPECTED[: max(0, len(found) - 1)]
    if found and found[-1].whole:
        assert found[-1] == EXPECTED[len(found) - 1]
    elif found:
        assert EXPECTED[len(found) - 1].data.startswith(found[-1].data)


@pytest.mark.parametrize("body", [b"", b"\n\n\n", b": ping\n\n", b"event: x\n\n", b"data\n\n"])
def test_without_data_there_is_no_event(body: bytes) -> None:
    """Comments, empty lines and events without data are no events."""
    assert list(events(body)) == []


@pytest.mark.parametrize("body", [b"data: x", b": c", b"\n\nevent: e", b"id: 1", b"data\n", STREAM])
def test_a_stream_is_known_by_its_first_line(body: bytes) -> None:
    """A body that starts with a comment or a field of an event stream is one."""
    assert is_event_stream(body)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": 1}', b"<html>", b"dat", b"database: x"])
def test_other_bodies_are_no_stream(body: bytes) -> None:
    """JSON, HTML and half a word are not taken for event streams."""
    assert not is_event_stream(body)


@pytest.mark.parametrize("piece", [b"\n", b"\r\n", b"data:\n", b"data: x\n\n", b"x", b"data: y\n"])
def test_time_is_linear(piece: bytes) -> None:
    """Eight times the bytes take about eight times as long, also where no event ends."""

    def seconds(size_bytes: int) -> float:
        body = b"data: {\n" + piece * (size_bytes // len(piece))
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            for _ in events(body):
                pass
            best = min(best, time.process_time() - start)
        return best

    assert seconds(1 << 20) < 8 * 3 * seconds(1 << 17) + 0.001
