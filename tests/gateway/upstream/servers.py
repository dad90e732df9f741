"""Real servers on loopback that do exactly what a test says, byte by byte."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trustme

from gateway.upstream import (
    NO_HEADERS,
    HeaderBlock,
    Origin,
    Timeouts,
    UpstreamRequest,
)

PATIENT = Timeouts(connect_ms=5_000, first_byte_ms=5_000, idle_ms=5_000)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def request_to(
    origin: Origin,
    *,
    method: str = "POST",
    target: bytes = b"/v1/chat/completions",
    headers: HeaderBlock = NO_HEADERS,
    body: bytes = b"{}",
    timeouts: Timeouts = PATIENT,
) -> UpstreamRequest:
    return UpstreamRequest(origin, method, target, headers, body, timeouts)


@dataclass(frozen=True)
class Certificates:
    authority: trustme.CA
    leaf: trustme.LeafCert

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.leaf.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@dataclass(frozen=True)
class Received:
    """One request as the server saw it."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        pairs = (line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line)
        return [(name.lower(), value) for name, value in pairs]


@dataclass
class Peer:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    news: asyncio.Event
    received: list[Received] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the handler has returned: after `gone`, when the client has closed."""

    async def request(self) -> Received:
        """Reads one request. Raises asyncio.IncompleteReadError when the client has gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        received = Received(head, b"")
        length = dict(received.fields).get(b"content-length", b"0")
        received = Received(head, await self.reader.readexactly(int(length)))
        self.received.append(received)
        self.news.set()
        return received

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
        await self.writer.drain()

    async def send_apart(self, *pieces: bytes) -> None:
        """Sends pieces so that the client receives each by itself, as far as one can make it."""
        for piece in pieces:
            await self.send(piece)
            for _ in range(4):
                await asyncio.sleep(0)  # lets the client's side of this loop run

    async def gone(self) -> None:
        """Waits until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def shut_at_once(self) -> None:
        """Sends FIN within this tick of the loop, so that the client cannot have noticed yet."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Closes with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """`handler` is called for every connection and the connection closed when it returns."""

    def __init__(self, handler: Handler, certificates: Certificates | None = None) -> None:
        self._handler = handler
        self._certificates = certificates
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self.failures: list[Exception] = []
        self.origin = Origin("http", "127.0.0.1", 0)

    async def start(self) -> None:
        context = self._certificates.server_context() if self._certificates else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        port = self._server.sockets[0].getsockname()[1]
        if context is None:
            self.origin = Origin("http", "127.0.0.1", port)
        else:
            self.origin = Origin("https", "localhost", port)

    async def stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        assert not self.failures, self.failures

    @property
    def received(self) -> list[Received]:
        return [request for peer in self.peers for request in peer.received]

    async def until(self, connections: int = 0, requests: int = 0) -> None:
        """Waits until so many connections and requests have come."""
        async with asyncio.timeout(30):
            while len(self.peers) < connections or len(self.received) < requests:
                self._news.clear()
                await self._news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, len(self.peers), self._news)
        self.peers.append(peer)
        self._news.set()
        try:
            await self._handler(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone, as most tests let it
        except asyncio.CancelledError:
            pass  # the test is over
        except Exception as error:  # noqa: BLE001 - `stop` reports it
            self.failures.append(error)
        finally:
            if task.cancelling():
                writer.transport.abort()
            else:
                writer.close()
            peer.finished.set()
            self._tasks.discard(task)


def answering(*pieces: bytes) -> Handler:
    """A handler that gives every request this answer and keeps the connection."""

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)

    return handler


def answering_once(*pieces: bytes) -> Handler:
    """A handler that gives one answer and closes."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        await peer.close()

    return handler
