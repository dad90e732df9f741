"""One exchange over a real socket: time limits, slow readers, large requests, slow servers."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import (
    PooledUpstream,
    Timeouts,
    UpstreamAborted,
    UpstreamLimits,
    UpstreamTimeout,
)

from .servers import OK, Certificates, Peer, answering, request_to

Serve = Callable[..., Any]
Pooled = Callable[..., PooledUpstream]

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_first_byte_timeout(serve: Serve, pooled: Pooled) -> None:
    """No answer in time is unknown, phase first_byte, and closes the connection."""
    server, upstream = await serve(answering()), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=60, idle_ms=5_000)
    with pytest.raises(UpstreamTimeout, match="no answer within 60 ms") as caught:
        await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert (caught.value.phase, caught.value.bytes_received) == ("first_byte", False)
    assert upstream.counts(server.origin).open == 0


async def test_idle_timeout(serve: Serve, pooled: Pooled) -> None:
    """A body that stops coming gives out what came, then fails with phase idle."""
    server, upstream = await serve(answering(CHUNKED_HEAD + b"5\r\nhello\r\n")), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=5_000, idle_ms=60)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert await response.read() == b"hello"
    with pytest.raises(UpstreamTimeout, match="within 60 ms") as caught:
        await asyncio.wait_for(response.read(), 30)
    assert (caught.value.phase, caught.value.bytes_received) == ("idle", True)
    assert upstream.counts(server.origin).open == 0


class Flood:
    """A server that sends `pieces` of 64 KiB as fast as it can and notices when it may not."""

    PIECE = b"z" * 65_536

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.sent_bytes = 0
        self.blocked = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (self.pieces << 16))
        for _ in range(self.pieces):
            peer.writer.write(self.PIECE)
            try:
                await asyncio.wait_for(peer.writer.drain(), 1.0)
            except TimeoutError:
                self.blocked.set()
                await peer.writer.drain()
            self.sent_bytes += len(self.PIECE)
        await peer.gone()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_slow_reader_stops_a_fast_server(
    serve: Serve, pooled: Pooled, certificates: Certificates, tls: bool
) -> None:
    """While nobody reads, memory stays bounded and the server waits; then all of it arrives."""
    limits = UpstreamLimits(unread_bytes_max=100_000)
    bound_bytes = limits.unread_bytes_max + 512 * 1024  # one receive, of whichever loop
    flood = Flood(pieces=512)
    server = await serve(flood, certificates if tls else None)
    upstream = pooled(limits, certificates.client_context())
    timeouts = Timeouts(connect_ms=20_000, first_byte_ms=20_000, idle_ms=20_000)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    await asyncio.wait_for(flood.blocked.wait(), 30)
    assert len(response.body) <= bound_bytes  # type: ignore[attr-defined]  # the buffer itself
    assert flood.sent_bytes < 20 << 20
    total_bytes = 0
    while piece := await response.read():
        assert len(piece) <= bound_bytes
        total_bytes += len(piece)
    assert total_bytes == 512 << 16
    assert upstream.counts(server.origin).idle == 1


async def test_silent_connections_are_probed(serve: Serve, pooled: Pooled) -> None:
    """TCP keep-alive is on, so that a stream behind a NAT is not forgotten unnoticed."""
    server, upstream = await serve(answering(OK)), pooled()
    await (await upstream.send(request_to(server.origin))).read_all(10)
    (connection,) = upstream._pools[server.origin]._adopted
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_a_reader_that_stalls_loses_the_answer(serve: Serve, pooled: Pooled) -> None:
    """A paused connection does not hold its place for ever."""
    limits = UpstreamLimits(unread_bytes_max=1_000, stall_ms_max=100)
    server, upstream = await serve(Flood(pieces=512)), pooled(limits)
    response = await upstream.send(request_to(server.origin))
    await asyncio.wait_for(server.peers[0].gone(), 30)
    assert upstream.counts(server.origin).open == 0
    assert await response.read()
    with pytest.raises(UpstreamAborted, match="not read"):
        await response.read()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_large_requests_reach_slow_servers(
    serve: Serve, pooled: Pooled, certificates: Certificates, tls: bool
) -> None:
    """8 MB arrive unharmed at a server that takes them in small bites, and the connection lasts."""
    body = bytes(range(256)) * (8 << 12)

    async def handler(peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            assert b"content-length: %d\r\n" % len(body) in head
            for start in range(0, len(body), 1 << 18):
                bite = await peer.reader.readexactly(1 << 18)
                assert bite == body[start : start + (1 << 18)]
                await asyncio.sleep(0.002)
            await peer.send(OK)

    server = await serve(handler, certificates if tls else None)
    upstream = pooled(None, certificates.client_context())
    for _ in range(2):
        response = await upstream.send(request_to(server.origin, body=body))
        assert await response.read_all(10) == b"ok"
    assert len(server.peers) == 1


async def test_a_server_that_takes_no_body_times_out(serve: Serve, pooled: Pooled) -> None:
    """A large request that the peer stops taking ends as unknown, phase first_byte."""
    hold = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await hold.wait()

    server, upstream = await serve(handler), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=150, idle_ms=5_000)
    with pytest.raises(UpstreamTimeout) as caught:
        await upstream.send(request_to(server.origin, body=b"x" * (16 << 20), timeouts=timeouts))
    assert caught.value.phase == "first_byte"
    assert upstream.counts(server.origin).open == 0


async def test_an_early_answer_is_read_and_its_connection_dropped(
    serve: Serve, pooled: Pooled
) -> None:
    """An answer that comes before the request is sent counts, but nothing follows it."""

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    response = await upstream.send(request_to(server.origin, body=b"x" * (16 << 20)))
    assert response.status == 413
    assert await response.read_all(10) == b"no"
    assert upstream.counts(server.origin).open == 0
