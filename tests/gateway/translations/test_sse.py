"""What a translation reads of a stream is the same wherever the stream is cut, and costs time in
proportion to its bytes, whatever a provider sends."""

import time

import pytest

from gateway.dialects import CHAT
from gateway.dialects.contract import StreamReader
from gateway.translations import TRANSLATIONS, TranslatedDialect
from gateway.translations.sse import EVENT_BYTES_MAX, Events
from tests.gateway.translations.samples import parsed

STREAM = b'data: {"a":1}\n\n: ping\n\nevent: b\ndata: {"b":\ndata: 2}\n\ndata: [3]\n\ndata: {"c":3}'
FOUND = [{"a": 1}, {"b": 2}]
PIECE = b"x" * 1024


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_same_events_wherever_the_bytes_are_cut(line_end: bytes) -> None:
    """Objects of whole events alone, with any line ends."""
    stream = STREAM.replace(b"\n", line_end)
    for size in (1, 2, 3, 5, 7, len(stream)):
        events = Events()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [each for piece in pieces for each in events.feed(piece)] == FOUND
        assert events.feed(b"") == []
        assert events.feed(line_end * 2) == [{"c": 3}]


def test_an_event_without_end_is_linear_work() -> None:
    """Each byte is searched once, not once for each piece behind it (8 MiB took a minute)."""
    events = Events()
    began = time.process_time()
    for _ in range(EVENT_BYTES_MAX // len(PIECE)):
        assert events.feed(PIECE) == []
    assert time.process_time() - began < 2.0


def test_an_event_beyond_all_bounds_is_left_out() -> None:
    """It is not kept, and what comes behind it is read."""
    events = Events()
    assert events.feed(b'data: {"a":"') == []
    for _ in range(EVENT_BYTES_MAX // len(PIECE) + 1):
        assert events.feed(PIECE) == []
    assert events.feed(b'"}\n\ndata: {"b":2}\n\n') == [{"b": 2}]


@pytest.mark.parametrize("client", ["/v1/messages", "/v1/responses"])
def test_a_translated_event_without_end_is_linear_work(client: str) -> None:
    """Also behind the reader of the provider's stream, which holds an event back by megabytes."""
    call = parsed({"model": "gpt", "stream": True})
    dialect = TranslatedDialect(CHAT, CHAT, TRANSLATIONS[client, CHAT.endpoint])
    reader: StreamReader = dialect.stream_reader(call, "")
    began = time.process_time()
    for _ in range(EVENT_BYTES_MAX // len(PIECE)):
        assert reader.feed(PIECE) == b""
    assert time.process_time() - began < 2.0
