"""One exchange over a real socket: where answers end, and which are refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import (
    PooledUpstream,
    UpstreamUnknown,
)

from .servers import OK, Certificates, Peer, answering, answering_once, request_to

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
    await asyncio.wait_for(client_closed.wait(), 30)
    assert upstream.counts(server.origin).open == 0
