"""What the scripted provider can do: answer well in odd spellings, and fail in every known way.

Bodies and chunks are fixed bytes with spacing that no encoder would choose, so that a test can see
whether the gateway passed them on or wrote them anew.
"""

import asyncio
import json
from typing import Any

from tests.gateway.provider import Behaviour, Received, Reply

ERROR_BODY = b'{"error":  {"message": "the provider says no", "type": "x", "param": null}}\n'
HTML_BODY = b"<html><body>Service Unavailable</body></html>"
DONE = b"data: [DONE]\n\n"
WORDS = ("Hello", " there", ", caf\u00e9", " \u2603", " data: [DONE]", ' "usage": {', "!")


def usage_text(prompt: int, completion: int) -> bytes:
    """A usage object in a spelling of its own."""
    return (
        b'{ "prompt_tokens": %d , "completion_tokens":%d,\n   "total_tokens": %d,'
        b' "prompt_tokens_details": {"cached_tokens": 0} }'
    ) % (prompt, completion, prompt + completion)


def plain_body(usage: bytes | None, *, message: dict[str, Any] | None = None) -> bytes:
    """A whole answer; the usage stands in the middle, a decoy of it before."""
    said = message or {"role": "assistant", "content": 'caf\u00e9 "usage": {"prompt_tokens": 1}'}
    finish = "tool_calls" if "tool_calls" in said else "stop"
    choice = json.dumps({"index": 0, "message": said, "finish_reason": finish}).encode()
    middle = b"" if usage is None else b' "usage" :' + usage + b","
    return (
        b'{\n "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000,'
        b'\n "model":"served-model", "choices": ['
        + choice
        + b"],"
        + middle
        + b'\n "system_fingerprint": null }\n'
    )


def chunk_event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One event of a stream, with the null usage that OpenAI writes into each."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "served-model",
        "choices": [choice],
        "usage": None,
    }
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def usage_event(usage: bytes) -> bytes:
    """The event that a client gets only if it asked for usage."""
    return (
        b'data: {"id":"chatcmpl-1", "object":"chat.completion.chunk", "created":1700000000,'
        b'"model":"served-model","choices": [ ], "usage": ' + usage.replace(b"\n", b"") + b" }\n\n"
    )


def word_events(words: tuple[str, ...] = WORDS) -> list[bytes]:
    """The events of a text, from the role to the finish reason."""
    return [
        chunk_event({"role": "assistant", "content": ""}),
        *(chunk_event({"content": word}) for word in words),
        chunk_event({}, "stop"),
    ]


def tool_message() -> dict[str, Any]:
    """An answer that calls a tool."""
    function = {"name": "weather", "arguments": '{"city": "Delft"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def tool_events() -> list[bytes]:
    """The same, streamed: the arguments come in pieces."""
    call = tool_message()["tool_calls"][0]
    begin = {"index": 0, **call, "function": {"name": "weather", "arguments": ""}}
    pieces = ('{"city"', ': "Delft"}')
    return [
        chunk_event({"role": "assistant", "content": None, "tool_calls": [begin]}),
        *(
            chunk_event({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in pieces
        ),
        chunk_event({}, "tool_calls"),
    ]


def answers(prompt: int = 11, completion: int = 7) -> Behaviour:
    """A good answer with this usage, streamed where the request says so."""

    async def behave(received: Received, reply: Reply) -> None:
        _answer(received, reply, prompt, completion)

    return behave


def speaks(*words: str) -> Behaviour:
    """These words, streamed: each in an event of its own."""

    async def behave(received: Received, reply: Reply) -> None:
        received.billed = (11, 7)
        _stream(received, reply, word_events(words), usage_text(11, 7))

    return behave


def echoes_cap(prompt: int) -> Behaviour:
    """Uses all that it was allowed: `completion_tokens` is the cap for each choice."""

    async def behave(received: Received, reply: Reply) -> None:
        _answer(received, reply, prompt, received.cap * received.json.get("n", 1))

    return behave


def held(gate: asyncio.Event, then: Behaviour) -> Behaviour:
    """Answers only when the gate opens."""

    async def behave(received: Received, reply: Reply) -> None:
        await gate.wait()
        await then(received, reply)

    return behave


def calls_tool(prompt: int = 30, completion: int = 9) -> Behaviour:
    """Calls a tool."""

    async def behave(received: Received, reply: Reply) -> None:
        usage = usage_text(prompt, completion)
        received.billed = (prompt, completion)
        if received.json.get("stream"):
            _stream(received, reply, tool_events(), usage)
        else:
            reply.whole(200, plain_body(usage, message=tool_message()))

    return behave


def says(body: bytes, status: int = 200, content_type: str = "application/json") -> Behaviour:
    """These bytes."""

    async def behave(_received: Received, reply: Reply) -> None:
        reply.whole(status, body, ("content-type", content_type))

    return behave


def streams(pieces: list[bytes], *, end: str = "whole") -> Behaviour:
    """These pieces, each in a chunk of its own, then: whole (the last chunk), close (the connection
    without it), reset (as a crash), or silence."""

    async def behave(_received: Received, reply: Reply) -> None:
        reply.begin()
        for piece in pieces:
            reply.chunk(piece)
            await asyncio.sleep(0)
        if end == "whole":
            reply.end()
        elif end == "close":
            reply.close()
        elif end == "reset":
            reply.reset()
        else:
            await asyncio.Event().wait()

    return behave


def silent() -> Behaviour:
    """Takes the request and never says anything."""
    return held(asyncio.Event(), answers())


def drips(interval_ms: int) -> Behaviour:
    """One event after the other until the connection closes."""

    async def behave(_received: Received, reply: Reply) -> None:
        reply.begin()
        while True:
            reply.chunk(chunk_event({"content": "drip "}))
            await asyncio.sleep(interval_ms / 1000)

    return behave


def _answer(received: Received, reply: Reply, prompt: int, completion: int) -> None:
    usage = usage_text(prompt, completion)
    received.billed = (prompt, completion)
    if received.json.get("stream"):
        _stream(received, reply, word_events(), usage)
    else:
        reply.whole(200, plain_body(usage))


def _stream(received: Received, reply: Reply, events: list[bytes], usage: bytes) -> None:
    asked = (received.json.get("stream_options") or {}).get("include_usage")
    reply.begin()
    for event in (*events, *([usage_event(usage)] if asked else []), DONE):
        reply.chunk(event)
    reply.end()
