"""Requests through a real forward proxy, and what its failures tell the ledger."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.upstream import (
    Origin,
    Timeouts,
    UpstreamAborted,
    UpstreamNotReached,
    UpstreamTimeout,
    UpstreamUnknown,
    header_block,
)
from gateway.upstream.proxied import ProxiedUpstream

from .proxies import forward
from .servers import OK, Certificates, Peer, answering, answering_once, request_to

Serve = Callable[..., Any]
Through = Callable[..., ProxiedUpstream]

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nX-Name: Value\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def through(certificates: Certificates) -> AsyncIterator[Through]:
    """`through(proxy_origin)` gives a client for which everything goes through that proxy."""
    upstreams: list[ProxiedUpstream] = []

    def start(origin: Origin) -> ProxiedUpstream:
        url = f"http://{origin.host}:{origin.port}"
        context = certificates.client_context()
        upstreams.append(ProxiedUpstream({"http": url, "https": url}, None, context))
        return upstreams[-1]

    yield start
    for upstream in upstreams:
        await upstream.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tunnel"])
async def test_requests_go_through_the_proxy(
    serve: Serve, through: Through, certificates: Certificates, tls: bool
) -> None:
    """The provider sees exactly our request, nothing of httpx's own, on a connection kept alive."""
    server = await serve(answering(OK), certificates if tls else None)
    proxy = await serve(forward)
    upstream = through(proxy.origin)
    headers = header_block([(b"authorization", b"Bearer x"), (b"accept", b"text/event-stream")])
    for number in range(3):
        request = request_to(server.origin, headers=headers, body=b"%d" % number)
        response = await upstream.send(request)
        assert (response.status, response.headers) == (200, [(b"content-length", b"2")])
        assert await response.read_all(10) == b"ok"
        received = server.received[-1]
        assert received.line == b"POST /v1/chat/completions HTTP/1.1"
        assert received.body == b"%d" % number
        assert [field for field in received.fields if field[0] != b"host"] == [
            (b"authorization", b"Bearer x"),
            (b"accept", b"text/event-stream"),
            (b"content-length", b"1"),
        ]
    assert len(server.peers) == len(proxy.peers) == 1


async def test_streams_arrive_piece_by_piece(serve: Serve, through: Through) -> None:
    """Chunks are read as they come, without framing, and their encoding is left alone."""
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED_HEAD, b"3\r\none\r\n")
        await go.wait()
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        await peer.gone()

    server, proxy = await serve(handler), await serve(forward)
    response = await through(proxy.origin).send(request_to(server.origin))
    assert response.headers[0] == (b"x-name", b"Value")
    assert await response.read() == b"one"
    go.set()
    assert [await response.read() for _ in range(3)] == [b"two", b"", b""]


async def test_a_proxy_that_is_not_there_is_not_reached(
    through: Through, refusing_origin: Origin
) -> None:
    """Nothing was sent when the proxy refuses the connection."""
    with pytest.raises(UpstreamNotReached, match="proxy"):
        await through(refusing_origin).send(request_to(Origin("http", "127.0.0.1", 9)))


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", b"nonsense\r\n\r\n", b""],
    ids=["refused", "malformed", "closed"],
)
async def test_a_tunnel_that_fails_is_not_reached(
    serve: Serve, through: Through, answer: bytes
) -> None:
    """Whatever goes wrong while the tunnel is dug, the provider has seen nothing."""
    proxy = await serve(answering_once(answer))
    with pytest.raises(UpstreamNotReached):
        await through(proxy.origin).send(request_to(Origin("https", "localhost", 9)))
    assert proxy.received[0].line == b"CONNECT localhost:9 HTTP/1.1"


async def test_tls_that_does_not_verify_is_not_reached(
    serve: Serve, through: Through, certificates: Certificates
) -> None:
    """A wrong name behind the tunnel stops before the request."""
    server, proxy = await serve(answering(OK), certificates), await serve(forward)
    origin = Origin("https", "127.0.0.1", server.origin.port)
    with pytest.raises(UpstreamNotReached, match=r"(?i)certificate"):
        await through(proxy.origin).send(request_to(origin))
    assert server.received == []


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tunnel"])
async def test_a_connection_lost_after_sending_is_unknown(
    serve: Serve, through: Through, certificates: Certificates, tls: bool
) -> None:
    """After the request was written, losing the connection is unknown, and nothing is repeated."""
    server = await serve(answering_once(), certificates if tls else None)
    proxy = await serve(forward)
    with pytest.raises(UpstreamUnknown) as caught:
        await through(proxy.origin).send(request_to(server.origin))
    assert not caught.value.bytes_received
    assert len(server.received) == 1


