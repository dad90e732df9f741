"""A tiny real forward proxy: absolute-form requests for http, CONNECT tunnels for https."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from .servers import Peer


async def forward(peer: Peer) -> None:
    """Handler of a proxy that forwards everything a client connection asks for to one origin."""
    first = await peer.request()
    method, target, _ = first.line.split(b" ")
    if method == b"CONNECT":
        host, port = target.decode().rsplit(":", 1)
        there, to_origin = await asyncio.open_connection(host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        requests = _pipe(peer.reader, to_origin)
    else:
        url = urlsplit(target.decode())
        there, to_origin = await asyncio.open_connection(url.hostname, url.port)
        requests = _rewrite(peer, to_origin)
    try:
        await asyncio.gather(requests, _pipe(there, peer.writer))
    finally:
        to_origin.transport.abort()


async def _rewrite(peer: Peer, to_origin: asyncio.StreamWriter) -> None:
    """Turns absolute-form targets into paths."""
    received = peer.received[-1]
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            method, target, _ = received.line.split(b" ")
            path = b"/" + target.split(b"/", 3)[3]
            lines = received.head[received.head.index(b"\r\n") :]
            to_origin.write(b"%b %b HTTP/1.1%b%b" % (method, path, lines, received.body))
            received = await peer.request()
    to_origin.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
