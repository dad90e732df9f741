"""Both transports against a real server: what they promise when it is there, when it is restarted
under calls in flight, and when it does not answer."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from budgets.answers import Reservation
from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.plan import ScopePath
from budgets.redispy import RedisPyTransport
from budgets.transport import (
    LedgerRejected,
    LedgerSilent,
    LedgerTransport,
    LedgerUnavailable,
)
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import desk_for, dollars, granted
from tests.budgets.lua import script
from tests.pausing import pause

# Answers what it was given, and remembers the order in which it was called.
ECHO = script("echo", "redis.call('RPUSH', KEYS[1], ARGV[1]); return {ARGV[1], #ARGV}")
FAIL = script("fail", "return redis.error_reply('ERR no')")
KINDS = ("pipelined", "redis-py")


TransportTo = Callable[[str, Path, TransportLimits], LedgerTransport]


@pytest.fixture
async def transport_to() -> AsyncIterator[TransportTo]:
    """Makes either transport to a server on a socket; they are closed after the test."""
    made: list[LedgerTransport] = []

    def make(kind: str, path: Path, limits: TransportLimits) -> LedgerTransport:
        if kind == "pipelined":
            made.append(PipelinedTransport(NodeAddress(unix_path=str(path)), limits))
        else:
            made.append(RedisPyTransport(f"unix://{path}", limits=limits))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture(params=KINDS)
async def transport(
    request: pytest.FixtureRequest, valkey: EmbeddedServer, transport_to: TransportTo
) -> LedgerTransport:
    """Each transport in turn, to the shared server."""
    return transport_to(request.param, valkey.socket_path, PATIENT)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that a test may stop, kill and pause."""
    with tempfile.TemporaryDirectory(prefix="comptroller-test-") as folder:
        server = EmbeddedServer(Path(folder), append_fsync="always")
        server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            server.stop()


def kill(server: EmbeddedServer) -> None:
    """Ends the server as a crash does, and waits until it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


async def test_an_answer_is_the_scripts(transport: LedgerTransport, organisation: str) -> None:
    """Bytes in and out, whatever they hold."""
    key = f"{{{organisation}}}:list".encode()
    for value in (b"", b"plain", b"\r\n$5\r\n\x00\xff", b"x" * 300_000):
        assert await transport.call(ECHO, (key,), (value, "text", "ä")) == [value, 3]
    assert await transport.command("LRANGE", key, "1", "1") == [b"plain"]


async def test_plain_commands_answer_what_the_server_says(
    transport: LedgerTransport, organisation: str
) -> None:
    """The same values from both transports, so that a caller need not know which one it has."""
    key = f"{{{organisation}}}:hash"
    assert await transport.command("HSET", key, "a", b"\xff") == 1
    assert await transport.command("HGETALL", key) == [b"a", b"\xff"]
    assert await transport.command("HGET", key, "none") is None
    assert await transport.command("SET", f"{key}:text", "x") == b"OK"
    assert await transport.command("EXISTS", key) == 1


async def test_a_durable_call_is_answered_too(
    transport: LedgerTransport, organisation: str
) -> None:
    """When the disk has it; many at once."""
    key = f"{{{organisation}}}:list".encode()
    answers = await asyncio.gather(
        *(transport.call_durably(ECHO, (key,), (str(n),)) for n in range(10))
    )
    assert answers == [[str(n).encode(), 1] for n in range(10)]


async def test_each_of_many_calls_gets_its_own_answer(
    transport: LedgerTransport, organisation: str
) -> None:
    """Three hundred calls at once: no answer reaches another's caller."""
    key = f"{{{organisation}}}:list".encode()
    answers = await asyncio.gather(
        *(transport.call(ECHO, (key,), (str(n), *["x"] * (n % 7))) for n in range(300))
    )
    assert answers == [[str(n).encode(), 1 + n % 7] for n in range(300)]


