"""The pooled upstream as a whole: what is sent, how often, and what a failure tells the ledger."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import (
    Origin,
    PooledUpstream,
    Timeouts,
    UpstreamAborted,
    UpstreamLimits,
    UpstreamNotReached,
    UpstreamUnknown,
    default_ssl_context,
    header_block,
)

from .servers import OK, Certificates, Peer, ScriptedServer, answering, request_to

Serve = Callable[..., Any]
Pooled = Callable[..., PooledUpstream]


async def ask(upstream: PooledUpstream, server: ScriptedServer, **parts: Any) -> bytes:
    response = await upstream.send(request_to(server.origin, **parts))
    return await response.read_all(1_000)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_connections_are_reused(
    serve: Serve, pooled: Pooled, certificates: Certificates, tls: bool
) -> None:
    """Requests one after the other share one connection and arrive exactly as they were written."""
    server = await serve(answering(OK), certificates if tls else None)
    upstream = pooled(None, certificates.client_context())
    headers = header_block([(b"authorization", b"Bearer x")])
    for number in range(5):
        body = b'{"n":%d}' % number
        assert await ask(upstream, server, headers=headers, body=body) == b"ok"
        received = server.received[-1]
        assert received.line == b"POST /v1/chat/completions HTTP/1.1"
        assert received.body == body
        assert [name for name, _ in received.fields] == [
            b"host",
            b"authorization",
            b"content-length",
        ]
    assert len(server.peers) == 1
    assert upstream.counts(server.origin).idle == 1


async def test_a_connection_closed_while_idle_is_replaced(serve: Serve, pooled: Pooled) -> None:
    """When the peer has closed an idle connection, the next request goes out on another, once."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)  # and closes

    server, upstream = await serve(handler), pooled()
    for number in range(1, 4):
        assert await ask(upstream, server) == b"ok"
        await asyncio.wait_for(upstream._pools[server.origin]._until_gone(), 30)
        counts = upstream.counts(server.origin)
        assert (counts.open, counts.idle) == (0, 0)
        assert [len(peer.received) for peer in server.peers] == [1] * number


async def test_a_close_that_the_loop_has_not_seen_is_noticed(serve: Serve, pooled: Pooled) -> None:
    """Even a FIN that arrived in this very tick makes the connection unusable: nothing is sent."""
    server, upstream = await serve(answering(OK)), pooled()
    assert await ask(upstream, server) == b"ok"
    server.peers[0].shut_at_once()
    assert upstream.counts(server.origin).idle == 1  # the loop knows nothing of it
    assert await ask(upstream, server) == b"ok"
    assert [len(peer.received) for peer in server.peers] == [1, 1]


async def test_unsolicited_bytes_in_the_kernel_are_noticed(serve: Serve, pooled: Pooled) -> None:
    """An answer that was waiting before the request is never taken for the request's."""
    server, upstream = await serve(answering(OK)), pooled()
    assert await ask(upstream, server) == b"ok"
    server.peers[0].writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert await ask(upstream, server) == b"ok"
    assert len(server.peers) == 2


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("is_reused", [False, True], ids=["new", "reused"])
async def test_a_request_that_was_written_is_never_sent_again(
    serve: Serve, pooled: Pooled, how: str, is_reused: bool
) -> None:
    """A connection that dies after the request was written is unknown: exactly one was seen."""

    async def handler(peer: Peer) -> None:
        if is_reused:
            await peer.request()
            await peer.send(OK)
        await peer.request()
        if how == "reset":
            peer.reset()

    server, upstream = await serve(handler), pooled()
    if is_reused:
        assert await ask(upstream, server) == b"ok"
    with pytest.raises(UpstreamUnknown) as caught:
        await upstream.send(request_to(server.origin, body=b"once"))
    assert type(caught.value) is UpstreamUnknown  # at once, not when the time is up
    assert not caught.value.bytes_received
    assert [request.body for request in server.received].count(b"once") == 1
    assert len(server.peers) == 1
    assert upstream.counts(server.origin).open == 0


