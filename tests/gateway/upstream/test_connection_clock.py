"""What a connection does by the clock and the kernel, driven by hand on a fake transport."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.upstream import UpstreamAborted, UpstreamTimeout, UpstreamUnknown

from .fakes import Bench, tcp_pair
from .servers import OK

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def socks() -> Iterator[tuple[socket.socket, socket.socket]]:
    with tcp_pair() as pair:
        yield pair


Socks = tuple[socket.socket, socket.socket]


async def test_an_idle_connection_is_usable_until_its_time_is_up(socks: Socks) -> None:
    """Usable means: not closing, not expired even if no timer has run yet, nothing to read."""
    bench = Bench(asyncio.get_running_loop(), socks[0])
    bench.feed([OK])
    connection = bench.connection
    assert connection.usable()
    bench.transport.is_aborted = True  # closing, and not told yet
    assert not connection.usable()
    bench.transport.is_aborted = False
    deadline, connection._deadline = connection._deadline, bench.loop.time()
    assert not connection.usable()
    connection._deadline = deadline
    assert connection.usable()
    socks[1].send(b"x")
    assert not connection.usable()
    connection.close()
    assert bench.owner.closed_count == 1


async def test_each_slice_of_a_large_request_extends_the_first_byte_limit(socks: Socks) -> None:
    """As long as the socket takes the request, the wait for the answer has not begun."""
    bench = Bench(asyncio.get_running_loop(), socks[0], body=b"x" * 65_000)
    bench.connection._deadline = 0.0
    await asyncio.sleep(0)
    assert bench.connection._deadline > bench.loop.time()
    for _ in range(5):
        await asyncio.sleep(0)
    assert b"".join(bench.transport.writes) == b"head" + b"x" * 65_000
    bench.connection.close()


async def test_nothing_is_written_after_closing(socks: Socks) -> None:
    """The rest of a large request stays unsent when its connection closes."""
    bench = Bench(asyncio.get_running_loop(), socks[0], body=b"x" * 65_000)
    bench.connection.close()
    bench.connection.resume_writing()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(b"".join(bench.transport.writes)) == 20_004
    with pytest.raises(UpstreamAborted):
        await bench.exchange.head()


async def test_an_answer_that_ends_while_paused_resumes_the_connection(socks: Socks) -> None:
    """A connection never goes back to the pool deaf."""
    bench = Bench(asyncio.get_running_loop(), socks[0])
    bench.feed([CHUNKED_HEAD + b"40\r\n" + b"x" * 64 + b"\r\n"])
    states = [bench.transport.is_paused]
    bench.feed([b"0\r\n\r\n"])
    states.append(bench.transport.is_paused)
    assert states == [True, False]
    assert bench.owner.released_count == 1
    assert await bench.exchange.read() == b"x" * 64
    bench.connection.close()


async def test_bytes_that_arrive_while_paused_do_not_shorten_the_readers_time(socks: Socks) -> None:
    """TLS can deliver what it had decrypted already; the reader's own limit stays."""
    bench = Bench(asyncio.get_running_loop(), socks[0])
    bench.feed([CHUNKED_HEAD + b"40\r\n" + b"x" * 64 + b"\r\n"])
    deadline = bench.connection._deadline
    bench.feed([b"1\r\ny\r\n"])
    assert bench.connection._deadline == deadline
    bench.connection.close()


async def test_a_timer_that_fires_early_is_set_again(socks: Socks) -> None:
    """The timer is only a reminder: what counts is the deadline at the moment it fires."""
    bench = Bench(asyncio.get_running_loop(), socks[0])
    bench.connection._on_timer()
    assert not bench.connection.closed
    bench.connection._deadline = 0.0
    bench.connection._on_timer()
    with pytest.raises(UpstreamTimeout):
        await bench.exchange.head()
    assert bench.owner.closed_count == 1


async def test_a_request_that_cannot_be_started_frees_its_place(
    socks: Socks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong while writing is unknown, and the place in the pool is not lost."""
    bench = Bench(asyncio.get_running_loop(), socks[0])
    bench.feed([OK])

    def broken(_: bytes) -> None:
        raise RuntimeError("no such transport")

    monkeypatch.setattr(bench.transport, "write", broken)
    with pytest.raises(UpstreamUnknown):
        bench.connection.start(b"head", bench.request)
    assert bench.connection.closed
    assert bench.owner.closed_count == 1
