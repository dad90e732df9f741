"""A client on a bare socket: for requests that no library would write, clients that hang up, and
bursts of hundreds (where a library's pool would be most of the work)."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        document = self.json
        assert set(document) == {"error"}, document
        error = document["error"]
        assert {"message", "type", "param", "code"} <= set(error), error
        assert isinstance(error, dict)
        return error


class Wire:
    """One connection. Use as a context manager: leaving it hangs up."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Reads up to and with a mark."""
        async with asyncio.timeout(10):
            return await self._reader.readuntil(mark)

    async def read(self, bytes_max: int) -> bytes:
        """At most so many bytes of what is there."""
        async with asyncio.timeout(10):
            return await self._reader.read(bytes_max)

    async def answer(self) -> Answer:
        """Reads a whole answer: to its length, or until the server closes (requests say
        `connection: close`)."""
        async with asyncio.timeout(20):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if length is not None:
                return parsed(head + await self._reader.readexactly(int(length[1])))
            return parsed(head + await self._reader.read(-1))

    async def until_closed(self) -> bytes:
        """Waits until the server has closed the connection; what it still sent."""
        async with asyncio.timeout(10):
            return await self._reader.read(-1)

    async def hang_up(self) -> None:
        """Closes at once, without a word."""
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the other side was faster


def request_bytes(
    secret: str,
    body: bytes,
    *headers: str,
    path: str = "/v1/chat/completions",
    method: str = "POST",
) -> bytes:
    """A request that asks the server to close afterwards."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {secret}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def post(
    port: int,
    secret: str,
    document: object,
    *headers: str,
    path: str = "/v1/chat/completions",
    method: str = "POST",
) -> Answer:
    """One call on a connection of its own."""
    body = json.dumps(document).encode()
    async with Wire(port) as wire:
        await wire.send(request_bytes(secret, body, *headers, path=path, method=method))
        return await wire.answer()


async def burst(port: int, secret: str, documents: list[Any]) -> list[Answer]:
    """All at once."""
    return list(await asyncio.gather(*(post(port, secret, each) for each in documents)))


def parsed(raw: bytes) -> Answer:
    """An answer from its bytes; chunked bodies are joined, and must be whole."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    elif "content-length" in headers:
        assert len(body) == int(headers["content-length"]), "the answer broke off"
    return Answer(int(first.split(" ")[1]), headers, body)


def _joined(chunked: bytes) -> bytes:
    pieces: list[bytes] = []
    rest = chunked
    while True:
        size_text, found, rest = rest.partition(b"\r\n")
        assert found, "the answer broke off"
        size = int(size_text, 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(rest[:size])
        rest = rest[size + 2 :]
