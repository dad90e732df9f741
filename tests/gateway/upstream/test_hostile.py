"""Properties of a connection against any bytes at all: generated answers, split and mutilated."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream import UpstreamError

from .fakes import LIMITS, Bench, tcp_pair


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def sock() -> Iterator[socket.socket]:
    with tcp_pair() as (ours, _):
        yield ours


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


names = st.text("abcXYZ-", min_size=1, max_size=10).map(lambda name: b"x-" + name.encode())
values = st.binary(max_size=20).map(lambda value: value.hex().encode())
headers = st.lists(st.tuples(names, values), max_size=5)
bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=6)
cuts = st.lists(st.integers(0, 5_000), max_size=12)


def answer(fields: list[tuple[bytes, bytes]], body: list[bytes], is_chunked: bool) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    if is_chunked:
        framing = b"transfer-encoding: chunked\r\n\r\n"
        content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body) + b"0\r\n\r\n"
    else:
        content = b"".join(body)
        framing = b"content-length: %d\r\n\r\n" % len(content)
    return b"HTTP/1.1 200 OK\r\n" + lines + framing + content


@given(headers, bodies, st.booleans(), cuts)
def test_whole_answers_are_read_exactly(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    fields: list[tuple[bytes, bytes]],
    body: list[bytes],
    is_chunked: bool,
    cuts: list[int],
) -> None:
    """However an answer is split: headers and body are exact, the connection given back once."""
    bench = Bench(loop, sock)
    bench.feed(split(answer(fields, body, is_chunked), cuts))
    assert bench.exchange.headers[:-1] == [(name.lower(), value) for name, value in fields]
    assert bench.read_all() == b"".join(body)
    assert bench.owner.released_count == 1
    assert not bench.transport.is_paused
    bench.lose()
    assert (bench.owner.closed_count, bench.owner.gone_count) == (1, 1)


@given(headers, bodies, st.booleans(), cuts, st.integers(0), st.binary(max_size=4))
def test_mutilated_answers_end_the_exchange_or_wait(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    fields: list[tuple[bytes, bytes]],
    body: list[bytes],
    is_chunked: bool,
    cuts: list[int],
    place: int,
    patch: bytes,
) -> None:
    """Whatever bytes come: nothing but UpstreamError is raised, and the place is freed once."""
    whole = answer(fields, body, is_chunked)
    start = place % len(whole)
    bench = Bench(loop, sock)
    bench.feed(split(whole[:start] + patch + whole[start + 2 :], cuts))
    bench.lose()
    with contextlib.suppress(UpstreamError):
        assert len(bench.read_all()) <= len(whole) + len(patch)
    assert (bench.owner.closed_count, bench.owner.gone_count) == (1, 1)
    assert bench.owner.released_count <= 1
    assert bench.connection.closed


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_any_bytes_are_bounded(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, pieces: list[bytes]
) -> None:
    """Noise never becomes an answer, and what is kept of it stays within the limits."""
    bench = Bench(loop, sock)
    bench.feed(pieces)
    assert bench.exchange.status == 0
    assert bench.connection._overhead_bytes <= LIMITS.head_bytes_max + 400
    bench.lose()
    with pytest.raises(UpstreamError):
        bench.read_all()
