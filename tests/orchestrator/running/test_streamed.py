"""However a completion is cut into pieces, it is the same answer as when it comes whole; what broke
off, or is none, fails and may be tried again."""

from typing import Any

import pytest

from orchestrator.kinds.contract import StepFailed
from orchestrator.running import streamed
from orchestrator.running.streamed import Completion
from tests.gateway.behaviours import DONE, WORDS, chunk_event, usage_event, usage_text, word_events

WHOLE = b"".join((*word_events(), usage_event(usage_text(11, 7)), DONE))


def read(data: bytes, size: int = 0) -> tuple[str, dict[str, Any]]:
    """What was said while it came, in pieces of so many bytes, and the answer."""
    completion, size = Completion(), size or len(data)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    said = "".join(completion.feed(each) for each in pieces)
    return said, completion.body()


def message(data: bytes) -> Any:
    """Of the answer."""
    return read(data)[1]["choices"][0]["message"]


@pytest.mark.parametrize("size", [1, 2, 7, 100, len(WHOLE)])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_pieces_of_any_size_are_one_answer(size: int, ends: bytes) -> None:
    """With either end of line; the text of it is said on the way."""
    said, body = read(WHOLE.replace(b"\n", ends), size)
    assert said == "".join(WORDS)
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    ]
    assert body["usage"]["completion_tokens"] == 7


def test_what_is_no_text_is_told_as_in_a_whole_answer() -> None:
    """A refusal, text in parts, half a surrogate pair, comments, other choices, no empty line at
    the end."""
    assert message(chunk_event({"refusal": "no"}) + DONE)["refusal"] == "no"
    parts = {"content": [{"type": "thinking"}, {"type": "text", "text": "a"}, "x"]}
    assert message(chunk_event(parts) + DONE)["content"] == "a"
    half = rb'data: {"choices": [{"index": 0, "delta": {"content": "a\ud83d"}}]}' + b"\n\n"
    assert message(b": still here\n\nevent: x\n" + half + DONE)["content"] == "a?"
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n'
    assert message(other + chunk_event({"content": "y"}) + b"data: [DONE]")["content"] == "y"
    assert read(chunk_event({}, "length") + DONE)[1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WHOLE.removesuffix(DONE), "broke off before its end"),
        (WHOLE[:-40], "broke off before its end"),
        (b'data: {"error": {"message": "was frozen"}}\n\n' + DONE, "broke off: was frozen"),
        (b'data: {"error": "overloaded"}\n\n', "broke off: overloaded"),
        (b"data: <html>\n\n", "no chat completion: <html>"),
        (b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "no chat completion"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "no chat completion"),
    ],
)
def test_what_is_not_whole_fails(data: bytes, words: str) -> None:
    """Not for good."""
    with pytest.raises(StepFailed, match=words) as failed:
        read(data)
    assert not failed.value.is_final


@pytest.mark.parametrize(
    ("bound", "size"), [("EVENT_BYTES_MAX", 10), ("STREAM_BYTES_MAX", 10), ("TEXT_CHARS_MAX", 3)]
)
def test_a_stream_is_bounded(monkeypatch: pytest.MonkeyPatch, bound: str, size: int) -> None:
    """In all, in each event, and in its text."""
    monkeypatch.setattr(streamed, bound, size)
    with pytest.raises(StepFailed, match=f"more than {size} "):
        Completion().feed(chunk_event({"content": "four"}))