async def test_reset_before_reading_is_unknown(serve: Serve, pooled: Pooled) -> None:
    """A server that resets without reading may still have seen the request, as far as we know."""
    accepted = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await accepted.wait()
        peer.reset()

    server, upstream = await serve(handler), pooled()
    assert await ask(upstream, server) == b"ok"
    accepted.set()  # the handler runs after the request was written
    with pytest.raises(UpstreamUnknown):
        await upstream.send(request_to(server.origin))
    assert len(server.peers) == 1


async def test_refused_is_not_reached(pooled: Pooled, refusing_origin: Origin) -> None:
    """A refused connection releases the reservation, and its place."""
    upstream = pooled()
    with pytest.raises(UpstreamNotReached):
        await upstream.send(request_to(refusing_origin))
    assert upstream.counts(refusing_origin).open == 0


async def test_impossible_names_are_not_reached(pooled: Pooled) -> None:
    """A name that cannot be looked up releases the reservation."""
    upstream, origin = pooled(), Origin("http", "a" * 70 + ".test", 80)
    with pytest.raises(UpstreamNotReached):
        await upstream.send(request_to(origin))
    assert upstream.counts(origin).open == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["authority", "name"])
async def test_tls_that_does_not_verify_is_not_reached(
    serve: Serve, pooled: Pooled, certificates: Certificates, host: str
) -> None:
    """An unknown authority or a wrong name stops before a byte of the request is written."""
    server = await serve(answering(OK), certificates)
    context = default_ssl_context() if host == "localhost" else certificates.client_context()
    upstream = pooled(None, context)
    origin = Origin("https", host, server.origin.port)
    with pytest.raises(UpstreamNotReached, match=r"(?i)certificate"):
        await upstream.send(request_to(origin))
    assert server.received == []
    assert upstream.counts(origin).open == 0


