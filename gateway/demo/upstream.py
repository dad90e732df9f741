"""An upstream without a network, behind which the demo models answer."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.demo.chat import chat_pieces
from gateway.demo.completions import completion_pieces
from gateway.demo.embeddings import embedding_pieces
from gateway.demo.messages import count_pieces, messages_pieces
from gateway.demo.responses import input_tokens_pieces, responses_pieces
from gateway.providers import Wire
from gateway.upstream import UpstreamAborted, UpstreamRequest, UpstreamTooLarge

CHUNK_DELAY_MS = 15
_JSON = [(b"content-type", b"application/json")]
_STREAM = [(b"content-type", b"text/event-stream")]
_SPOKEN: Mapping[bytes, Callable[[dict[str, Any]], list[bytes]]] = MappingProxyType(
    {
        b"/v1/chat/completions": chat_pieces,
        b"/v1/completions": completion_pieces,
        b"/v1/embeddings": embedding_pieces,
        b"/v1/messages": messages_pieces,
        b"/v1/messages/count_tokens": count_pieces,
        b"/v1/responses": responses_pieces,
        b"/v1/responses/input_tokens": input_tokens_pieces,
    }
)
"""Target -> from a request, decoded, to its answer: one piece, or the events of a stream."""
WIRES = (
    Wire("/v1/chat/completions", b"/v1/chat/completions", "max_tokens"),
    Wire("/v1/completions", b"/v1/completions", "max_tokens"),
    Wire("/v1/messages", b"/v1/messages", "max_tokens"),
    Wire("/v1/responses", b"/v1/responses", "max_output_tokens"),
)
EMBEDDER_WIRES = (Wire("/v1/embeddings", b"/v1/embeddings", ""),)


def wires_of(model: str) -> tuple[Wire, ...]:
    """What the demo model of this full name speaks."""
    return EMBEDDER_WIRES if model == "demo/embedder" else WIRES


class DemoUpstream:
    """An Upstream (see gateway.upstream)."""

    def __init__(self, chunk_delay_ms: int = CHUNK_DELAY_MS) -> None:
        self._chunk_delay_ms = chunk_delay_ms

    async def send(self, request: UpstreamRequest) -> "DemoResponse":
        """See Upstream."""
        asked = msgspec.json.decode(request.body)
        pieces = _SPOKEN[request.target](asked)
        delay_ms = self._chunk_delay_ms if asked.get("stream") else 0
        return DemoResponse(_STREAM if asked.get("stream") else _JSON, pieces, delay_ms)


class DemoResponse:
    """An UpstreamResponse whose bytes are known."""

    status = 200

    def __init__(
        self, headers: list[tuple[bytes, bytes]], pieces: list[bytes], delay_ms: int
    ) -> None:
        self.headers = headers
        self._pieces = iter(pieces)
        self._delay_ms = delay_ms
        self._aborted = asyncio.Event()

    async def read(self) -> bytes:
        """See UpstreamResponse."""
        if self._delay_ms:
            try:
                await asyncio.wait_for(self._aborted.wait(), self._delay_ms / 1000)
            except TimeoutError:
                return next(self._pieces, b"")
        if self._aborted.is_set():
            raise UpstreamAborted("the answer was given up")
        return next(self._pieces, b"")

    async def read_all(self, bytes_max: int) -> bytes:
        """See UpstreamResponse."""
        body = b"".join(self._pieces)
        if len(body) > bytes_max:
            raise UpstreamTooLarge(bytes_max)
        return body

    def abort(self) -> bool:
        """See UpstreamResponse."""
        self._aborted.set()
        return False
