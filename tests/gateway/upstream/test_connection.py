"""One exchange over a real socket: framing, time limits, hostile answers, flow control."""

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
    UpstreamUnknown,
)

from .servers import OK, PATIENT, Certificates, Peer, answering, answering_once, request_to

Serve = Callable[..., Any]
Pooled = Callable[..., PooledUpstream]

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nX-Name: Value\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n,\r\n6\r\n world\r\n0\r\nx-trailer: t\r\ny: z\r\n\r\n"
)
SIZED = b"HTTP/1.1 200 OK\r\nX-Name: Value\r\nContent-Length: 12\r\n\r\nhello, world"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("answer", [CHUNKED, SIZED], ids=["chunked", "sized"])
async def test_answers_may_be_split_anywhere(serve: Serve, pooled: Pooled, answer: bytes) -> None:
    """Wherever the network cuts an answer in two, the same answer is read, on one connection."""

    async def handler(peer: Peer) -> None:
        for cut in range(len(answer)):
            await peer.request()
            await peer.send_apart(answer[:cut], answer[cut:])
        await peer.request()
        await peer.send_apart(*(answer[i : i + 1] for i in range(len(answer))))
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    for _ in range(len(answer) + 1):
        response = await upstream.send(request_to(server.origin))
        assert (response.status, response.headers[0]) == (200, (b"x-name", b"Value"))
        assert await response.read_all(100) == b"hello, world"
    assert len(server.peers) == 1


async def test_trailers_are_dropped(serve: Serve, pooled: Pooled) -> None:
    """Trailers appear neither in the headers of their own answer nor in those of the next."""
    server, upstream = await serve(answering(CHUNKED)), pooled()
    for _ in range(3):
        response = await upstream.send(request_to(server.origin))
        assert await response.read_all(100) == b"hello, world"
        assert [name for name, _ in response.headers] == [b"x-name", b"transfer-encoding"]
    assert len(server.peers) == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_end_of_file_ends_a_body_without_length(
    serve: Serve, pooled: Pooled, certificates: Certificates, tls: bool
) -> None:
    """Without a length and without chunks the body lasts until the peer closes, properly."""
    handler = answering_once(b"HTTP/1.1 200 OK\r\n\r\nhello, ", b"world")
    server = await serve(handler, certificates if tls else None)
    upstream = pooled(None, certificates.client_context())
    response = await upstream.send(request_to(server.origin))
    assert await response.read_all(100) == b"hello, world"
    assert await response.read() == b""
    assert upstream.counts(server.origin).open == 0