async def test_a_server_without_the_script_learns_it(
    transport: LedgerTransport, organisation: str
) -> None:
    """NOSCRIPT after SCRIPT FLUSH (a restart, a failover) is nobody's error, also for many calls
    at once and for durable ones."""
    key = f"{{{organisation}}}:list".encode()
    for call in (transport.call, transport.call_durably):
        await transport.command("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(call(ECHO, (key,), (str(n),)) for n in range(20)))
        assert answers == [[str(n).encode(), 1] for n in range(20)]
    assert await transport.command("LLEN", key) == 40


async def test_an_error_of_the_server_is_a_rejection(
    transport: LedgerTransport, organisation: str
) -> None:
    """Errors are raised for the call that they answer, and only for that."""
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("0",))  # a list, before anything reads it as a hash
    answers = await asyncio.gather(
        transport.call(ECHO, (key,), ("1",)),
        transport.call(FAIL, (key,), ()),
        transport.call_durably(FAIL, (key,), ()),
        transport.command("HGET", key, "field"),
        transport.call(ECHO, (key,), ("2",)),
        return_exceptions=True,
    )
    assert [type(each) for each in answers[1:4]] == [LedgerRejected] * 3
    assert (answers[0], answers[4]) == ([b"1", 1], [b"2", 1])


async def test_a_cancelled_call_does_not_shift_the_answers(
    transport: LedgerTransport, organisation: str
) -> None:
    """A caller that goes away leaves its answer to nobody."""
    key = f"{{{organisation}}}:list".encode()
    calls = [asyncio.ensure_future(transport.call(ECHO, (key,), (str(n),))) for n in range(9)]
    await asyncio.sleep(0)
    for gone in calls[::3]:
        gone.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for n, answer in enumerate(answers):
        if n % 3:
            assert answer == [str(n).encode(), 1]
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert await transport.call(ECHO, (key,), ("after",)) == [b"after", 1]


async def test_no_server_is_unavailable_in_time(tmp_path: Path, transport_to: TransportTo) -> None:
    """Nothing listens: the call ends within its timeout and says so, on both transports."""
    for kind in KINDS:
        limits = TransportLimits(call_timeout_ms=80, reconnect_delay_ms=5)
        transport = transport_to(kind, tmp_path / "nobody.sock", limits)
        async with asyncio.timeout(10):
            for call in (transport.call, transport.call_durably):
                with pytest.raises(LedgerUnavailable):
                    await call(ECHO, (b"k",), ("1",))
            with pytest.raises(LedgerUnavailable):
                await transport.command("PING")


