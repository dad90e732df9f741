"""What a transport calls durable is on the disk, also where the call is a repetition."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.redispy import RedisPyTransport
from budgets.redisurl import parse_redis_url
from budgets.transport import LedgerSilent, LedgerTransport
from tests.budgets.lua import script
from tests.budgets.servers import HOST, TestServer, running

# Writes once: whoever repeats it is told so, and writes nothing.
ONCE = script(
    "once",
    "if redis.call('SETNX', KEYS[1], '1') == 1 then return {'DONE'} else return {'ALREADY'} end",
)
QUICK = TransportLimits(call_timeout_ms=5_000, durable_timeout_ms=200)


@pytest.fixture(scope="module")
def forgetful() -> Iterator[TestServer]:
    """A server that has a file and never syncs it: nothing is ever on its disk for certain."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        server = TestServer(Path(folder), "--appendonly", "yes", "--appendfsync", "no")
        with running(server):
            yield server


Make = Callable[[TestServer], LedgerTransport]


def pipelined(server: TestServer) -> LedgerTransport:
    """The fast one, with connections of its own."""
    host, port = server.address
    return PipelinedTransport(NodeAddress(host=host, port=port), QUICK)


def redispy(server: TestServer) -> LedgerTransport:
    """The other one."""
    return RedisPyTransport(server.url, limits=QUICK)


@pytest.mark.parametrize("make", [pipelined, redispy])
async def test_a_repeated_change_is_confirmed_by_the_disk_too(
    forgetful: TestServer, make: Make
) -> None:
    """WAITAOF speaks of what its own connection wrote. A repeated call writes nothing: without a
    write of its own it would be answered at once, and a revoked key could come back."""
    act = f"{{o}}:{make.__name__}".encode()
    for _ in range(2):
        transport = make(forgetful)
        with pytest.raises(LedgerSilent, match="did not confirm"):
            await transport.call_durably(ONCE, (act,), ())
        await transport.close()
        transport = make(forgetful)
        with pytest.raises(LedgerSilent, match="did not confirm"):
            await transport.command_durably("DEL", "comptroller:key:none")
        assert await transport.call(ONCE, (act,), ()) == [b"ALREADY"]
        await transport.close()
    never = -1
    for key in ("{o}:touched", "comptroller:touched"):
        assert forgetful.ask("PTTL", key) != never, "what it writes for that goes away"


async def test_a_server_without_a_file_confirms_nothing(forgetful: TestServer) -> None:
    """The change is made, and the error says that nobody knows for how long."""
    forgetful.ask("CONFIG", "SET", "appendonly", "no")
    transport = RedisPyTransport(forgetful.url, limits=QUICK)
    try:
        with pytest.raises(LedgerSilent, match="appendonly is disabled"):
            await transport.command_durably("SET", "comptroller:key:x", "1")
    finally:
        await transport.close()
        forgetful.ask("CONFIG", "SET", "appendonly", "yes")


async def test_replicas_are_waited_for() -> None:
    """`replicas=1`: a change of policy that no replica has on its disk is not confirmed."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        always = ("--appendonly", "yes", "--appendfsync", "always")
        primary = TestServer(Path(folder), *always, "--repl-diskless-sync-delay", "0")
        replica = TestServer(Path(folder), *always, "--replicaof", f"{HOST} {primary.port}")
        with running(primary):
            url = replace(parse_redis_url(primary.url), replicas=1)
            transport = RedisPyTransport(url, limits=QUICK)
            with pytest.raises(LedgerSilent, match="did not confirm"):
                await transport.command_durably("SET", "comptroller:key:x", "1")
            with running(replica):
                async with asyncio.timeout(20):
                    while not await _confirmed(transport):
                        pass
            await transport.close()


async def _confirmed(transport: RedisPyTransport) -> bool:
    try:
        return await transport.command_durably("SET", "comptroller:key:x", "1") == b"OK"
    except LedgerSilent:
        return False
