"""What an ASGI server hands over, read once, bounded, and hostile until checked."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from gateway.errors import BodyTooLarge, InvalidKey, InvalidRequest

ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

SECRET_BYTES_MAX = 512


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class Request:
    """One HTTP request. Header names are lower case, as ASGI gives them."""

    __slots__ = ("_watched", "headers", "method", "path", "query", "receive", "send", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.started = False
        self._watched: asyncio.Task[None] | None = None

    def secret(self) -> bytes:
        """The gateway key, wherever the client's SDK puts it. Raises InvalidKey."""
        headers = self.headers
        authorization = headers.get(b"authorization", b"")
        if authorization[:7].lower() == b"bearer ":
            secret = authorization[7:].strip()
        else:
            secret = headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or b""
            if not secret and self.query:
                secret = self.parameter("key").encode()
        if not secret or len(secret) > SECRET_BYTES_MAX:
            raise InvalidKey(
                "send your Comptroller key as `Authorization: Bearer <key>` (or x-api-key)"
            )
        return secret

    def parameter(self, name: str) -> str:
        """Of the query, the first of this name; "" where there is none."""
        try:
            return parse_qs(self.query.decode("ascii")).get(name, [""])[0]
        except (UnicodeDecodeError, ValueError):
            return ""

    def watched(self) -> "asyncio.Task[None]":
        """Done when the client has closed its connection (or has its whole answer). For after the
        body was read."""
        if self._watched is None:
            self._watched = asyncio.get_running_loop().create_task(self._until_gone())
        return self._watched

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def body(self, bytes_max: int) -> bytes:
        """The whole body, decompressed, at most `bytes_max`. Raises InvalidRequest,
        BodyTooLarge, ClientGone."""
        headers = self.headers
        length = headers.get(b"content-length")
        if length is not None:
            if b"transfer-encoding" in headers:
                raise InvalidRequest("send Content-Length or Transfer-Encoding, not both")
            if not length.isdigit():
                raise InvalidRequest("Content-Length must be a number")
            if len(length) > 18 or int(length) > bytes_max:
                raise _too_large(bytes_max)
        body = await self._read(bytes_max)
        encoding = headers.get(b"content-encoding")
        return body if encoding is None else _decompressed(body, encoding, bytes_max)

    async def _read(self, bytes_max: int) -> bytes:
        message = await self.receive()
        pieces: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            if not message.get("more_body", False) and not pieces:
                size = len(piece)
                pieces = [piece]
                break
            size += len(piece)
            pieces.append(piece)
            if size > bytes_max or not message.get("more_body", False):
                break
            message = await self.receive()
        if size > bytes_max:
            raise _too_large(bytes_max)
        return b"".join(pieces)


def _decompressed(body: bytes, encoding: bytes, bytes_max: int) -> bytes:
    """gzip and deflate, stopped at the bound: a small body can hold gigabytes."""
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"deflate"):
        raise InvalidRequest("Content-Encoding is gzip, deflate or identity")
    engine = zlib.decompressobj(wbits=31 if encoding == b"gzip" else 15)
    try:
        plain = engine.decompress(body, bytes_max + 1)
    except zlib.error:
        raise InvalidRequest(f"the body is not valid {encoding.decode()}") from None
    if len(plain) > bytes_max:
        raise _too_large(bytes_max)
    if not engine.eof or engine.unused_data:
        raise InvalidRequest(f"the body is not one whole {encoding.decode()} stream")
    return plain


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {bytes_max} bytes (setting body_bytes_max)")


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
