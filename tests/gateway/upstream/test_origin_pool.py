"""Places: how many, who is next, and that cancelling in any phase gives them back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import Origin, PooledUpstream, Timeouts, UpstreamLimits, UpstreamNotReached

from .servers import OK, Peer, answering, request_to

Serve = Callable[..., Any]
Pooled = Callable[..., PooledUpstream]


class Gate:
    """A server that answers one request for each `open()`, and says which it has received."""

    def __init__(self) -> None:
        self.order: list[bytes] = []
        self.arrived = asyncio.Condition()
        self._answers = asyncio.Semaphore(0)

    def open(self) -> None:
        self._answers.release()

    async def until_arrived(self, number: int) -> None:
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.order) >= number)

    async def __call__(self, peer: Peer) -> None:
        while True:
            received = await peer.request()
            async with self.arrived:
                self.order.append(received.body)
                self.arrived.notify_all()
            await self._answers.acquire()
            await peer.send(OK)


async def ask(upstream: PooledUpstream, origin: Origin, body: bytes = b"") -> bytes:
    response = await upstream.send(request_to(origin, body=body))
    return await response.read_all(10)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiting_requests_are_served_in_order(serve: Serve, pooled: Pooled) -> None:
    """With two places for ten requests, they reach the server in the order in which they came."""
    gate = Gate()
    server = await serve(gate)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=2))
    bodies = [b"%d" % number for number in range(10)]
    asking = []
    for number, body in enumerate(bodies):
        asking.append(asyncio.ensure_future(ask(upstream, server.origin, body)))
        await gate.until_arrived(min(number + 1, 2))
        await settle()
    counts = upstream.counts(server.origin)
    assert (counts.open, counts.waiting) == (2, 8)
    for number in range(10):
        gate.open()
        await gate.until_arrived(min(number + 3, 10))
    assert await asyncio.gather(*asking) == [b"ok"] * 10
    assert gate.order == bodies
    assert len(server.peers) == 2


async def test_the_newest_idle_connection_is_taken_first(serve: Serve, pooled: Pooled) -> None:
    """Idle connections are a stack, so that the surplus of a peak can age and close."""
    gate = Gate()
    server, upstream = await serve(gate), pooled()
    asking = [asyncio.ensure_future(ask(upstream, server.origin)) for _ in range(3)]
    await gate.until_arrived(3)
    for _ in asking:
        gate.open()
    await asyncio.gather(*asking)
    for _ in range(4):
        gate.open()
        await ask(upstream, server.origin)
    assert sorted(len(peer.received) for peer in server.peers) == [1, 1, 5]


async def test_idle_connections_are_bounded(serve: Serve, pooled: Pooled) -> None:
    """No more connections stay idle than the limit allows."""
    gate = Gate()
    server, upstream = await serve(gate), pooled(UpstreamLimits(idle_per_origin_max=2))
    asking = [asyncio.ensure_future(ask(upstream, server.origin)) for _ in range(5)]
    await gate.until_arrived(5)
    for _ in asking:
        gate.open()
    await asyncio.gather(*asking)
    counts = upstream.counts(server.origin)
    assert (counts.open, counts.idle) == (2, 2)


async def test_waiting_too_long_or_too_many_is_not_reached(serve: Serve, pooled: Pooled) -> None:
    """A place that does not come in time, or a queue that is full, means nothing was sent."""
    gate = Gate()
    server = await serve(gate)
    limits = UpstreamLimits(connections_per_origin_max=1, waiting_per_origin_max=1)
    upstream = pooled(limits)
    first = asyncio.ensure_future(ask(upstream, server.origin))
    await gate.until_arrived(1)
    timeouts = Timeouts(connect_ms=80, first_byte_ms=5_000, idle_ms=5_000)
    second = asyncio.ensure_future(upstream.send(request_to(server.origin, timeouts=timeouts)))
    await settle()
    with pytest.raises(UpstreamNotReached, match="wait for a connection"):
        await upstream.send(request_to(server.origin))
    with pytest.raises(UpstreamNotReached, match="80 ms"):
        await second
    assert upstream.counts(server.origin).waiting == 0
    gate.open()
    assert await first == b"ok"
    assert len(gate.order) == 1


async def test_a_place_of_a_dead_connection_goes_to_the_next(serve: Serve, pooled: Pooled) -> None:
    """When the only connection dies, the first of those that wait opens another."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        while peer.number:
            await peer.send(OK)
            await peer.request()

    server = await serve(handler)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    asking = [ask(upstream, server.origin) for _ in range(4)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert answers[1:] == [b"ok"] * 3
    assert len(server.peers) == 2


async def test_a_failed_connect_passes_the_place_on(
    pooled: Pooled, refusing_origin: Origin
) -> None:
    """Requests behind one that could not connect are not left waiting."""
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    asking = [ask(upstream, refusing_origin) for _ in range(5)]
    answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 30)
    assert all(isinstance(answer, UpstreamNotReached) for answer in answers)
    counts = upstream.counts(refusing_origin)
    assert (counts.open, counts.waiting) == (0, 0)


async def test_a_stale_hand_over_keeps_the_turn(serve: Serve, pooled: Pooled) -> None:
    """A connection that dies while it is handed to a waiting request costs it neither turn nor
    request: it opens another, before those behind it."""

    async def handler(peer: Peer) -> None:
        while True:
            received = await peer.request()
            order.append(received.body)
            await peer.send(OK)
            if received.body == b"0":
                peer.shut_at_once()  # together with the answer: handed over dead
                return

    order: list[bytes] = []
    server = await serve(handler)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    bodies = [b"%d" % number for number in range(4)]
    answers = await asyncio.gather(*(ask(upstream, server.origin, body) for body in bodies))
    assert answers == [b"ok"] * 4
    assert order == bodies
    assert [len(peer.received) for peer in server.peers] == [1, 3]


