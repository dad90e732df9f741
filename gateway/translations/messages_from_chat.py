"""Anthropic's Messages on chat completions: answers, whole and streamed.

Shapes are those of the two API references (OpenAI, "The chat completion object", "The chat
completion chunk object"; Anthropic, "Create a Message", "Streaming Messages"). Arguments of a tool
that are no JSON object stand in its input as `{"unparsed": text}`. What the model has thought is
left out: Anthropic's clients send thoughts back, and nobody could sign them.
"""

from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.errors import UpstreamFailed
from gateway.translations.messages_to_chat import chat_request
from gateway.translations.shapes import as_object, as_objects, count, decoded_object, error_message
from gateway.translations.sse import Events, named_event

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class MessagesOnChat:
    """See Translation."""

    endpoint = "/v1/messages"
    target = "/v1/chat/completions"

    def request(self, call: Call) -> bytes:
        """See Translation."""
        return chat_request(call)

    def answer(self, body: bytes) -> bytes:
        """See Translation."""
        completion = decoded_object(body)
        choices = as_objects(completion.get("choices"))
        if not choices:
            raise UpstreamFailed("the provider's answer is no chat completion")
        message = as_object(choices[0].get("message"))
        whole = _head(completion) | {
            "content": _content(message),
            "stop_reason": _stop(choices[0].get("finish_reason")),
            "usage": _usage(as_object(completion.get("usage"))),
        }
        return msgspec.json.encode(whole)

    def error_message(self, body: bytes) -> str:
        """See Translation."""
        return error_message(body)

    def stream(self, _call: Call) -> "MessagesStream":
        """See Translation."""
        return MessagesStream()


class MessagesStream:
    """See StreamTranslation. Blocks come one after another, as Anthropic's do."""

    def __init__(self) -> None:
        self._events = Events()
        self._begun = False
        self._at = -1
        self._open = False
        self._tools: dict[object, int] = {}
        self._stop: str | None = None
        self._usage: dict[str, Any] = {}

    def feed(self, events: bytes) -> bytes:
        """See StreamTranslation."""
        return b"".join(map(self._chunk, self._events.feed(events)))

    def finish(self, events: bytes, *, complete: bool) -> bytes:
        """See StreamTranslation."""
        last = self.feed(events)
        if not complete:
            return last
        delta = {"stop_reason": self._stop or "end_turn", "stop_sequence": None}
        usage = _usage(self._usage)
        last += self._begin({}) + self._end_block()
        last += named_event({"type": "message_delta", "delta": delta, "usage": usage})
        return last + named_event({"type": "message_stop"})

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        self._usage = as_object(chunk.get("usage")) or self._usage
        choices = as_objects(chunk.get("choices"))
        out = self._begin(chunk)
        if not choices:
            return out
        delta = as_object(choices[0].get("delta"))
        for name in ("content", "refusal"):
            if isinstance(delta.get(name), str) and delta[name]:
                out += self._text(delta[name])
        for call in as_objects(delta.get("tool_calls")):
            out += self._call(call)
        self._stop = _stop(choices[0].get("finish_reason")) or self._stop
        return out

    def _begin(self, chunk: dict[str, Any]) -> bytes:
        """The first event. OpenAI says what was used at the end; so does the last event here."""
        if self._begun:
            return b""
        self._begun = True
        message = _head(chunk) | {"content": [], "stop_reason": None, "usage": _usage({})}
        return named_event({"type": "message_start", "message": message})

    def _text(self, text: str) -> bytes:
        out = b""
        if not self._open or self._at in self._tools.values():
            out = self._start_block({"type": "text", "text": ""})
        return out + self._delta(self._at, {"type": "text_delta", "text": text})

    def _call(self, call: dict[str, Any]) -> bytes:
        """A piece of a call: those of one have one index, or at least its id stands at the start
        only."""
        out, function = b"", as_object(call.get("function"))
        key = call.get("index")
        if not isinstance(key, int):
            key = call.get("id") or next(reversed(self._tools), None)
        if not isinstance(key, int | str) or key not in self._tools:
            names = {"id": str(call.get("id") or ""), "name": str(function.get("name") or "")}
            out = self._start_block({"type": "tool_use", **names, "input": {}})
            key = key if isinstance(key, int | str) else ""
            self._tools[key] = self._at
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            delta = {"type": "input_json_delta", "partial_json": arguments}
            out += self._delta(self._tools[key], delta)
        return out

    def _start_block(self, block: dict[str, Any]) -> bytes:
        out = self._end_block()
        self._at += 1
        self._open = True
        start = {"type": "content_block_start", "index": self._at, "content_block": block}
        return out + named_event(start)

    def _end_block(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        return named_event({"type": "content_block_stop", "index": self._at})

    @staticmethod
    def _delta(index: int, delta: dict[str, Any]) -> bytes:
        return named_event({"type": "content_block_delta", "index": index, "delta": delta})


def _head(completion: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(completion.get("id") or ""),
        "type": "message",
        "role": "assistant",
        "model": str(completion.get("model") or ""),
        "stop_sequence": None,
    }


def _content(message: dict[str, Any]) -> list[dict[str, Any]]:
    text = message.get("content") or message.get("refusal")
    blocks: list[dict[str, Any]] = [{"type": "text", "text": str(text)}] if text else []
    for call in as_objects(message.get("tool_calls")):
        function = as_object(call.get("function"))
        blocks.append(
            {
                "type": "tool_use",
                "id": str(call.get("id") or ""),
                "name": str(function.get("name") or ""),
                "input": _input(function.get("arguments")),
            }
        )
    return blocks


def _input(arguments: Any) -> dict[str, Any]:
    text = str(arguments or "{}")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"unparsed": text}


def _stop(reason: Any) -> str | None:
    return None if reason is None else _STOP.get(str(reason), "end_turn")


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's input tokens are those that came from no cache; OpenAI's prompt tokens all."""
    details = as_object(usage.get("prompt_tokens_details"))
    read = count(details, "cached_tokens")
    written = count(details, "cache_write_tokens")
    document: dict[str, Any] = {
        "input_tokens": max(0, count(usage, "prompt_tokens") - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": count(usage, "completion_tokens"),
    }
    if "cost" in usage:
        document["cost"] = usage["cost"]
    return document
