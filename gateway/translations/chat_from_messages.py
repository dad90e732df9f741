"""Chat completions on Anthropic's Messages API: answers, whole and streamed.

Shapes are those of the two API references ("The chat completion object", "The chat completion chunk
object"; "Create a Message", "Streaming Messages"). Thinking comes as `reasoning_content`, as
compatible servers have it (DeepSeek's API reference); its signature is not for chat clients.
"""

from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.errors import UpstreamFailed
from gateway.translations.chat_to_messages import messages_request
from gateway.translations.shapes import as_object, as_objects, count, decoded_object, error_message
from gateway.translations.sse import Events, data_event

_DONE = b"data: [DONE]\n\n"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class ChatOnMessages:
    """See Translation."""

    endpoint = "/v1/chat/completions"
    target = "/v1/messages"

    def request(self, call: Call) -> bytes:
        """See Translation."""
        return messages_request(call)

    def answer(self, body: bytes) -> bytes:
        """See Translation."""
        message = decoded_object(body)
        if message.get("type") != "message":
            raise UpstreamFailed("the provider's answer is no message")
        choice = {
            "index": 0,
            "message": _message(as_objects(message.get("content"))),
            "finish_reason": _finish(message.get("stop_reason")),
            "logprobs": None,
        }
        whole = _head(message, "chat.completion")
        whole |= {"choices": [choice], "usage": _usage(as_object(message.get("usage")))}
        return msgspec.json.encode(whole)

    def error_message(self, body: bytes) -> str:
        """See Translation."""
        return error_message(body)

    def stream(self, call: Call) -> "ChatStream":
        """See Translation."""
        return ChatStream(wants_usage=call.wants_usage)


class ChatStream:
    """See StreamTranslation."""

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._events = Events()
        self._head: dict[str, Any] = {}
        self._tools = 0
        self._usage: dict[str, Any] = {}

    def feed(self, events: bytes) -> bytes:
        """See StreamTranslation."""
        return b"".join(map(self._chunk, self._events.feed(events)))

    def finish(self, events: bytes, *, complete: bool) -> bytes:
        """See StreamTranslation."""
        last = self.feed(events)
        if not complete:
            return last
        if self._wants_usage:
            last += data_event(self._head | {"choices": [], "usage": _usage(self._usage)})
        return last + _DONE

    def _chunk(self, event: dict[str, Any]) -> bytes:
        match event.get("type"):
            case "message_start":
                message = as_object(event.get("message"))
                self._head = _head(message, "chat.completion.chunk")
                self._usage = as_object(message.get("usage"))
                return self._delta({"role": "assistant", "content": ""})
            case "content_block_start":
                return self._begun(as_object(event.get("content_block")))
            case "content_block_delta":
                return self._continued(as_object(event.get("delta")))
            case "message_delta":
                self._usage |= as_object(event.get("usage"))
                reason = _finish(as_object(event.get("delta")).get("stop_reason"))
                return self._delta({}, reason)
            case _:
                return b""

    def _begun(self, block: dict[str, Any]) -> bytes:
        if block.get("type") != "tool_use":
            text = block.get("text")
            return self._delta({"content": text}) if isinstance(text, str) and text else b""
        self._tools += 1
        call = {
            "index": self._tools - 1,
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": ""},
        }
        return self._delta({"tool_calls": [call]})

    def _continued(self, delta: dict[str, Any]) -> bytes:
        match delta.get("type"):
            case "text_delta":
                return self._delta({"content": delta.get("text", "")})
            case "thinking_delta":
                return self._delta({"reasoning_content": delta.get("thinking", "")})
            case "input_json_delta" if self._tools:
                function = {"arguments": delta.get("partial_json", "")}
                return self._delta(
                    {"tool_calls": [{"index": self._tools - 1, "function": function}]}
                )
            case _:
                return b""

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return data_event(self._head | {"choices": [choice]})


def _head(message: dict[str, Any], kind: str) -> dict[str, Any]:
    """Anthropic does not say when it answered: 0, as for what is not known."""
    names = {"id": str(message.get("id", "")), "model": str(message.get("model", ""))}
    return {"object": kind, "created": 0, **names}


def _message(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [str(each.get("text", "")) for each in blocks if each.get("type") == "text"]
    thoughts = [str(each.get("thinking", "")) for each in blocks if each.get("type") == "thinking"]
    calls = [_tool_call(each) for each in blocks if each.get("type") == "tool_use"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    return message


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _finish(reason: Any) -> str | None:
    return None if reason is None else _FINISH.get(str(reason), "stop")


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's prompt tokens include what was read from and written to caches; Anthropic's input
    tokens do not."""
    read, written = (
        count(usage, "cache_read_input_tokens"),
        count(usage, "cache_creation_input_tokens"),
    )
    prompt = count(usage, "input_tokens") + read + written
    completion = count(usage, "output_tokens")
    document: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    if "cost" in usage:
        document["cost"] = usage["cost"]
    return document
