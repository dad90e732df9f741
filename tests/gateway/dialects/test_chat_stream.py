"""The stream reader alone: nothing that a provider sends may make it slow, wrong or silent."""

import time

from gateway.dialects.chat_stream import ChatStreamReader
from gateway.dialects.event_stream import EVENT_BYTES_MAX

USAGE = b'{"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[],"usage":' + USAGE + b"}\n\n"
DONE = b"data: [DONE]\n\n"


def test_the_same_comes_out_wherever_the_bytes_are_cut() -> None:
    """A stream cut at every byte, with any line ends, gives the same bytes and the same usage."""
    for line_end in (b"\n", b"\r\n"):
        stream = (WORD + LAST + DONE).replace(b"\n", line_end)
        for size in (1, 2, 3, 5, 7, len(stream)):
            reader = ChatStreamReader(wants_usage=False)
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            passed = b"".join(reader.feed(piece) for piece in pieces)
            reader.end()
            expected = (WORD + DONE).replace(b"\n", line_end)
            assert passed + reader.finish(None) == expected
            assert reader.complete
            assert reader.usage_is_final
            assert reader.usage.meters is not None
            assert reader.usage.meters.total_tokens == 18


def test_an_event_without_end_is_linear_work() -> None:
    """A provider that never ends its event costs time in proportion to its bytes (it was quadratic:
    four megabytes held a worker for minutes), and memory up to a named bound."""
    piece = b"x" * 1024
    reader = ChatStreamReader(wants_usage=False)
    began = time.process_time()
    passed = sum(len(reader.feed(piece)) for _ in range(4 * 1024))
    assert time.process_time() - began < 2.0
    assert passed >= 4 * 1024 * 1024 - EVENT_BYTES_MAX - len(piece)


def test_the_count_of_one_choice_is_not_that_of_all() -> None:
    """Of several choices one has ended and its count came with it (vLLM's continuous_usage_stats):
    a connection that breaks there has not said what is billed, and nothing is held back for it."""
    reader = ChatStreamReader(wants_usage=True, choices=2)
    ended = WORD.replace(b'"choices"', b'"usage":' + USAGE + b',"choices"')
    ended = ended.replace(b"null", b'"stop"')
    assert reader.feed(ended) == ended
    assert reader.feed(WORD) == WORD
    assert not reader.usage_is_final
    reader.feed(LAST)
    assert reader.usage_is_final


def test_a_count_so_far_is_not_the_usage() -> None:
    """Servers that count in every chunk have not said the whole before they finish."""
    reader = ChatStreamReader(wants_usage=True)
    running = WORD.replace(b'"choices"', b'"usage":' + USAGE + b',"choices"')
    assert reader.feed(running) == running
    assert not reader.usage_is_final
