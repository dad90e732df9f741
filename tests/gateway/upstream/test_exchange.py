"""A response as its reader sees it: reading, reading all, giving up, being cancelled."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import PooledUpstream, UpstreamAborted, UpstreamLimits, UpstreamUnknown

from .servers import OK, Peer, answering, request_to

Serve = Callable[..., Any]
Pooled = Callable[..., PooledUpstream]

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Stream:
    """A server that sends one chunk for each word put in, and the end for b""."""

    def __init__(self) -> None:
        self.words: asyncio.Queue[bytes] = asyncio.Queue()
        self.client_gone = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED_HEAD)
        watching = asyncio.ensure_future(self._watch(peer))
        while word := await self.words.get():
            await peer.send(b"%x\r\n%b\r\n" % (len(word), word))
        await peer.send(b"0\r\n\r\n")
        await watching

    async def _watch(self, peer: Peer) -> None:
        await peer.gone()
        self.client_gone.set()


async def test_send_returns_with_the_head_and_read_with_each_arrival(
    serve: Serve, pooled: Pooled
) -> None:
    """The head does not wait for the body, a read not for the next chunk; the end stays the end."""
    stream = Stream()
    server, upstream = await serve(stream), pooled()
    response = await upstream.send(request_to(server.origin))
    assert response.status == 200
    for word in (b"one", b"two"):
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        assert not reading.done()
        stream.words.put_nowait(word)
        assert await reading == word
    stream.words.put_nowait(b"")
    assert [await response.read() for _ in range(2)] == [b"", b""]
    assert await response.read_all(10) == b""


async def test_chunks_of_one_arrival_are_one_read(serve: Serve, pooled: Pooled) -> None:
    """Chunks that arrive together are read together, without their framing."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in b"abcdefgh")
    server, upstream = await serve(answering(CHUNKED_HEAD + chunks + b"0\r\n\r\n")), pooled()
    response = await upstream.send(request_to(server.origin))
    assert await response.read() == b"abcdefgh"
    assert await response.read() == b""


async def test_read_all_goes_on_where_read_stopped(serve: Serve, pooled: Pooled) -> None:
    """Both ways of reading can follow each other; together they give each byte once."""
    stream = Stream()
    server, upstream = await serve(stream), pooled()
    response = await upstream.send(request_to(server.origin))
    stream.words.put_nowait(b"one")
    assert await response.read() == b"one"
    for word in (b"two", b"three", b""):
        stream.words.put_nowait(word)
    assert await response.read_all(100) == b"twothree"


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_read_all_is_bounded(serve: Serve, pooled: Pooled, size: int) -> None:
    """A body of exactly the limit is read; one byte more fails, at once or while it streams."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (size, b"x" * size)
    server, upstream = await serve(answering(answer)), pooled()
    response = await upstream.send(request_to(server.origin))
    assert await response.read_all(size) == b"x" * size
    response = await upstream.send(request_to(server.origin))
    for _ in range(2):
        with pytest.raises(UpstreamUnknown, match=f"larger than {size - 1}") as caught:
            await response.read_all(size - 1)
        assert caught.value.bytes_received


async def test_read_all_may_exceed_what_read_would_buffer(serve: Serve, pooled: Pooled) -> None:
    """Whoever asks for the whole body is not stopped at the limit for unread bytes."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000
    server, upstream = await serve(answering(answer)), pooled(UpstreamLimits(unread_bytes_max=1000))
    response = await upstream.send(request_to(server.origin))
    assert len(await response.read_all(1_000_000)) == 1_000_000
    assert upstream.counts(server.origin).idle == 1


async def test_abort_cuts_the_stream(serve: Serve, pooled: Pooled) -> None:
    """Abort ends a pending read and each later one, and the provider sees the connection close."""
    stream = Stream()
    server, upstream = await serve(stream), pooled()
    response = await upstream.send(request_to(server.origin))
    reading = asyncio.ensure_future(response.read())
    await asyncio.sleep(0)
    response.abort()
    response.abort()
    with pytest.raises(UpstreamAborted):
        await reading
    with pytest.raises(UpstreamAborted):
        await response.read()
    with pytest.raises(UpstreamAborted):
        await response.read_all(10)
    assert upstream.counts(server.origin).open == 0
    await asyncio.wait_for(stream.client_gone.wait(), 30)


async def test_abort_drops_what_was_not_read(serve: Serve, pooled: Pooled) -> None:
    """Bytes that came before the abort are not given out after it; it tells of them, once."""
    server, upstream = await serve(answering(CHUNKED_HEAD + b"3\r\none\r\n")), pooled()
    response = await upstream.send(request_to(server.origin))
    assert response.abort()
    assert not response.abort()
    with pytest.raises(UpstreamAborted):
        await response.read()


@pytest.mark.parametrize("is_read", [True, False])
async def test_abort_after_the_end_keeps_the_connection(
    serve: Serve, pooled: Pooled, is_read: bool
) -> None:
    """Aborting an answer whose message has ended closes nothing, not even another's exchange."""
    server, upstream = await serve(answering(OK)), pooled()
    first = await upstream.send(request_to(server.origin))
    if is_read:
        assert await first.read_all(10) == b"ok"
    second = await upstream.send(request_to(server.origin))
    first.abort()
    assert await second.read_all(10) == b"ok"
    assert upstream.counts(server.origin).idle == 1
    assert len(server.peers) == 1


async def test_a_cancelled_read_closes_the_connection(serve: Serve, pooled: Pooled) -> None:
    """Cancelling the task that reads gives the place back, and the provider sees it."""
    stream = Stream()
    server, upstream = await serve(stream), pooled()
    response = await upstream.send(request_to(server.origin))
    for method in (response.read, lambda: response.read_all(10)):
        reading = asyncio.ensure_future(method())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises((asyncio.CancelledError, UpstreamAborted)):
            await reading
        assert upstream.counts(server.origin).open == 0
    await asyncio.wait_for(stream.client_gone.wait(), 30)


async def test_a_thrown_away_read_closes_the_connection(serve: Serve, pooled: Pooled) -> None:
    """A coroutine that is closed while it reads leaks no connection either."""
    server, upstream = await serve(Stream()), pooled()
    response = await upstream.send(request_to(server.origin))
    reading = response.read()
    reading.send(None)
    reading.close()
    assert upstream.counts(server.origin).open == 0


async def test_two_readers_are_refused(serve: Serve, pooled: Pooled) -> None:
    """A second reader is told so, and the first one is not disturbed."""
    stream = Stream()
    server, upstream = await serve(stream), pooled()
    response = await upstream.send(request_to(server.origin))
    reading = asyncio.ensure_future(response.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await response.read()
    stream.words.put_nowait(b"one")
    assert await reading == b"one"