async def test_tls_cut_without_goodbye_is_no_end(
    serve: Serve, pooled: Pooled, certificates: Certificates
) -> None:
    """Under TLS a bare FIN, which anybody on the way can forge, does not end a body."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.shut_at_once()
        await peer.gone()

    server = await serve(handler, certificates)
    upstream = pooled(None, certificates.client_context())
    response = await upstream.send(request_to(server.origin))
    with pytest.raises(UpstreamUnknown) as caught:
        await response.read_all(100)
    assert caught.value.bytes_received


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        CHUNKED_HEAD + b"6\r\nhello",
        CHUNKED_HEAD + b"5\r\nhello\r\n",
        CHUNKED_HEAD + b"5\r\nhello\r\n0\r\n",
    ],
    ids=["length", "in a chunk", "between chunks", "before the last line"],
)
async def test_bodies_cut_short_are_unknown(serve: Serve, pooled: Pooled, answer: bytes) -> None:
    """A body that announced its end and did not reach it gives out what came, then fails."""
    server, upstream = await serve(answering_once(answer)), pooled()
    response = await upstream.send(request_to(server.origin))
    assert await response.read() == b"hello"
    for _ in range(2):
        with pytest.raises(UpstreamUnknown) as caught:
            await response.read()
        assert caught.value.bytes_received
    assert upstream.counts(server.origin).open == 0


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-le"], ids=["none", "part"])
async def test_closing_before_the_head_is_whole_is_unknown(
    serve: Serve, pooled: Pooled, answer: bytes
) -> None:
    """`send` fails as unknown, and says whether any byte of an answer had come."""
    server, upstream = await serve(answering_once(answer)), pooled()
    with pytest.raises(UpstreamUnknown) as caught:
        await upstream.send(request_to(server.origin))
    assert caught.value.bytes_received is bool(answer)


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
    ],
)
async def test_interim_answers_are_skipped(serve: Serve, pooled: Pooled, interim: bytes) -> None:
    """Any number of 1xx answers, together with the final one or before it, leave no trace."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(interim + OK)
        await peer.request()
        await peer.send_apart(interim, OK)
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    for _ in range(2):
        response = await upstream.send(request_to(server.origin))
        assert response.status == 200
        assert response.headers == [(b"content-length", b"2")]
        assert await response.read_all(10) == b"ok"
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("method", "answer", "is_kept"),
    [
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", True),
        ("POST", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", True),
        ("POST", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", False),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", False),
        ("HEAD", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    serve: Serve, pooled: Pooled, method: str, answer: bytes, is_kept: bool
) -> None:
    """No body is awaited after 204, 304, a length of zero, or in answer to HEAD."""
    server, upstream = await serve(answering(answer)), pooled()
    response = await upstream.send(request_to(server.origin, method=method))
    assert await response.read() == b""
    assert upstream.counts(server.origin).idle == is_kept


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        CHUNKED_HEAD.replace(b"1.1", b"1.0").replace(b"OK\r\n", b"OK\r\nconnection: keep-alive\r\n")
        + b"2\r\nok\r\n0\r\n\r\n",
    ],
    ids=["close", "1.0", "chunked in 1.0"],
)
async def test_connections_that_must_end_are_not_kept(
    serve: Serve, pooled: Pooled, answer: bytes
) -> None:
    """Connection: close, HTTP/1.0 and chunks in HTTP/1.0 (RFC 9112, 6.1) end the connection."""
    server, upstream = await serve(answering(answer)), pooled()
    for _ in range(2):
        response = await upstream.send(request_to(server.origin))
        assert await response.read_all(10) == b"ok"
        assert upstream.counts(server.origin).open == 0
    assert len(server.peers) == 2


async def test_http_1_0_with_keep_alive_is_kept(serve: Serve, pooled: Pooled) -> None:
    """HTTP/1.0 that says keep-alive and has a length serves the next request too."""
    answer = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"
    server, upstream = await serve(answering(answer)), pooled()
    for _ in range(2):
        response = await upstream.send(request_to(server.origin))
        assert await response.read_all(10) == b"ok"
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: a\ncontent-length: 0\n\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
    ],
)
async def test_malformed_heads_are_unknown(serve: Serve, pooled: Pooled, answer: bytes) -> None:
    """Two lengths, foreign encodings, folded lines, other protocols: refused, connection closed."""
    server, upstream = await serve(answering(answer)), pooled()
    with pytest.raises(UpstreamUnknown, match="malformed") as caught:
        await upstream.send(request_to(server.origin))
    assert caught.value.bytes_received
    assert upstream.counts(server.origin).open == 0


@pytest.mark.parametrize(
    "body",
    [b"5\r\nhelloX\r\n", b"5\r\nhello\r\nzz\r\n", b"5\r\nhello\r\nfffffffffffffffff\r\n"],
)
async def test_malformed_chunks_are_unknown(serve: Serve, pooled: Pooled, body: bytes) -> None:
    """Broken chunk framing gives out what came before it and fails."""
    server, upstream = await serve(answering(CHUNKED_HEAD + body)), pooled()
    response = await upstream.send(request_to(server.origin))
    assert await response.read() == b"hello"
    with pytest.raises(UpstreamUnknown, match="malformed"):
        await response.read()
    assert upstream.counts(server.origin).open == 0


