"""A provider that costs next to nothing: canned answers of an OpenAI-compatible server.

It runs in a process of its own (`python -m bench.upstream`) and prints its port. A whole answer has
about 500 bytes. A stream has `STREAM_CHUNKS` events of `STREAM_CHUNK_BYTES` bytes, each written by
itself on a timer of `STREAM_PACE_MS` that starts with the write before it, so that two events are
never in one segment, however late this process is; then usage and `[DONE]`. Streams begin at
different fractions of that time, so that they do not all speak in the same instant.
"""

import asyncio
import json
import sys

import httptools
import uvloop

from bench.cases import PROVIDER_MODEL, STREAM_CHUNK_BYTES, STREAM_CHUNKS, STREAM_PACE_MS

_STREAM_MARK = b'"stream":true'
_USAGE = {"prompt_tokens": 250, "completion_tokens": STREAM_CHUNKS, "total_tokens": 250 + 200}
_TEXT = "Certainly. Here is what the report says about the question that was asked. "


def whole_answer() -> bytes:
    """Head and body of an answer that is not streamed."""
    message = {"role": "assistant", "content": (_TEXT * 4)[:230]}
    document = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": PROVIDER_MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def stream_parts() -> tuple[bytes, bytes, bytes]:
    """(head, one event, end) of a streamed answer, in chunked framing."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    bare = _event({"choices": [{"index": 0, "delta": {"content": ""}}]})
    text = (_TEXT * 4)[: STREAM_CHUNK_BYTES - len(bare)]
    event = _event({"choices": [{"index": 0, "delta": {"content": text}}]})
    assert len(event) == STREAM_CHUNK_BYTES
    end = _framed(_event({"choices": [], "usage": _USAGE}) + b"data: [DONE]\n\n")
    return head, _framed(event), end + b"0\r\n\r\n"


def _event(fields: dict[str, object]) -> bytes:
    named = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": PROVIDER_MODEL}
    return b"data: " + json.dumps({**named, **fields}, separators=(",", ":")).encode() + b"\n\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Provider(asyncio.Protocol):
    """One connection; answers one request after the other."""

    whole = whole_answer()
    head, event, end = stream_parts()

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._pieces: list[bytes] = []
        self._left = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no common base

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._pieces = []

    def on_body(self, piece: bytes) -> None:
        """A piece of its body."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The request is whole: answers it at once, or begins a stream."""
        if _STREAM_MARK not in b"".join(self._pieces):
            self._transport.write(self.whole)
            return
        self._transport.write(self.head)
        self._left = STREAM_CHUNKS
        first_after_ms = 1 + id(self) // 64 % STREAM_PACE_MS
        self._loop.call_later(first_after_ms / 1000, self._next)

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self.event if self._left else self.end)
        self._left -= 1
        if self._left >= 0:
            self._loop.call_later(STREAM_PACE_MS / 1000, self._next)


async def serve() -> None:
    """Serves on a free port of the loopback until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve())
