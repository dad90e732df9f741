"""A streamed chat completion as the events of a response ("Streaming events" of the API reference).

Items come one after another: each is announced, grows, and is repeated whole at its end, and all of
them stand in the last event once more. So the text is kept here, up to a bound.
"""

from typing import Any

from gateway.translations.responses_shapes import (
    call_item,
    ended,
    item_id,
    message_item,
    response,
    text_part,
    usage_shown,
)
from gateway.translations.shapes import as_object, as_objects
from gateway.translations.sse import Events, named_event
from gateway.upstream import UpstreamUnknown

KEPT_CHARS_MAX = 32 * 1024 * 1024


class ResponsesStream:
    """See StreamTranslation."""

    def __init__(self) -> None:
        self._events = Events()
        self._head: dict[str, Any] = {}
        self._number = 0
        self._kept_chars = 0
        self._output: list[dict[str, Any]] = []
        self._text: list[str] | None = None  # pieces of the message that grows
        self._call: dict[str, Any] | None = None  # the call that grows
        self._call_key: object = None
        self._arguments: list[str] = []
        self._reason: object = None
        self._usage: dict[str, Any] = {}

    def feed(self, events: bytes) -> bytes:
        """See StreamTranslation. Raises UpstreamUnknown for an answer beyond all bounds."""
        return b"".join(map(self._chunk, self._events.feed(events)))

    def finish(self, events: bytes, *, complete: bool) -> bytes:
        """See StreamTranslation."""
        last = self.feed(events)
        if not complete:
            return last
        last += self._begin({}) + self._end_item()
        whole = self._head | ended(self._reason, self._output, usage_shown(self._usage))
        return last + self._event(f"response.{whole['status']}", response=whole)

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        self._usage = as_object(chunk.get("usage")) or self._usage
        out = self._begin(chunk)
        for choice in as_objects(chunk.get("choices"))[:1]:
            delta = as_object(choice.get("delta"))
            for name in ("content", "refusal"):
                if isinstance(delta.get(name), str) and delta[name]:
                    out += self._add_text(delta[name])
            for call in as_objects(delta.get("tool_calls")):
                out += self._add_call(call)
            self._reason = choice.get("finish_reason") or self._reason
        return out

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return named_event({"type": kind, "sequence_number": self._number - 1, **fields})

    def _begin(self, chunk: dict[str, Any]) -> bytes:
        if self._head:
            return b""
        self._head = response(chunk)
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._event(kind, response=self._head) for kind in kinds)

    def _keep(self, text: str) -> None:
        self._kept_chars += len(text)
        if self._kept_chars > KEPT_CHARS_MAX:
            raise UpstreamUnknown("the answer is longer than is kept", bytes_received=True)

    @property
    def _item_id(self) -> str:
        return item_id({"id": self._head["id"].removeprefix("resp_")}, len(self._output))

    def _at(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": len(self._output)}

    def _add_text(self, text: str) -> bytes:
        self._keep(text)
        out = b""
        if self._text is None:
            out = self._end_item()
            self._text = []
            item = message_item(self._item_id, [], "in_progress")
            out += self._event(
                "response.output_item.added", output_index=len(self._output), item=item
            )
            out += self._event(
                "response.content_part.added", **self._at(), content_index=0, part=text_part("")
            )
        self._text.append(text)
        return out + self._event(
            "response.output_text.delta", **self._at(), content_index=0, delta=text, logprobs=[]
        )

    def _add_call(self, call: dict[str, Any]) -> bytes:
        """A piece of a call: those of one have one index, or at least its id stands at the start
        only."""
        key = call.get("index")
        if not isinstance(key, int):
            key = call.get("id") or self._call_key
        out = b""
        if self._call is None or key != self._call_key:
            out = self._end_item()
            self._call, self._call_key, self._arguments = call, key, []
            item = call_item(self._item_id, _without_words(call), "in_progress")
            out += self._event(
                "response.output_item.added", output_index=len(self._output), item=item
            )
        words = _words(call)
        if words:
            self._keep(words)
            self._arguments.append(words)
            out += self._event(f"{_kind(self._call)}.delta", **self._at(), delta=words)
        return out

    def _end_item(self) -> bytes:
        if self._text is not None:
            return self._end_text("".join(self._text))
        return b"" if self._call is None else self._end_call(self._call, "".join(self._arguments))

    def _end_text(self, text: str) -> bytes:
        self._text = None
        at, part = {**self._at(), "content_index": 0}, text_part(text)
        out = self._event("response.output_text.done", **at, text=text, logprobs=[])
        out += self._event("response.content_part.done", **at, part=part)
        return out + self._end(message_item(self._item_id, [part]))

    def _end_call(self, call: dict[str, Any], words: str) -> bytes:
        self._call = self._call_key = None
        item = call_item(self._item_id, call)
        name = "input" if item["type"] == "custom_tool_call" else "arguments"
        item[name] = words
        return self._event(f"{_kind(call)}.done", **self._at(), **{name: words}) + self._end(item)

    def _end(self, item: dict[str, Any]) -> bytes:
        self._output.append(item)
        at = len(self._output) - 1
        return self._event("response.output_item.done", output_index=at, item=item)


def _kind(call: dict[str, Any]) -> str:
    if call.get("type") == "custom":
        return "response.custom_tool_call_input"
    return "response.function_call_arguments"


def _words(call: dict[str, Any]) -> str:
    """What a piece adds to the arguments, or to the input."""
    for inner, name in (("function", "arguments"), ("custom", "input")):
        words = as_object(call.get(inner)).get(name)
        if isinstance(words, str):
            return words
    return ""


def _without_words(call: dict[str, Any]) -> dict[str, Any]:
    inner = "custom" if call.get("type") == "custom" else "function"
    name = as_object(call.get(inner)).get("name")
    return {**call, inner: {"name": name}}