LINE = b"x-filler: " + b"y" * 1000 + b"\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + LINE * 70 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 " + b"y" * 70_000,
        b"HTTP/1.1 103 Early Hints\r\n" + LINE * 70,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3_000,
    ],
    ids=["whole", "one field", "reason", "interim", "many interim"],
)
@pytest.mark.parametrize("is_apart", [False, True], ids=["at once", "apart"])
async def test_heads_are_bounded(
    serve: Serve, pooled: Pooled, answer: bytes, is_apart: bool
) -> None:
    """A head above 64 KiB, in whatever form, ends the exchange as unknown."""
    pieces = [answer[i : i + 8192] for i in range(0, len(answer), 8192)]

    async def handler(peer: Peer) -> None:
        await peer.request()
        await (peer.send_apart(*pieces) if is_apart else peer.send(answer))
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    with pytest.raises(UpstreamUnknown, match="65536 bytes of head"):
        await upstream.send(request_to(server.origin))
    assert upstream.counts(server.origin).open == 0


async def test_heads_below_the_limit_pass(serve: Serve, pooled: Pooled) -> None:
    """60 KB of head with 200 KB of body in one segment are an ordinary answer."""
    head = b"HTTP/1.1 200 OK\r\n" + LINE * 60 + b"content-length: 200000\r\n\r\n"
    server, upstream = await serve(answering(head + b"z" * 200_000)), pooled()
    response = await upstream.send(request_to(server.origin))
    assert len(response.headers) == 61
    assert len(await response.read_all(200_000)) == 200_000


@pytest.mark.parametrize(
    "tail",
    [b"0\r\nx: " + b"y" * 400_000, b"5;" + b"e" * 400_000, b"0\r\n" + LINE * 400],
    ids=["trailer", "extension", "trailers"],
)
async def test_what_is_not_content_is_bounded_too(
    serve: Serve, pooled: Pooled, tail: bytes
) -> None:
    """Endless trailers or chunk extensions end the exchange as unknown."""
    server, upstream = await serve(answering(CHUNKED_HEAD + b"5\r\nhello\r\n" + tail)), pooled()
    response = await upstream.send(request_to(server.origin))
    with pytest.raises(UpstreamUnknown, match="bytes of head"):
        await response.read_all(1_000_000)


@pytest.mark.parametrize("surplus", [b"x", b"H", b"HTTP/1.1 200 OK\r\n\r\n", OK])
@pytest.mark.parametrize("is_apart", [False, True], ids=["same segment", "later"])
async def test_surplus_bytes_poison_the_connection(
    serve: Serve, pooled: Pooled, surplus: bytes, is_apart: bool
) -> None:
    """Bytes that nobody asked for never become the next answer: the connection is closed."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        if is_apart:
            await peer.send_apart(OK, surplus)
        else:
            await peer.send(OK + surplus)
        await peer.gone()
        client_closed.set()

    client_closed = asyncio.Event()
    server, upstream = await serve(handler), pooled()
    response = await upstream.send(request_to(server.origin))
    assert await response.read_all(10) == b"ok"
    await asyncio.wait_for(client_closed.wait(), 5)
    assert upstream.counts(server.origin).open == 0


async def test_first_byte_timeout(serve: Serve, pooled: Pooled) -> None:
    """No answer in time is unknown, phase first_byte, and closes the connection."""
    server, upstream = await serve(answering()), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=60, idle_ms=5_000)
    with pytest.raises(UpstreamTimeout, match="no answer within 60 ms") as caught:
        await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert (caught.value.phase, caught.value.bytes_received) == ("first_byte", False)
    assert upstream.counts(server.origin).open == 0


async def test_dripping_heads_do_not_extend_the_first_byte_timeout(
    serve: Serve, pooled: Pooled
) -> None:
    """Interim answers and a head that comes byte by byte are not an answer yet."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        for byte in b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.005)

    server, upstream = await serve(handler), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=150, idle_ms=50)
    with pytest.raises(UpstreamTimeout) as caught:
        await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert (caught.value.phase, caught.value.bytes_received) == ("first_byte", True)


