"""What Google, Bedrock, Mistral and Cohere answer, in their own formats: bytes of a whole answer
or of a stream's pieces, for the fake provider of `tests.gateway.provider`."""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from tests.gateway.provider import Behaviour, Received, Reply

WORDS = ("Hello", " there", ', café "usage": {', " ☃ data: [DONE]")
TEXT = "".join(WORDS)
TOOL_ARGUMENTS = {"city": "Oslo"}
Pieces = Callable[[bool], list[bytes]]


def _sse(document: object) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


def _line(document: object) -> bytes:
    return f"{json.dumps(document)}\n".encode()


def gemini(
    *, usage: dict[str, Any] | None = None, tool: bool = False, finish: str = "STOP"
) -> Pieces:
    """generateContent and streamGenerateContent."""
    counted = {
        "promptTokenCount": 11,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 3,
        "totalTokenCount": 23,
    }
    said = {"usageMetadata": counted if usage is None else usage} if usage != {} else {}
    call = {"functionCall": {"name": "weather", "args": TOOL_ARGUMENTS}}

    def answer(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": "gemini-served", "responseId": "r1"}

    def pieces(stream: bool) -> list[bytes]:
        whole = [call] if tool else [{"text": TEXT}]
        if not stream:
            return [json.dumps({**answer(whole, finishReason=finish), **said}).encode()]
        parts = [[call]] if tool else [[{"text": word}] for word in WORDS]
        events = [_sse(answer(each)) for each in parts[:-1]]
        end = {"finishReason": finish} if finish else {}
        return [*events, _sse({**answer(parts[-1], **end), **said})]

    return pieces


def amazon_event(kind: str, document: object) -> bytes:
    """One message of Amazon's event stream, with its checksums."""
    payload = json.dumps(document).encode()
    headers = b""
    for name, value in (
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ):
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += len(value).to_bytes(2, "big") + value.encode()
    prelude = (16 + len(headers) + len(payload)).to_bytes(4, "big")
    prelude += len(headers).to_bytes(4, "big")
    message = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + zlib.crc32(message).to_bytes(4, "big")


def converse(*, usage: dict[str, Any] | None = None, tool: bool = False) -> Pieces:
    """Converse and ConverseStream."""
    counted = {"inputTokens": 8, "outputTokens": 12, "totalTokens": 23, "cacheReadInputTokens": 3}
    used = counted if usage is None else usage
    call = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": TOOL_ARGUMENTS}}
    reason = "tool_use" if tool else "end_turn"

    def pieces(stream: bool) -> list[bytes]:
        if not stream:
            content = [call] if tool else [{"text": TEXT}]
            message = {"message": {"role": "assistant", "content": content}}
            document = {"output": message, "stopReason": reason, "usage": used}
            return [json.dumps({**document, "metrics": {"latencyMs": 1}}).encode()]
        events = [amazon_event("messageStart", {"role": "assistant"})]
        if tool:
            start = {"toolUse": {"toolUseId": "t1", "name": "weather"}}
            events.append(
                amazon_event("contentBlockStart", {"start": start, "contentBlockIndex": 0})
            )
            deltas: list[dict[str, Any]] = [{"toolUse": {"input": json.dumps(TOOL_ARGUMENTS)}}]
        else:
            deltas = [{"text": word} for word in WORDS]
        events += [
            amazon_event("contentBlockDelta", {"delta": each, "contentBlockIndex": 0})
            for each in deltas
        ]
        events.append(amazon_event("contentBlockStop", {"contentBlockIndex": 0}))
        events.append(amazon_event("messageStop", {"stopReason": reason}))
        metadata = {"usage": used, "metrics": {"latencyMs": 1}}
        return [*events, amazon_event("metadata", metadata)] if used else events

    return pieces


def mistral(
    *, usage: dict[str, Any] | None = None, tool: bool = False, apart: bool = False
) -> Pieces:
    """Mistral's chat completions, of OpenAI's shape; with the usage `apart`, in an event of its own
    after the last, as OpenAI and Azure have it."""
    counted = {"prompt_tokens": 11, "completion_tokens": 12, "total_tokens": 23}
    used = counted if usage is None else usage
    function: dict[str, Any] = {"name": "weather", "arguments": json.dumps(TOOL_ARGUMENTS)}
    call = {"id": "call00001", "type": "function", "index": 0, "function": function}
    reason = "tool_calls" if tool else "stop"
    frame = {"id": "c1", "created": 1700000000, "model": "mistral-served"}

    def chunk(delta: dict[str, Any], **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
        return _sse({**frame, "object": "chat.completion.chunk", "choices": [choice]})

    def pieces(stream: bool) -> list[bytes]:
        if not stream:
            said: dict[str, Any] = (
                {"content": "", "tool_calls": [call]} if tool else {"content": TEXT}
            )
            message = {"role": "assistant", **said}
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            return [
                json.dumps(
                    {**frame, "object": "chat.completion", "choices": choices, "usage": used}
                ).encode()
            ]
        deltas = [{"tool_calls": [call]}] if tool else [{"content": word} for word in WORDS]
        last = {"index": 0, "delta": {"content": ""}, "finish_reason": reason}
        end = {**frame, "object": "chat.completion.chunk", "choices": [last], "usage": used}
        ends = [_sse(end)]
        if apart:
            without = {name: each for name, each in end.items() if name != "usage"}
            ends = [_sse({**without, "usage": None}), _sse({**end, "choices": []})]
        return [*(chunk(each) for each in deltas), *ends, b"data: [DONE]\n\n"]

    return pieces


def azure(*, tool: bool = False) -> Pieces:
    """Azure's chat completions."""
    return mistral(tool=tool, apart=True)


def cohere(*, usage: dict[str, Any] | None = None, tool: bool = False) -> Pieces:
    """Cohere's chat, version 2, in lines as to who accepts JSON: it bills less than it counts."""
    counted = {
        "billed_units": {"input_tokens": 11, "output_tokens": 12},
        "tokens": {"input_tokens": 500, "output_tokens": 24},
    }
    used = counted if usage is None else usage
    function: dict[str, Any] = {"name": "weather", "arguments": json.dumps(TOOL_ARGUMENTS)}
    call = {"id": "weather_1", "type": "function", "function": function}
    reason = "TOOL_CALL" if tool else "COMPLETE"

    def pieces(stream: bool) -> list[bytes]:
        if not stream:
            said: dict[str, Any] = (
                {"tool_calls": [call]} if tool else {"content": [{"type": "text", "text": TEXT}]}
            )
            message = {"role": "assistant", **said}
            document = {"id": "c1", "finish_reason": reason, "message": message, "usage": used}
            return [json.dumps(document).encode()]
        start = {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}
        events = [_line(start)]
        for word in () if tool else WORDS:
            delta: dict[str, Any] = {"message": {"content": {"text": word}}}
            events.append(_line({"type": "content-delta", "index": 0, "delta": delta}))
        if tool:
            delta = {"message": {"tool_calls": call}}
            events.append(_line({"type": "tool-call-start", "index": 0, "delta": delta}))
        end = {"type": "message-end", "delta": {"finish_reason": reason, "usage": used}}
        return [*events, _line(end)]

    return pieces


def anthropic(*, tool: bool = False) -> Pieces:
    """Anthropic's messages, as Azure serves them."""
    given = {"input_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": TOOL_ARGUMENTS}
    reason = "tool_use" if tool else "end_turn"
    frame = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-served"}

    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + _sse({"type": kind, **fields})

    def pieces(stream: bool) -> list[bytes]:
        if not stream:
            content = [call] if tool else [{"type": "text", "text": TEXT}]
            used = {**given, "output_tokens": 12}
            whole = {**frame, "content": content, "stop_reason": reason, "usage": used}
            return [json.dumps(whole).encode()]
        message = {**frame, "content": [], "usage": {**given, "output_tokens": 1}}
        block: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in WORDS]
        if tool:
            block = {**call, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(TOOL_ARGUMENTS)}]
        end = {"delta": {"stop_reason": reason}, "usage": {"output_tokens": 12}}
        return [
            event("message_start", message=message),
            event("content_block_start", index=0, content_block=block),
            *(event("content_block_delta", index=0, delta=each) for each in deltas),
            event("content_block_stop", index=0),
            event("message_delta", **end),
            event("message_stop"),
        ]

    return pieces


def is_stream(received: Received) -> bool:
    """Whether a stream was asked for, in any of the formats."""
    path = received.target.partition("?")[0]
    return "stream" in path.rpartition("/")[2].lower() or received.json.get("stream") is True


def content_type(received: Received) -> str:
    """Of a stream."""
    if "converse" in received.target:
        return "application/vnd.amazon.eventstream"
    if received.target.startswith("/v2/chat"):
        return "application/stream+json"
    return "text/event-stream"


def speaks(pieces: Pieces, *, cut: int = 0, torn: bool = False) -> Behaviour:
    """Answers with them; without the last `cut` of a stream's pieces, `torn`: every byte apart."""

    async def behave(received: Received, reply: Reply) -> None:
        stream = is_stream(received)
        sent: Sequence[bytes] = pieces(stream)
        if not stream:
            reply.whole(200, sent[0])
            return
        reply.begin(content_type=content_type(received))
        data = sent[: len(sent) - cut]
        for piece in data if not torn else [bytes([each]) for each in b"".join(data)]:
            reply.chunk(piece)
        reply.end()

    return behave