async def test_a_connection_lost_in_the_hand_over_is_replaced(serve: Serve, pooled: Pooled) -> None:
    """A connection that closes between being given and being used costs no request."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK if peer.number else OK[:-1])
        await peer.gone()

    server = await serve(handler)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    await upstream.send(request_to(server.origin))
    second = asyncio.ensure_future(ask(upstream, server.origin))
    await settle()
    (connection,) = upstream._pools[server.origin]._adopted
    connection.data_received(OK[-1:])  # as if it arrived in this very tick
    connection.close()
    assert await asyncio.wait_for(second, 30) == b"ok"
    assert len(server.peers) == 2


async def cancel(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_while_waiting_for_a_place(serve: Serve, pooled: Pooled) -> None:
    """A cancelled waiter leaves the queue; the next one gets its turn."""
    gate = Gate()
    server = await serve(gate)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    first = asyncio.ensure_future(ask(upstream, server.origin, b"1"))
    await gate.until_arrived(1)
    second = asyncio.ensure_future(ask(upstream, server.origin, b"2"))
    third = asyncio.ensure_future(ask(upstream, server.origin, b"3"))
    await settle()
    await cancel(second)
    assert upstream.counts(server.origin).waiting == 1
    gate.open()
    gate.open()
    assert [await first, await third] == [b"ok", b"ok"]
    assert gate.order == [b"1", b"3"]
    assert upstream.counts(server.origin).open == 1


async def test_thrown_away_while_waiting_for_a_place(serve: Serve, pooled: Pooled) -> None:
    """A coroutine that is closed while it waits leaves the queue too."""
    gate = Gate()
    server = await serve(gate)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    first = asyncio.ensure_future(ask(upstream, server.origin, b"1"))
    await gate.until_arrived(1)
    second = ask(upstream, server.origin, b"2")
    second.send(None)
    assert upstream.counts(server.origin).waiting == 1
    second.close()
    assert upstream.counts(server.origin).waiting == 0
    gate.open()
    assert await first == b"ok"
    assert upstream.counts(server.origin).idle == 1


@pytest.mark.parametrize("given", ["connection", "place"])
async def test_cancelled_in_the_moment_of_its_turn(
    serve: Serve, pooled: Pooled, given: str
) -> None:
    """What a request was given in the tick in which it was cancelled is passed on, not lost."""

    async def handler(peer: Peer) -> None:
        if peer.number == 0:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            bodies.append((await peer.request()).body)
            await peer.send(OK)

    bodies: list[bytes] = []
    server = await serve(handler)
    upstream = pooled(UpstreamLimits(connections_per_origin_max=1))
    first = await upstream.send(request_to(server.origin))
    second = asyncio.ensure_future(ask(upstream, server.origin, b"2"))
    third = asyncio.ensure_future(ask(upstream, server.origin, b"3"))
    await settle()
    if given == "place":
        first.abort()
    else:
        (connection,) = upstream._pools[server.origin]._adopted
        connection.data_received(b"0\r\n\r\n")  # as if it arrived in this very tick
    assert upstream.counts(server.origin).waiting == 1
    await cancel(second)
    assert await asyncio.wait_for(third, 30) == b"ok"
    assert bodies == [b"3"]
    counts = upstream.counts(server.origin)
    assert (counts.open, counts.idle, counts.waiting) == (1, 1, 0)


async def test_cancelled_while_connecting(serve: Serve, pooled: Pooled) -> None:
    """A cancelled handshake gives its place back and closes its socket."""
    silent, upstream = await serve(Peer.gone), pooled()
    origin = Origin("https", "127.0.0.1", silent.origin.port)
    task = asyncio.ensure_future(upstream.send(request_to(origin)))
    await silent.until(connections=1)
    await cancel(task)
    assert upstream.counts(origin).open == 0
    await asyncio.wait_for(silent.peers[0].finished.wait(), 30)


@pytest.mark.parametrize("body_bytes", [2, 16 << 20], ids=["waiting for the head", "sending"])
async def test_cancelled_in_flight(serve: Serve, pooled: Pooled, body_bytes: int) -> None:
    """Cancelled while it sends or waits for the head, a request closes its connection."""
    seen = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        seen.set()
        await closed.wait()
        await peer.gone()
        gone.set()

    closed, gone = asyncio.Event(), asyncio.Event()
    server, upstream = await serve(handler), pooled()
    request = request_to(server.origin, body=b"x" * body_bytes)
    task = asyncio.ensure_future(upstream.send(request))
    await asyncio.wait_for(seen.wait(), 30)
    await cancel(task)
    assert upstream.counts(server.origin).open == 0
    closed.set()
    await asyncio.wait_for(gone.wait(), 30)


async def test_cancelling_at_random_leaks_nothing(serve: Serve, pooled: Pooled) -> None:
    """300 requests cancelled after every possible number of loop ticks leave all places free."""
    server = await serve(answering(OK[:-1], OK[-1:]))
    limits = UpstreamLimits(connections_per_origin_max=3, idle_per_origin_max=0)
    upstream = pooled(limits)
    tasks = [asyncio.ensure_future(ask(upstream, server.origin)) for _ in range(300)]
    for number, task in enumerate(tasks):
        for _ in range(number % 7):
            await asyncio.sleep(0)
        if number % 3:
            task.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert b"ok" in answers
    assert all(a == b"ok" or isinstance(a, asyncio.CancelledError) for a in answers)
    counts = upstream.counts(server.origin)
    assert (counts.open, counts.idle, counts.waiting) == (0, 0, 0)
