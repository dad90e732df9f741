"""Connections of the simulated world: bytes arrive late, in order, or not at all.

A wire has a client's end, which is an asyncio Transport for the product's own protocols, and a
server's end, which is a part of the world. What is on its way when a wire breaks is lost, or still
reaches the server later, as what lies in a socket's buffer does.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

from tests.simulation.clockwork import SimulatedLoop, current_process

GHOST_S_MAX = (0.01, 0.2, 3.0, 12.0)


class Server(Protocol):
    """The far end of wires."""

    def accepts(self, wire: "Wire") -> bool:
        """Whether somebody listens."""
        ...

    def received(self, wire: "Wire", data: bytes) -> None:
        """Bytes from the client."""
        ...

    def lost(self, wire: "Wire") -> None:
        """The client is gone."""
        ...


class _Socket:
    """What protocols ask a socket for: options, and a descriptor that never has news."""

    family = socket.AF_INET

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def setsockopt(self, *_: Any) -> None:
        """Taken and forgotten."""

    def fileno(self) -> int:
        """Of a pipe that nobody writes to."""
        return self._descriptor


class Network:
    """Servers by address, and how long bytes take: `latency_s` is the longest, drawn anew."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.servers: dict[str, Server] = {}
        self.latency_s = 0.003
        self.numbers = itertools.count(1)
        self._pipe = os.pipe()
        self.socket = _Socket(self._pipe[0])

    def close(self) -> None:
        """Gives the descriptor back."""
        for each in self._pipe:
            os.close(each)

    def delay_s(self) -> float:
        """How long one message takes."""
        return self.loop.rng.random() * self.latency_s

    async def connect(
        self, address: str, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Raises ConnectionRefusedError."""
        await asyncio.sleep(self.delay_s())
        server = self.servers.get(address)
        protocol = factory()
        wire = Wire(self, server, protocol) if server is not None else None
        if server is None or wire is None or not server.accepts(wire):
            raise ConnectionRefusedError(f"nobody listens at {address}")
        process = current_process(self.loop)
        process.on_death.append(wire.client_died)
        protocol.connection_made(wire)
        return wire, protocol


class Wire(asyncio.Transport):
    """A connection as its client has it; `reply`, `hang_up` and `cut` are the server's."""

    def __init__(self, network: Network, server: "Server | None", protocol: Any) -> None:
        super().__init__()
        self.number = next(network.numbers)
        self.client_open = True
        self.server_open = True
        self.client_name = current_process(network.loop).name
        self._network = network
        self._loop = network.loop
        self._server = server
        self._protocol = protocol
        self._context = copy_context()
        self._to_server_at = self._to_client_at = 0.0
        self._on_the_way: list[bytes] = []
        self._held: list[bytes] | None = None

    # The client's end.

    def write(self, data: Any) -> None:
        """Arrives later, after what was written before."""
        if not self.client_open:
            return
        self._on_the_way.append(bytes(data))
        self._at_server(self._arrive)

    def writelines(self, list_of_data: Any) -> None:
        """As one write."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """What was written still arrives."""
        if self.client_open:
            self.client_open = False
            self._at_server(self._server_lost)
            self._loop.call_soon(self._protocol.connection_lost, None, context=self._context)

    def abort(self) -> None:
        """What was written may still arrive."""
        if self.client_open:
            self._lose_some()
            self.close()

    def is_closing(self) -> bool:
        """As asyncio.Transport."""
        return not self.client_open

    def get_write_buffer_size(self) -> int:
        """The kernel takes everything at once."""
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket is all that is asked for."""
        return self._network.socket if name == "socket" else default

    def pause_reading(self) -> None:
        """What comes is held back."""
        self._held = self._held or []

    def resume_reading(self) -> None:
        """What was held back comes first."""
        held, self._held = self._held or [], None
        for data in held:
            self._loop.call_soon(self._deliver, data, context=self._context)

    def client_died(self) -> None:
        """The kernel closes what a killed process had open."""
        if self.client_open:
            self.client_open = False
            self._lose_some()
            self._at_server(self._server_lost)

    # The server's end.

    def reply(self, data: bytes) -> None:
        """Bytes to the client."""
        self._at_client(self._deliver, data)

    def hang_up(self) -> None:
        """The server closes in good order, after what it has sent."""
        self.server_open = False
        self._at_client(self._eof)

    def cut(self, *, at_once: bool = False) -> None:
        """The connection breaks: replies on their way are lost, and so may requests be."""
        self.server_open = False
        self._lose_some()
        if self.client_open:
            self.client_open = False
            error = ConnectionResetError("the simulated connection broke")
            delay_s = 0.0 if at_once else self._network.delay_s()
            self._loop.call_later(
                delay_s, self._protocol.connection_lost, error, context=self._context
            )

    # Between them.

    def _at_server(self, callback: Callable[[], None]) -> None:
        loop = self._loop
        self._to_server_at = max(self._to_server_at, loop.time() + self._network.delay_s())
        loop.call_at(self._to_server_at, callback, context=Context())

    def _at_client(self, callback: Callable[..., None], *args: Any) -> None:
        loop = self._loop
        self._to_client_at = max(self._to_client_at, loop.time() + self._network.delay_s())
        loop.call_at(self._to_client_at, callback, *args, context=self._context)

    def _arrive(self) -> None:
        if self._on_the_way:
            data = self._on_the_way.pop(0)
            if self.server_open and self._server is not None:
                self._server.received(self, data)

    def _lose_some(self) -> None:
        """A part of what is on its way is lost; what stays may come much later."""
        kept = self._on_the_way[: self._loop.rng.randint(0, len(self._on_the_way))]
        self._on_the_way.clear()
        if kept and self._server is not None:
            late_s = self._loop.rng.random() * self._loop.rng.choice(GHOST_S_MAX)
            self._loop.call_later(late_s, self._haunt, kept, context=Context())

    def _haunt(self, kept: list[bytes]) -> None:
        assert self._server is not None
        for data in kept:
            self._server.received(self, data)

    def _server_lost(self) -> None:
        if self.server_open and self._server is not None:
            self.server_open = False
            self._server.lost(self)

    def _deliver(self, data: bytes) -> None:
        if not self.client_open:
            return
        if self._held is not None:
            self._held.append(data)
        else:
            self._protocol.data_received(data)

    def _eof(self) -> None:
        if self.client_open:
            self._protocol.eof_received()
            self.close()
