"""A chat completion that comes in pieces: server-sent events in, the whole answer out. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.kinds.contract import StepFailed

EVENT_BYTES_MAX = 2**20
TEXT_CHARS_MAX = 16 * 2**20
STREAM_BYTES_MAX = 256 * 2**20
"""With all that stands around the text: some hundred bytes for each word."""
SHOWN_CHARS_MAX = 300
ASKS: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_DONE = b"[DONE]"


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Completion:
    """Put together as its events come. Nothing but the first choice is looked at."""

    def __init__(self) -> None:
        self._begun = b""
        self._data: list[bytes] = []
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._ended: str | None = None
        self._usage: Any = None
        self._chars = 0
        self._bytes = 0
        self._event_bytes = 0
        self._is_whole = False

    def feed(self, data: bytes) -> str:
        """The text in the next bytes. Raises StepFailed for an error among them, for what is no
        completion, and for too much of it."""
        self._bytes += len(data)
        if self._bytes > STREAM_BYTES_MAX:
            raise StepFailed(f"the answer has more than {STREAM_BYTES_MAX} bytes: ask for less")
        had = len(self._texts)
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._take(line.removesuffix(b"\r"))
        self._bound(len(self._begun))
        return "".join(self._texts[had:])

    def body(self) -> dict[str, Any]:
        """As the same completion is when it comes whole. Raises StepFailed where it broke off."""
        rest = b"\n".join((*self._data, self._begun.removeprefix(b"data:"))).strip()
        if not self._is_whole and rest != _DONE:  # which may lack its empty line
            raise StepFailed("the answer broke off before its end")
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts)}
        if self._refusals:
            message["refusal"] = "".join(self._refusals)
        choice = {"index": 0, "message": message, "finish_reason": self._ended}
        return {"object": "chat.completion", "choices": [choice], "usage": self._usage}

    def _take(self, line: bytes) -> None:
        """One line: of an event, or the empty one at its end. Comments and names are nothing."""
        if line.startswith(b"data:"):
            self._data.append(line[5:])
            self._event_bytes += len(line)
            self._bound()
        elif not line and self._data:
            payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            self._data, self._event_bytes = [], 0
            self._event(payload.strip())

    def _bound(self, begun_bytes: int = 0) -> None:
        if self._event_bytes + begun_bytes > EVENT_BYTES_MAX:
            raise StepFailed(f"an event of the answer has more than {EVENT_BYTES_MAX} bytes")

    def _event(self, payload: bytes) -> None:
        if payload == _DONE:
            self._is_whole = True
        elif payload and not self._is_whole:
            self._add(_read(payload))

    def _add(self, chunk: _Chunk) -> None:
        if chunk.error is not None:
            raise StepFailed(f"the answer broke off: {_said(chunk.error)}")
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            if choice.finish_reason is not None:
                self._ended = choice.finish_reason
            if choice.delta is not None:
                self._say(choice.delta)

    def _say(self, delta: _Delta) -> None:
        text = delta.content
        if isinstance(text, list):  # in parts, as some providers answer
            text = "".join(str(each.get("text", "")) for each in text if isinstance(each, dict))
        for said, kept in ((text, self._texts), (delta.refusal, self._refusals)):
            if said:
                kept.append(said)
                self._chars += len(said)
        if self._chars > TEXT_CHARS_MAX:
            raise StepFailed(f"the answer has more than {TEXT_CHARS_MAX} characters: ask for less")


def _read(payload: bytes) -> _Chunk:
    """Raises StepFailed."""
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # half a surrogate pair, which JSON may have
        text = json.dumps(json.loads(payload), ensure_ascii=False)
        return _decode(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.DecodeError):
        shown = payload[:SHOWN_CHARS_MAX].decode("utf-8", "replace")
        raise StepFailed(f"the answer has an event that is no chat completion: {shown}") from None


def _said(error: Any) -> str:
    """Of `{message, type, code}`, or whatever it is."""
    message = error.get("message") if isinstance(error, Mapping) else error
    return str(message or error)[:SHOWN_CHARS_MAX]
