"""What the scripted provider does when it speaks Anthropic's Messages, and its models.

Spacing is one that no encoder would choose, as in `tests.gateway.behaviours`.
"""

import json
from dataclasses import replace
from typing import Any

from gateway.dialects import MESSAGES
from gateway.routes import Route
from gateway.upstream import Origin, Upstream, header_block
from pricing import Price
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, PROVIDER_SECRET, fake_route, price
from tests.gateway.provider import Behaviour, Received, Reply

MODEL = "claude-sonnet-4-5"
WORDS = ("Hello", " there", ", café", " ☃", ' "usage": {"', " message_stop", "!")
USAGE_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def messages_routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """`claude` streams what it bills, `claude-thinker` does not."""
    headers = [
        (b"content-type", b"application/json"),
        (b"x-api-key", PROVIDER_SECRET.encode()),
    ]
    plain = replace(
        fake_route("claude", origin, upstream, model=MODEL),
        endpoint=MESSAGES.endpoint,
        provider="anthropic",
        price=claude_price(),
        target=b"/base/v1/messages",
        headers=header_block(headers),
        secret=PROVIDER_SECRET.encode(),
    )
    return [plain, replace(plain, name="claude-thinker", reasons_unseen=True)]


def claude_price() -> Price:
    """Of the fake provider's, with the framing that its tools have."""
    return replace(price(), provider="anthropic", model=MODEL, tool_framing_tokens=640)


def usage_text(input_tokens: int, output_tokens: int) -> bytes:
    """A usage object in a spelling of its own."""
    return (
        b'{ "input_tokens": %d , "cache_creation_input_tokens":0,\n  "cache_read_input_tokens": 0,'
        b' "output_tokens": %d, "service_tier": "standard" }'
    ) % (input_tokens, output_tokens)


def whole(usage: bytes, content: list[dict[str, Any]] | None = None) -> bytes:
    """A message in one piece; a decoy of its usage before."""
    said = content or [{"type": "text", "text": 'café "usage": {"input_tokens": 1}'}]
    stop = "tool_use" if said[-1]["type"] == "tool_use" else "end_turn"
    return (
        b'{\n "id": "msg_1", "type":"message", "role": "assistant", "model":"served-model",'
        b' "content": ' + json.dumps(said).encode() + b',\n "stop_reason": "' + stop.encode()
        + b'", "stop_sequence": null, "usage" :' + usage + b" }\n"
    )  # fmt: skip


def event(document: dict[str, Any]) -> bytes:
    """One event of a stream."""
    data = json.dumps(document, ensure_ascii=False).encode()
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), data)


def start(input_tokens: int = 11) -> bytes:
    """The beginning of a stream."""
    usage = json.loads(usage_text(input_tokens, 1))
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "served-model"}
    begun = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    return event({"type": "message_start", "message": message | begun})


def delta(piece: dict[str, Any], index: int = 0) -> bytes:
    """A piece of a block."""
    return event({"type": "content_block_delta", "index": index, "delta": piece})


def block(begun: dict[str, Any], *pieces: dict[str, Any], index: int = 0) -> list[bytes]:
    """A block from its beginning to its end."""
    return [
        event({"type": "content_block_start", "index": index, "content_block": begun}),
        *(delta(each, index) for each in pieces),
        event({"type": "content_block_stop", "index": index}),
    ]


def text_block(words: tuple[str, ...] = WORDS) -> list[bytes]:
    """A block of text."""
    pieces = ({"type": "text_delta", "text": word} for word in words)
    return block({"type": "text", "text": ""}, *pieces)


def end(output_tokens: int = 7, stop: str = "end_turn") -> list[bytes]:
    """The last usage and the end mark."""
    return [
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": None},
                "usage": {"output_tokens": output_tokens},
            }
        ),
        event({"type": "message_stop"}),
    ]


TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Delft"}}


def tool_block(index: int = 0) -> list[bytes]:
    """A tool's call, its input in pieces."""
    pieces = (
        {"type": "input_json_delta", "partial_json": each} for each in ('{"city"', ': "Delft"}')
    )
    return block({**TOOL_USE, "input": {}}, *pieces, index=index)


def says_message(input_tokens: int = 11, output_tokens: int = 7) -> Behaviour:
    """A good answer with this usage, streamed where the request says so."""

    async def behave(received: Received, reply: Reply) -> None:
        _answer(received, reply, input_tokens, output_tokens)

    return behave


def uses_cap(input_tokens: int) -> Behaviour:
    """Uses all that it was allowed."""

    async def behave(received: Received, reply: Reply) -> None:
        _answer(received, reply, input_tokens, received.cap)

    return behave


def calls_weather(input_tokens: int = 30, output_tokens: int = 9) -> Behaviour:
    """Calls a tool, until it is told what the tool said."""

    async def behave(received: Received, reply: Reply) -> None:
        if "tool_result" in str(received.json["messages"][-1]):
            _answer(received, reply, input_tokens, output_tokens)
            return
        received.billed = (input_tokens, output_tokens)
        if received.json.get("stream"):
            stream(reply, [start(input_tokens), *tool_block(), *end(output_tokens, "tool_use")])
        else:
            reply.whole(200, whole(usage_text(input_tokens, output_tokens), [TOOL_USE]))

    return behave


def streams(events: list[bytes]) -> Behaviour:
    """These events, then the end of the answer."""

    async def behave(_received: Received, reply: Reply) -> None:
        stream(reply, events)

    return behave


def stream(reply: Reply, events: list[bytes]) -> None:
    """An event stream of these events, each in a chunk of its own."""
    reply.begin()
    for each in events:
        reply.chunk(each)
    reply.end()


def _answer(received: Received, reply: Reply, input_tokens: int, output_tokens: int) -> None:
    received.billed = (input_tokens, output_tokens)
    if received.json.get("stream"):
        stream(reply, [start(input_tokens), PING, *text_block(), *end(output_tokens)])
    else:
        reply.whole(200, whole(usage_text(input_tokens, output_tokens)))
