"""What a connection does by the clock and the kernel, driven by hand on a fake transport."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.upstream import Timeouts, UpstreamAborted, UpstreamTimeout, UpstreamUnknown

from .fakes import Bench, HandClock, tcp_pair
from .servers import OK, PATIENT, request_to

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PATIENT_S = PATIENT.idle_ms / 1000


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


async def test_dripping_heads_do_not_extend_the_first_byte_timeout(socks: Socks) -> None:
    """Interim answers and a head that comes byte by byte are not an answer yet."""
    clock = HandClock()
    bench = Bench(clock.loop, socks[0], timeouts=PATIENT)
    began_s = clock.time()
    for byte in b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100:
        bench.feed([bytes([byte])])
        clock.goes_on(0.07)
        assert bench.connection.closed == (clock.time() > began_s + PATIENT_S)
    with pytest.raises(UpstreamTimeout) as caught:
        await bench.exchange.head()
    assert (caught.value.phase, caught.value.bytes_received) == ("first_byte", True)


async def test_dripping_within_the_idle_limit_works(socks: Socks) -> None:
    """A body may last much longer than `idle_ms` and `first_byte_ms` if it keeps coming."""
    clock = HandClock()
    bench = Bench(clock.loop, socks[0], timeouts=PATIENT)
    clock.goes_on(PATIENT_S - 0.1)
    bench.feed([CHUNKED_HEAD])
    for _ in range(20):
        clock.goes_on(PATIENT_S - 0.1)
        bench.feed([b"1\r\nx\r\n"])
    clock.goes_on(PATIENT_S - 0.1)
    bench.feed([b"0\r\n\r\n"])
    assert await bench.exchange.read_all(100) == b"x" * 20
    assert (bench.owner.released_count, bench.connection.closed) == (1, False)


async def test_a_short_limit_after_a_long_one_holds(socks: Socks) -> None:
    """The one timer of a connection follows each request's own limits, shorter or longer."""
    clock = HandClock()
    short = Timeouts(connect_ms=5_000, first_byte_ms=60, idle_ms=60)
    bench = Bench(clock.loop, socks[0], timeouts=short)
    bench.feed([OK])
    assert await bench.exchange.read_all(10) == b"ok"
    exchange = bench.connection.start(b"head", request_to(bench.request.origin))
    clock.goes_on(PATIENT_S - 0.1)
    bench.feed([OK])
    assert await exchange.read_all(10) == b"ok"
    exchange = bench.connection.start(b"head", bench.request)
    clock.goes_on(0.1)
    with pytest.raises(UpstreamTimeout, match="within 60 ms"):
        await exchange.head()


async def test_a_slow_reader_is_not_a_silent_server(socks: Socks) -> None:
    """While nobody reads, the server may be silent for as long as that is; when the reader has
    caught up, the idle limit holds again."""
    clock = HandClock()
    bench = Bench(clock.loop, socks[0], timeouts=PATIENT)
    bench.feed([CHUNKED_HEAD + b"40\r\n" + b"x" * 64 + b"\r\n"])
    clock.goes_on(10 * PATIENT_S)
    assert await bench.exchange.read() == b"x" * 64
    clock.goes_on(PATIENT_S - 0.1)
    assert not bench.connection.closed
    clock.goes_on(0.2)
    with pytest.raises(UpstreamTimeout) as caught:
        await bench.exchange.read()
    assert caught.value.phase == "idle"


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
