"""Connections to one server: how many are made at once, and which are used again."""

import asyncio

import pytest
from redis.exceptions import ReadOnlyError

from budgets.embedded import EmbeddedServer
from budgets.redisnode import CONNECTING_AT_ONCE_MAX, CONNECTIONS_MAX, Attempt, Dial, Node
from budgets.redispy import RedisPyTransport
from budgets.redisurl import parse_redis_url
from tests.budgets.conftest import PATIENT
from tests.budgets.servers import HOST, TestServer, running


class SlowToGreet:
    """Speaks just enough RESP: takes its time over AUTH, and counts who waits for it."""

    def __init__(self) -> None:
        self.greeting = 0
        self.most_greeting = 0
        self.connections = 0
        self._open = 0
        self.all_gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        self.connections += 1
        self._open += 1
        self.greeting += 1
        self.most_greeting = max(self.most_greeting, self.greeting)
        await reader.readuntil(b"secret\r\n")
        await asyncio.sleep(0.002)
        self.greeting -= 1
        writer.write(b"+OK\r\n")
        while await reader.read(1000):
            writer.write(b"+PONG\r\n")
        writer.close()
        await writer.wait_closed()
        self._open -= 1
        if not self._open:
            self.all_gone.set()


async def test_connections_are_made_a_few_at_a_time() -> None:
    """A burst of calls begins a few handshakes at once, however many it needs: all at once, none
    of them would end in time. Calls that find a connection free by then take that."""
    slow = SlowToGreet()
    server = await asyncio.start_server(slow.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    transport = RedisPyTransport(f"redis://:secret@{HOST}:{port}", limits=PATIENT)
    answers = await asyncio.gather(*(transport.command("PING") for _ in range(300)))
    await transport.close()
    await slow.all_gone.wait()
    server.close()
    await server.wait_closed()
    assert answers == [b"PONG"] * 300
    assert slow.most_greeting <= CONNECTING_AT_ONCE_MAX
    assert slow.connections <= CONNECTIONS_MAX


async def test_a_connection_from_before_a_doubt_is_not_used_again(valkey: EmbeddedServer) -> None:
    """It was held while its server was doubted: whoever comes next gets a new one."""
    url = parse_redis_url(f"unix://{valkey.socket_path}")
    node = Node(Dial(url), ("", 0))

    async def connection() -> object:
        async with node.line(Attempt(asyncio.timeout(None))) as line:
            return await line.ask("CLIENT", "ID")

    first = await connection()
    assert await connection() == first
    async with node.line(Attempt(asyncio.timeout(None))) as line:
        assert await line.ask("CLIENT", "ID") == first
        await node.drop()
        assert await line.ask("CLIENT", "ID") == first, "whoever holds it goes on"
    second = await connection()
    assert second != first
    await node.drop()
    assert await connection() not in (first, second)
    await node.close()


async def test_a_replica_is_not_taken_for_a_primary(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whoever was named as the primary is asked for its role on each new connection."""
    folder = tmp_path_factory.mktemp("n")
    primary = TestServer(folder)
    replica = TestServer(folder, "--replicaof", f"{HOST} {primary.port}")
    with running(primary, replica):
        dial = Dial(parse_redis_url(primary.url))
        for server in (primary, replica):
            node = Node(dial, server.address, must_lead=True)
            try:
                async with node.line(Attempt(asyncio.timeout(None))) as line:
                    assert await line.ask("PING") == b"PONG"
                assert server is primary
            except ReadOnlyError:
                assert server is replica
            await node.close()