async def test_bodies_cut_short_are_unknown(serve: Serve, through: Through) -> None:
    """A truncated body gives out what came, then fails, each time it is asked."""
    server = await serve(answering_once(CHUNKED_HEAD + b"3\r\none\r\n"))
    proxy = await serve(forward)
    response = await through(proxy.origin).send(request_to(server.origin))
    assert await response.read() == b"one"
    for _ in range(2):
        with pytest.raises(UpstreamUnknown) as caught:
            await response.read()
        assert caught.value.bytes_received


async def test_two_lengths_are_refused(serve: Serve, through: Through) -> None:
    """An answer that could be read in two ways is unknown here too."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    server, proxy = await serve(answering(answer)), await serve(forward)
    with pytest.raises(UpstreamUnknown):
        await through(proxy.origin).send(request_to(server.origin))


async def test_read_all_is_bounded(serve: Serve, through: Through) -> None:
    """More than `bytes_max` fails and stays failed."""
    server, proxy = await serve(answering(OK)), await serve(forward)
    response = await through(proxy.origin).send(request_to(server.origin))
    for _ in range(2):
        with pytest.raises(UpstreamUnknown, match="larger than 1 "):
            await response.read_all(1)


async def test_time_limits_hold(serve: Serve, through: Through) -> None:
    """Connecting, the first byte and idleness have the same limits and errors as without proxy."""

    async def handler(peer: Peer) -> None:
        if (await peer.request()).body == b"head":
            await peer.send(CHUNKED_HEAD)
        await peer.gone()

    server, proxy, silent = await serve(handler), await serve(forward), await serve(Peer.gone)
    upstream = through(proxy.origin)
    timeouts = Timeouts(connect_ms=20_000, first_byte_ms=80, idle_ms=20_000)
    with pytest.raises(UpstreamTimeout) as caught:
        await asyncio.wait_for(upstream.send(request_to(server.origin, timeouts=timeouts)), 15)
    assert caught.value.phase == "first_byte"
    timeouts = Timeouts(connect_ms=20_000, first_byte_ms=20_000, idle_ms=40)
    response = await upstream.send(request_to(server.origin, body=b"head", timeouts=timeouts))
    with pytest.raises(UpstreamTimeout) as caught:
        await asyncio.wait_for(response.read(), 15)
    assert caught.value.phase == "idle"
    timeouts = Timeouts(connect_ms=60, first_byte_ms=5_000, idle_ms=5_000)
    request = request_to(Origin("https", "localhost", 9), timeouts=timeouts)
    with pytest.raises(UpstreamNotReached, match="60 ms"):
        await through(silent.origin).send(request)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tunnel"])
async def test_abort_cuts_the_stream(
    serve: Serve, through: Through, certificates: Certificates, tls: bool
) -> None:
    """Abort ends a pending read and later ones, and the provider sees the connection close."""
    server = await serve(_stream_for_ever, certificates if tls else None)
    proxy = await serve(forward)
    response = await through(proxy.origin).send(request_to(server.origin))
    reading = asyncio.ensure_future(response.read())
    await asyncio.sleep(0.01)
    response.abort()
    response.abort()
    for read in (reading, response.read()):
        with pytest.raises(UpstreamAborted):
            await asyncio.wait_for(read, 30)
    await asyncio.wait_for(server.peers[0].finished.wait(), 30)


async def test_cancelling_closes_the_connection(serve: Serve, through: Through) -> None:
    """A cancelled send or read lets the provider see it."""
    server, proxy = await serve(_stream_for_ever), await serve(forward)
    response = await through(proxy.origin).send(request_to(server.origin))
    reading = asyncio.ensure_future(response.read())
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(UpstreamAborted):
        await response.read()
    await asyncio.wait_for(server.peers[0].finished.wait(), 30)
    silent = await serve(answering())
    sending = asyncio.ensure_future(through(proxy.origin).send(request_to(silent.origin)))
    await silent.until(requests=1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.wait_for(silent.peers[0].finished.wait(), 30)


async def test_cookies_are_not_kept(serve: Serve, through: Through) -> None:
    """What one answer sets does not travel with the next request."""
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n"
    server, proxy = await serve(answering(answer)), await serve(forward)
    upstream = through(proxy.origin)
    for _ in range(2):
        assert await (await upstream.send(request_to(server.origin))).read() == b""
    assert len(upstream._client.cookies) == 0
    assert b"cookie" not in server.received[-1].head


async def _stream_for_ever(peer: Peer) -> None:
    await peer.request()
    await peer.send(CHUNKED_HEAD)
    await peer.gone()
