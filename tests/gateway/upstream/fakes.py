"""A connection on a fake transport, for what real sockets cannot be made to do on demand."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

from gateway.upstream import Origin, Timeouts, UpstreamLimits
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Exchange

from .servers import PATIENT, request_to

LIMITS = UpstreamLimits(head_bytes_max=2_000, unread_bytes_max=50, send_slice_bytes=20_000)


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a real TCP connection, ours first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


class FakeTransport(asyncio.Transport):
    """A transport that takes everything and notes what it is told."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.is_aborted = False
        self.is_paused = False
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


class CountingOwner:
    def __init__(self) -> None:
        self.released_count = self.closed_count = self.gone_count = 0

    def released(self, _: Connection) -> None:
        self.released_count += 1

    def closed(self, _: Connection) -> None:
        self.closed_count += 1

    def gone(self, _: Connection) -> None:
        self.gone_count += 1


class HandClock:
    """What a connection needs of a loop; its time goes on only when a test says so."""

    def __init__(self) -> None:
        self._real = asyncio.get_running_loop()
        self._now_s = 1_000.0
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """As a connection takes it."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return self._now_s

    def call_at(self, when: float, callback: Any, *args: Any, **_: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self.loop)
        self._timers.append(timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return self._real.create_future()

    def get_debug(self) -> bool:
        return False

    def goes_on(self, seconds: float) -> None:
        """Runs what is due by then, each at its time."""
        until_s = self._now_s + seconds
        while due := [each for each in self._timers if each.when() <= until_s]:
            timer = min(due, key=asyncio.TimerHandle.when)
            self._timers.remove(timer)
            if not timer.cancelled():
                self._now_s = timer.when()
                timer._run()
        self._now_s = until_s

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers.remove(handle)


class Bench:
    """A connection with one exchange in flight, and nothing real around it but the loop's clock."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        body: bytes = b"{}",
        timeouts: Timeouts = PATIENT,
    ) -> None:
        self.loop = loop
        self.owner = CountingOwner()
        self.transport = FakeTransport(sock)
        self.connection = Connection(loop, LIMITS)
        self.connection.connection_made(self.transport)
        self.connection.adopt(self.owner)
        self.request = request_to(Origin("http", "x", 1), body=body, timeouts=timeouts)
        self.exchange: Exchange = self.connection.start(b"head", self.request)

    def feed(self, pieces: list[bytes]) -> None:
        """As asyncio would: nothing more after the transport was closed."""
        for piece in pieces:
            if piece and not self.transport.is_aborted:
                self.connection.data_received(piece)

    def lose(self) -> None:
        if not self.transport.is_aborted:
            self.connection.eof_received()
        self.connection.connection_lost(None)

    def read_all(self) -> bytes:
        return self.loop.run_until_complete(self.exchange.read_all(1_000_000))
