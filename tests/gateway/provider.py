"""A provider on a real socket whose every answer a test writes, and which forgets nothing.

Money tests need both sides: what the client was told, and what the provider was asked and served.
It parses HTTP itself, because it has to misbehave in ways that no server library allows: reset in
mid-stream, end without an end, never answer. What it does is a `Behaviour`, see
`tests.gateway.behaviours`.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

from gateway.upstream import Origin

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Received:
    """One request as it arrived. `gone` is set when its connection closes before the answer was
    whole; `billed` is what the provider would put on its bill, (prompt, completion) tokens."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        self.head = head
        self.body = body
        self.gone = asyncio.Event()
        self.billed = (0, 0)

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def cap(self) -> int:
        """The output cap that this provider obeys."""
        cap = self.json["max_tokens"]
        assert isinstance(cap, int)
        return cap


class Reply:
    """How a behaviour answers one request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.complete = False

    def whole(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """An answer with a length. JSON unless a header says otherwise."""
        names = {name.lower() for name, _ in headers}
        if "content-type" not in names:
            headers = (*headers, ("content-type", "application/json"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {status} \r\n{lines}content-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._is_whole()

    def begin(self, length: int | None = None, content_type: str = "text/event-stream") -> None:
        """The head of a chunked answer, or of one with a length whose body follows by `raw`."""
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n"
        self._transport.write(head.encode())

    def chunk(self, data: bytes) -> None:
        """One chunk."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    @property
    def unsent_bytes(self) -> int:
        """What the other side has not taken yet, beyond what the kernel holds."""
        return self._transport.get_write_buffer_size()

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._transport.write(data)

    def end(self) -> None:
        """The last chunk."""
        self._transport.write(b"0\r\n\r\n")
        self._is_whole()

    def _is_whole(self) -> None:
        """What is written to a connection that is closed already has gone nowhere."""
        self.complete = not self._transport.is_closing()

    def close(self) -> None:
        """Ends the connection in order, whatever was promised."""
        self._transport.close()

    def reset(self) -> None:
        """Ends the connection as a crash does: the peer reads ECONNRESET."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


Behaviour = Callable[[Received, Reply], Awaitable[None]]


class Provider:
    """Listens on loopback. `behaviour` answers from now on; `received` has every request."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.received: list[Received] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._arrived = asyncio.Event()

    @property
    def origin(self) -> Origin:
        """For routes."""
        return Origin("http", "127.0.0.1", self.port)

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.received[-1]

    async def start(self) -> None:
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()

    async def arrivals(self, count: int) -> None:
        """Waits until so many requests have arrived in all."""
        async with asyncio.timeout(20):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def took(self, received: Received) -> None:
        """A connection has a whole request."""
        self.received.append(received)
        self._arrived.set()

    def opened(self, connection: "_Connection") -> None:
        """A connection exists."""
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One connection: whole requests in, answers out, one after the other."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport
        self._received: Received | None = None
        self._reply: Reply | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(Received(head, b"").headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        received, reply = Received(head, rest[:length]), Reply(self._transport)
        self._received, self._reply = received, reply
        self._provider.took(received)
        self._task = asyncio.get_running_loop().create_task(self._answer(received, reply))

    async def _answer(self, received: Received, reply: Reply) -> None:
        try:
            await self._provider.behaviour(received, reply)
        except (
            ValueError,
            RecursionError,
            KeyError,
            TypeError,
        ):  # as a provider does with nonsense
            reply.whole(400, b'{"error": {"message": "the provider cannot read this"}}')

    def connection_lost(self, _exc: Exception | None) -> None:
        self._provider.closed(self)
        if self._received is not None and self._reply is not None and not self._reply.complete:
            self._received.gone.set()
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Ends it now."""
        self._transport.abort()