async def test_calls_go_out_in_order_in_one_write(
    valkey: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """The calls of a loop tick reach the server in the order in which they were made."""
    transport = transport_to("pipelined", valkey.socket_path, PATIENT)
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("0",))
    calls = [transport.call(ECHO, (key,), (str(n),)) for n in range(1, 200)]
    await asyncio.gather(*calls)
    assert await transport.command("LRANGE", key, "0", "-1") == [
        str(n).encode() for n in range(200)
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_restarted_server_is_found_again(
    kind: str, own_server: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """After a crash and a restart the ledger goes on with what it had granted; a call that meets
    the crash is repeated under its id."""
    transport = transport_to(kind, own_server.socket_path, TransportLimits(call_timeout_ms=5000))
    desk = desk_for(organisation, transport)
    await desk.session.open_organisation(organisation, create=True)
    await desk.set_budget(organisation, [{"usd": "0.000000100"}])
    first = granted(await desk.ask(dollars(40)))
    kill(own_server)
    own_server.start()
    id_ = desk.session.new_id()
    try:
        second = await desk.ask(dollars(60), id_=id_)
    except LedgerSilent:
        second = await desk.ask(dollars(60), id_=id_)
    assert isinstance(second, Reservation)
    assert second.seq == first.seq + 1
    (standing,) = (await desk.ledger.check(ScopePath(organisation))).standings
    assert (standing.spent, standing.reserved) == (0, 100)


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_in_flight_are_answered_after_a_restart(
    kind: str, own_server: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """What was on its way when the server died, and what was asked while it was away, is answered
    by the one that comes back, once each."""
    limits = TransportLimits(call_timeout_ms=20_000, reconnect_delay_ms=5)
    transport = transport_to(kind, own_server.socket_path, limits)
    desk = desk_for(organisation, transport)
    await desk.session.open_organisation(organisation, create=True)
    await desk.set_budget(organisation, [{"usd": "1"}])
    granted(await desk.ask(dollars(1)))
    pause(own_server.pid)
    asking = [asyncio.ensure_future(desk.ask(dollars(1))) for _ in range(50)]
    await asyncio.sleep(0)  # written to a server that will never answer
    kill(own_server)
    asking += [asyncio.ensure_future(desk.ask(dollars(1))) for _ in range(50)]
    await asyncio.sleep(0)
    own_server.start()
    answers = await asyncio.gather(*asking)
    assert {granted(each).seq for each in answers} == set(range(3, 103))
    assert await desk.totals() == (0, 101)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_does_not_answer_is_silent_in_time(
    kind: str, own_server: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """Paused, it may have taken the call: LedgerSilent within the timeout. Awake again, it is
    used again, and no late answer reaches a later call."""
    limits = TransportLimits(call_timeout_ms=150, durable_timeout_ms=150, reconnect_delay_ms=5)
    transport = transport_to(kind, own_server.socket_path, limits)
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("before",))
    await transport.call_durably(ECHO, (key,), ("before",))
    pause(own_server.pid)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(
        *(transport.call(ECHO, (key,), (f"late {n}",)) for n in range(5)),
        transport.call_durably(ECHO, (key,), ("late durable",)),
        transport.command("PING"),
        return_exceptions=True,
    )
    # What had to connect first was not sent: redis-py has a connection for each call in flight.
    assert type(answers[0]) is LedgerSilent
    assert all(isinstance(each, LedgerUnavailable) for each in answers)
    assert asyncio.get_running_loop().time() - began < 5
    os.kill(own_server.pid, signal.SIGCONT)
    answer = await _when_it_answers(transport, key)
    assert answer == [b"after", 1]
    assert await transport.call_durably(ECHO, (key,), ("durable after",)) == [b"durable after", 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_was_cut_stays_silent(
    kind: str, own_server: EmbeddedServer, transport_to: TransportTo
) -> None:
    """It was sent to a server that died before it answered, and nobody is there to be asked again:
    it may have happened. What was asked afterwards was never sent."""
    limits = TransportLimits(call_timeout_ms=400, reconnect_delay_ms=5)
    transport = transport_to(kind, own_server.socket_path, limits)
    await transport.command("PING")
    pause(own_server.pid)
    call = asyncio.create_task(transport.call(ECHO, (b"{o}:k",), ("1",)))
    await asyncio.sleep(0.05)
    kill(own_server)
    await asyncio.sleep(0.02)
    with pytest.raises(LedgerUnavailable) as later:
        await transport.call(ECHO, (b"{o}:k",), ("2",))
    assert not isinstance(later.value, LedgerSilent)
    with pytest.raises(LedgerSilent):
        await call


async def _when_it_answers(transport: LedgerTransport, key: bytes) -> object:
    """The first answer of a server that is waking up."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(LedgerSilent):
                return await transport.call(ECHO, (key,), ("after",))


@pytest.mark.parametrize("kind", KINDS)
async def test_waiting_calls_are_bounded(
    kind: str, own_server: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """More calls than may wait are refused at once, unsent; those that wait are answered."""
    limits = TransportLimits(call_timeout_ms=20_000, calls_waiting_max=5)
    transport = transport_to(kind, own_server.socket_path, limits)
    key = f"{{{organisation}}}:list".encode()
    pause(own_server.pid)
    calls = [asyncio.ensure_future(transport.call(ECHO, (key,), (str(n),))) for n in range(8)]
    done, _ = await asyncio.wait(calls, timeout=0.05)
    refused = [call.exception() for call in done]
    assert [type(each) for each in refused] == [LedgerUnavailable] * 3
    assert "5 ledger calls wait already" in str(refused[0])
    os.kill(own_server.pid, signal.SIGCONT)
    assert await asyncio.gather(*calls[:5]) == [[str(n).encode(), 1] for n in range(5)]
    assert await transport.call(ECHO, (key,), ("more",)) == [b"more", 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_that_gave_up_do_not_count_as_waiting(
    kind: str, tmp_path: Path, transport_to: TransportTo
) -> None:
    """While no server is there, calls come and end: the bound is on those that still wait, and
    what ended (with its payload) is not kept."""
    limits = TransportLimits(call_timeout_ms=30, reconnect_delay_ms=5, calls_waiting_max=4)
    transport = transport_to(kind, tmp_path / "nobody.sock", limits)
    for _ in range(4):
        answers = await asyncio.gather(
            *(transport.command("PING") for _ in range(4)), return_exceptions=True
        )
        said = "the ledger cannot be reached: is Redis running?"
        assert all(str(each).startswith(said) for each in answers), answers


@pytest.mark.parametrize("kind", KINDS)
async def test_closing_ends_what_waits(
    kind: str, own_server: EmbeddedServer, transport_to: TransportTo
) -> None:
    """Calls in flight end as silent, because they may have happened; nothing is taken any more."""
    transport = transport_to(kind, own_server.socket_path, TransportLimits(call_timeout_ms=300))
    await transport.command("PING")
    pause(own_server.pid)
    calls = [
        asyncio.ensure_future(transport.call(ECHO, (b"{o}:k",), ("1",))),
        asyncio.ensure_future(transport.call_durably(ECHO, (b"{o}:k",), ("1",))),
    ]
    await asyncio.sleep(0.01)
    await transport.close()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert type(answers[0]) is LedgerSilent
    assert isinstance(answers[1], LedgerUnavailable)  # redis-py had to connect first
    with pytest.raises(LedgerUnavailable):
        await transport.command("PING")


class ForgetfulServer:
    """Speaks just enough RESP: drops the connection instead of answering its first WAITAOF, and
    answers one on a connection that has written nothing at once, as a real server does."""

    def __init__(self) -> None:
        self.connections: list[list[str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        seen: list[str] = []
        self.connections.append(seen)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                words = await self._command(reader)
                seen.append(words[0])
                if words[0] == "WAITAOF":
                    if sum("WAITAOF" in each for each in self.connections) == 1:
                        break
                    writer.write(b"*2\r\n:1\r\n:0\r\n")
                else:
                    writer.write(b"*1\r\n$4\r\nDONE\r\n")
        writer.close()

    async def _command(self, reader: asyncio.StreamReader) -> list[str]:
        count = int((await reader.readuntil(b"\r\n"))[1:])
        words = []
        for _ in range(count):
            size = int((await reader.readuntil(b"\r\n"))[1:])
            words.append((await reader.readexactly(size + 2))[:-2].decode())
        return words


@pytest.mark.parametrize("kind", KINDS)
async def test_durability_is_asked_on_the_connection_that_wrote(
    kind: str, tmp_path: Path, transport_to: TransportTo
) -> None:
    """WAITAOF speaks of the writes of its own connection: after a lost one, the answer of a fresh
    connection that wrote nothing proves nothing. A revoked key must stay revoked."""
    forgetful = ForgetfulServer()
    path = tmp_path / "ledger.sock"
    server = await asyncio.start_unix_server(forgetful.serve, str(path))
    transport = transport_to(kind, path, TransportLimits(call_timeout_ms=5000))
    answered = False
    with contextlib.suppress(LedgerSilent):
        answered = await transport.call_durably(ECHO, (b"k",), ("1",)) == [b"DONE"]
    await transport.close()
    server.close()
    await server.wait_closed()
    if answered:
        assert "WAITAOF" in forgetful.connections[-1][1:], "nothing was written before it"