async def test_tls_to_a_plain_server_is_not_reached(serve: Serve, pooled: Pooled) -> None:
    """A peer that does not speak TLS has seen nothing of the request."""

    async def handler(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server, upstream = await serve(handler), pooled()
    with pytest.raises(UpstreamNotReached):
        await upstream.send(request_to(Origin("https", "localhost", server.origin.port)))


async def test_connect_timeout_is_not_reached(serve: Serve, pooled: Pooled) -> None:
    """A handshake that never ends is stopped after `connect_ms`, with its connection."""
    silent, upstream = await serve(Peer.gone), pooled()
    origin = Origin("https", "127.0.0.1", silent.origin.port)
    timeouts = Timeouts(connect_ms=60, first_byte_ms=5_000, idle_ms=5_000)
    with pytest.raises(UpstreamNotReached, match="60 ms"):
        await upstream.send(request_to(origin, timeouts=timeouts))
    assert upstream.counts(origin).open == 0
    await asyncio.wait_for(silent.peers[0].finished.wait(), 30)


async def test_a_peer_that_talks_first_is_dropped(serve: Serve, pooled: Pooled) -> None:
    """Bytes on an idle connection, before any request of ours, are never an answer to it."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0)
        await peer.send_apart(OK)
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    assert await ask(upstream, server) == b"ok"
    await asyncio.wait_for(server.peers[0].finished.wait(), 30)
    assert upstream.counts(server.origin).open == 0


async def test_http_2_is_not_offered(
    serve: Serve, pooled: Pooled, certificates: Certificates
) -> None:
    """A server that would prefer HTTP/2 speaks HTTP/1.1 with us."""
    server = await serve(answering(OK), certificates)
    context = default_ssl_context()
    certificates.authority.configure_trust(context)
    assert await ask(pooled(None, context), server) == b"ok"
    tls = server.peers[0].writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == "http/1.1"


async def test_idle_connections_are_closed_in_time(serve: Serve, pooled: Pooled) -> None:
    """An idle connection lives as long as the limit says and not longer."""
    server, upstream = await serve(answering(OK)), pooled(UpstreamLimits(idle_lifetime_ms=60))
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert await ask(upstream, server) == b"ok"
    assert upstream.counts(server.origin).idle == 1
    # Before the request: a busy machine may let it begin to idle long before it is looked at.
    await asyncio.wait_for(server.peers[0].finished.wait(), 30)
    assert 0.06 <= loop.time() - started_s < UpstreamLimits().idle_lifetime_ms / 1000
    assert upstream.counts(server.origin).open == 0


async def test_two_hundred_at_once(serve: Serve, pooled: Pooled) -> None:
    """200 concurrent requests on 20 connections each get their own answer."""

    async def handler(peer: Peer) -> None:
        while True:
            body = (await peer.request()).body
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            await peer.send_apart(answer[:20], answer[20:])

    server = await serve(handler)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=20))
    bodies = [b"request %d" % number for number in range(200)]
    answers = await asyncio.gather(*(ask(upstream, server, body=body) for body in bodies))
    assert answers == bodies
    assert sorted(request.body for request in server.received) == sorted(bodies)
    assert len(server.peers) == 20
    counts = upstream.counts(server.origin)
    assert (counts.open, counts.idle, counts.waiting) == (20, 20, 0)


async def test_origins_are_bounded(serve: Serve, pooled: Pooled) -> None:
    """Origins without connections are forgotten when others come; busy ones are not."""
    busy, other = await serve(answering()), await serve(answering(OK))
    upstream = pooled(UpstreamLimits(origins_max=1, idle_per_origin_max=0))
    assert await ask(upstream, other) == b"ok"
    sending = asyncio.ensure_future(upstream.send(request_to(busy.origin)))
    await busy.until(requests=1)
    with pytest.raises(UpstreamNotReached, match="origins"):
        await upstream.send(request_to(other.origin))
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_close_ends_everything(serve: Serve, pooled: Pooled) -> None:
    """Closing aborts what is in flight, refuses what waits or comes, and closes all sockets."""
    server = await serve(answering())
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    flying = asyncio.ensure_future(upstream.send(request_to(server.origin)))
    waiting = asyncio.ensure_future(upstream.send(request_to(server.origin)))
    await server.until(requests=1)
    await upstream.close()
    with pytest.raises(UpstreamAborted):
        await flying
    with pytest.raises(UpstreamNotReached, match="shutting down"):
        await waiting
    for origin in (server.origin, Origin("http", "127.0.0.1", 1)):
        with pytest.raises(UpstreamNotReached, match="shutting down"):
            await upstream.send(request_to(origin))
    await asyncio.wait_for(server.peers[0].gone(), 30)
    assert upstream.counts(server.origin).open == 0
    await upstream.close()


async def test_close_while_connecting(serve: Serve, pooled: Pooled) -> None:
    """A connection that is ready only after the pool was closed is closed and nothing sent."""
    server, upstream = await serve(answering(OK)), pooled()
    sending = asyncio.ensure_future(upstream.send(request_to(server.origin)))
    await asyncio.sleep(0)
    await upstream.close()
    with pytest.raises(UpstreamNotReached):
        await sending
    await server.until(connections=1)
    await asyncio.wait_for(server.peers[0].finished.wait(), 30)
    assert server.received == []
    assert upstream.counts(server.origin).open == 0


async def test_close_lets_requests_end(serve: Serve, pooled: Pooled) -> None:
    """Within `drain_ms` a request in flight gets its answer, and no longer than that is waited."""
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    flying = asyncio.ensure_future(ask(upstream, server))
    await server.until(requests=1)
    closing = asyncio.ensure_future(upstream.close(drain_ms=60_000))
    await asyncio.sleep(0)
    go.set()
    assert await flying == b"ok"
    await asyncio.wait_for(closing, 30)


async def test_drain_has_an_end(serve: Serve, pooled: Pooled) -> None:
    """A request that does not end within `drain_ms` is aborted."""
    server, upstream = await serve(answering()), pooled()
    flying = asyncio.ensure_future(upstream.send(request_to(server.origin)))
    await server.until(requests=1)
    await asyncio.wait_for(upstream.close(drain_ms=50), 30)
    with pytest.raises(UpstreamAborted):
        await flying
