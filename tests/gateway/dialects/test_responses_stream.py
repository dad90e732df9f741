"""The stream reader alone: nothing that a provider sends may make it slow, wrong or silent."""

import json
import time

import pytest

from gateway.dialects.responses_stream import ResponsesStreamReader, streamed_tokens_max
from tests.gateway.provider_responses import (
    TEXT,
    call_events,
    call_item,
    event,
    first_events,
    last_event,
    message_item,
    response_text,
    search_item,
    usage_text,
    word_events,
)

WHOLE = response_text([message_item()], usage_text(11, 7))
LAST = last_event("response.completed", WHOLE)
STREAM = b"".join((*first_events(), *word_events(), LAST))
FAILURE = {"code": "server_error", "message": "no"}


def read(stream: bytes, size: int | None = None) -> tuple[ResponsesStreamReader, bytes]:
    """A reader that has read it all in pieces of this size, and what it passed on."""
    reader = ResponsesStreamReader("openai")
    size = size or len(stream)
    passed = b"".join(reader.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    reader.end()
    return reader, passed


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_same_comes_out_wherever_the_bytes_are_cut(line_end: bytes) -> None:
    """A stream cut at every byte, with any line ends, comes out byte by byte as it was."""
    stream = STREAM.replace(b"\n", line_end)
    for size in (1, 2, 3, 5, 7, 1_000, len(stream)):
        reader, passed = read(stream, size)
        assert passed + reader.finish(None) == stream
        assert reader.complete
        assert reader.usage_is_final
        assert reader.usage.meters is not None
        assert reader.usage.meters.total_tokens == 18
        assert reader.usage.model_served == "served-model"
        assert reader.usage.finish_reason == "completed"


def test_torn_at_every_byte_it_is_complete_only_with_its_end() -> None:
    """However much of a stream came, only its last event makes it whole."""
    text_end = len(STREAM) - 2  # the empty line may be missing
    for end in range(len(STREAM)):
        reader, passed = read(STREAM[:end], 4_096)
        assert reader.complete == (end >= text_end)
        assert STREAM.startswith(passed)


def test_the_cost_is_in_the_usage_of_the_last_event() -> None:
    """It is JSON as before, but for one field; decoys of the usage are left alone."""
    decoy = response_text([message_item("x")], usage_text(11, 7), instructions='"usage": {}')
    reader, passed = read(b"".join((*word_events(), last_event("response.completed", decoy))))
    last = reader.finish("0.000025")
    payload = json.loads(last.partition(b"data: ")[2])
    assert payload["response"]["usage"]["cost"] == 0.000025
    del payload["response"]["usage"]["cost"]
    assert payload["response"] == json.loads(decoy)
    assert b"cost" not in passed


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_each_last_event_ends_the_stream_with_its_usage(kind: str) -> None:
    """An incomplete or failed response that says its usage is charged by it."""
    whole = response_text(
        [message_item()],
        usage_text(3, 4),
        kind.removeprefix("response."),
        incomplete_details={"reason": "max_output_tokens"} if "incomplete" in kind else None,
        error=FAILURE if "failed" in kind else None,
    )
    reader, _ = read(b"".join((*first_events(), *word_events(), last_event(kind, whole))))
    assert reader.complete
    assert reader.usage.meters is not None
    assert not reader.usage.is_error
    expected = "max_output_tokens" if "incomplete" in kind else kind.removeprefix("response.")
    assert reader.usage.finish_reason == expected


@pytest.mark.parametrize(
    "error",
    [
        last_event("response.failed", response_text([], None, "failed", error=FAILURE)),
        event("error", 2, {"code": "x", "message": "no", "param": None}),
        event("error", 2, {"error": FAILURE}),
        b'data: {"error": {"message": "no"}}\n\n',
    ],
)
def test_an_error_before_any_output_is_the_providers_own(error: bytes) -> None:
    """It costs nothing; the same after output says nothing of what that cost."""
    reader, passed = read(b"".join((*first_events(), error)))
    assert reader.usage.is_error
    assert reader.complete
    assert passed + reader.finish("1") == b"".join((*first_events(), error))
    if b'"type"' in error:
        reader, _ = read(b"".join((*first_events(), *word_events(), error)))
        assert not reader.usage.is_error
        assert reader.usage.meters is None
        assert reader.complete
        assert not reader.usage_is_final


def test_searches_are_counted_in_the_items_of_the_answer() -> None:
    """The usage does not count them; the fee needs them."""
    whole = response_text([search_item(), search_item(), message_item()], usage_text(11, 7))
    reader, _ = read(last_event("response.completed", whole))
    assert reader.usage.meters is not None
    assert reader.usage.meters.search_calls == 2


def test_a_shell_of_the_clients_bills_no_container() -> None:
    """The provider runs none for this gateway: its price needs no fee for it, beside searches or
    not."""
    shell = {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
    for items in ([shell], [shell, search_item()]):
        whole = response_text(items, usage_text(11, 7))
        reader, _ = read(last_event("response.completed", whole))
        assert reader.usage.meters is not None
        assert reader.usage.meters.tool_calls == 0
        assert reader.usage.meters.search_calls == len(items) - 1


def test_nonsense_passes_and_ends_nothing() -> None:
    """Comments, other fields, bad UTF-8, no JSON, arrays, a usage that cannot be."""
    for odd in (
        b": ping\n\n",
        b"retry: 5\n\n",
        b"data: \xff\xfe\n\n",
        b"data: nope\n\n",
        b"data: []\n\n",
        b'data: {"type": 5}\n\n',
        b'data: {"type": "response.completed"\n\n',
        b"\n\n",
    ):
        reader, passed = read(odd + STREAM, 11)
        assert passed + reader.finish(None) == odd + STREAM
        assert reader.complete
    for bad in (b'{"input_tokens": -1, "output_tokens": 1}', b'{"input_tokens": "x"}', b"[]"):
        reader, _ = read(last_event("response.completed", response_text([], bad)))
        assert reader.complete
        assert reader.usage.meters is None


def test_an_event_without_end_is_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that never ends its event costs time in proportion to its bytes, and memory up to
    a named bound."""
    bytes_max = 2**20
    monkeypatch.setattr(ResponsesStreamReader, "event_bytes_max", bytes_max)
    piece = b"x" * 1_024
    reader = ResponsesStreamReader("openai")
    began = time.process_time()
    passed = sum(len(reader.feed(piece)) for _ in range(4 * 1_024))
    assert time.process_time() - began < 2.0
    assert passed >= 4 * 1_024 * 1_024 - bytes_max - len(piece)


def test_what_was_streamed_is_bounded_once() -> None:
    """Deltas and the whole text that repeats them count once, by the larger; items add up."""
    text_bytes = len(TEXT.encode())
    words = b"".join(first_events() + word_events())
    assert text_bytes <= streamed_tokens_max(words) <= text_bytes + 16
    only_pieces = b"".join(each for each in word_events() if b".delta" in each)
    assert streamed_tokens_max(only_pieces) == text_bytes
    only_whole = word_events()[-1]
    assert streamed_tokens_max(only_whole) >= text_bytes
    calls = b"".join(call_events())
    assert streamed_tokens_max(calls) >= len(call_item()["arguments"])
    moved = calls.replace(b'"output_index": 0', b'"output_index": 1')
    assert streamed_tokens_max(words + moved) == streamed_tokens_max(words) + streamed_tokens_max(
        calls
    )
    assert streamed_tokens_max(b"data: \xff\xff\n\n") > 0
    assert streamed_tokens_max(b'data: ["abc"]\n\n') == 3
    assert streamed_tokens_max(event("response.something.new", 3, {"said": "hello"})) == 5