async def test_idle_timeout(serve: Serve, pooled: Pooled) -> None:
    """A body that stops coming gives out what came, then fails with phase idle."""
    server, upstream = await serve(answering(CHUNKED_HEAD + b"5\r\nhello\r\n")), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=5_000, idle_ms=60)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert await response.read() == b"hello"
    with pytest.raises(UpstreamTimeout, match="within 60 ms") as caught:
        await asyncio.wait_for(response.read(), 2)
    assert (caught.value.phase, caught.value.bytes_received) == ("idle", True)
    assert upstream.counts(server.origin).open == 0


async def test_dripping_within_the_idle_limit_works(serve: Serve, pooled: Pooled) -> None:
    """A body may last much longer than `idle_ms` and `first_byte_ms` if it keeps coming."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED_HEAD)
        for _ in range(20):
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\nx\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=150, idle_ms=150)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    assert await response.read_all(100) == b"x" * 20
    assert upstream.counts(server.origin).idle == 1


async def test_a_short_limit_after_a_long_one_holds(serve: Serve, pooled: Pooled) -> None:
    """The one timer of a connection follows each request's own limits, shorter or longer."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await asyncio.sleep(0.15)
        await peer.send(OK)
        await peer.request()
        await peer.gone()

    server, upstream = await serve(handler), pooled()
    short = Timeouts(connect_ms=5_000, first_byte_ms=60, idle_ms=60)
    for timeouts in (short, PATIENT):
        response = await upstream.send(request_to(server.origin, timeouts=timeouts))
        assert await response.read_all(10) == b"ok"
    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(upstream.send(request_to(server.origin, timeouts=short)), 3)
    assert len(server.peers) == 1


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
                await asyncio.wait_for(peer.writer.drain(), 0.2)
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
    # Far shorter than the server is made to wait: our own slowness must not count as its idleness.
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=5_000, idle_ms=80)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    await asyncio.wait_for(flood.blocked.wait(), 10)
    assert len(response.body) <= bound_bytes  # type: ignore[attr-defined]  # the buffer itself
    assert flood.sent_bytes < 20 << 20
    total_bytes = 0
    while piece := await response.read():
        assert len(piece) <= bound_bytes
        total_bytes += len(piece)
    assert total_bytes == 512 << 16
    assert upstream.counts(server.origin).idle == 1


async def test_after_a_pause_the_idle_limit_holds_again(serve: Serve, pooled: Pooled) -> None:
    """A server that says nothing more after a slow reader has caught up times out as idle."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + b"z" * 5_000)
        await peer.gone()

    server, upstream = await serve(handler), pooled(UpstreamLimits(unread_bytes_max=1_000))
    timeouts = Timeouts(connect_ms=5_000, first_byte_ms=5_000, idle_ms=60)
    response = await upstream.send(request_to(server.origin, timeouts=timeouts))
    await asyncio.sleep(0.15)  # far longer than the server may be silent
    assert len(await response.read()) == 5_000
    with pytest.raises(UpstreamTimeout) as caught:
        await asyncio.wait_for(response.read(), 2)
    assert caught.value.phase == "idle"


async def test_silent_connections_are_probed(serve: Serve, pooled: Pooled) -> None:
    """TCP keep-alive is on, so that a stream behind a NAT is not forgotten unnoticed."""
    server, upstream = await serve(answering(OK)), pooled()
    await (await upstream.send(request_to(server.origin))).read_all(10)
    (connection,) = upstream._pools[server.origin]._adopted
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_reader_that_stalls_loses_the_answer(serve: Serve, pooled: Pooled) -> None:
    """A paused connection does not hold its place for ever."""
    limits = UpstreamLimits(unread_bytes_max=1_000, stall_ms_max=100)
    server, upstream = await serve(Flood(pieces=512)), pooled(limits)
    response = await upstream.send(request_to(server.origin))
    await asyncio.wait_for(server.peers[0].gone(), 5)
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
