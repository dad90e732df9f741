"""Both transports while their server dies, is started again, does not answer or was never there: no
call waits for ever, and none that may have happened is said not to have."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from budgets.answers import Reservation
from budgets.embedded import EmbeddedServer
from budgets.pipelined import TransportLimits
from budgets.plan import ScopePath
from budgets.transport import LedgerSilent, LedgerTransport, LedgerUnavailable
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import desk_for, dollars, granted
from tests.budgets.transports import ECHO, KINDS, TransportTo, kill
from tests.pausing import pause


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
    kind: str,
    own_server: EmbeddedServer,
    organisation: str,
    transport_to: TransportTo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Paused, it may have taken the call: LedgerSilent within the timeout. Awake again, it is
    used again, and no late answer reaches a later call."""
    transport = transport_to(kind, own_server.socket_path, PATIENT)
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("before",))
    await transport.call_durably(ECHO, (key,), ("before",))
    pause(own_server.pid)
    with monkeypatch.context() as meanwhile:
        limits = TransportLimits(call_timeout_ms=150, durable_timeout_ms=150, reconnect_delay_ms=5)
        meanwhile.setattr(transport, "_limits", limits)
        async with asyncio.timeout(15):
            answers = await asyncio.gather(
                *(transport.call(ECHO, (key,), (f"late {n}",)) for n in range(5)),
                transport.call_durably(ECHO, (key,), ("late durable",)),
                transport.command("PING"),
                return_exceptions=True,
            )
    # What had to connect first was not sent: redis-py has a connection for each call in flight.
    assert type(answers[0]) is LedgerSilent
    assert all(isinstance(each, LedgerUnavailable) for each in answers)
    os.kill(own_server.pid, signal.SIGCONT)
    answer = await _when_it_answers(transport, key)
    assert answer == [b"after", 1]
    assert await transport.call_durably(ECHO, (key,), ("durable after",)) == [b"durable after", 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_was_cut_stays_silent(
    kind: str,
    own_server: EmbeddedServer,
    transport_to: TransportTo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was sent to a server that died before it answered, and nobody is there to be asked again:
    it may have happened. What was asked afterwards was never sent."""
    transport = transport_to(kind, own_server.socket_path, PATIENT)
    await transport.command("PING")
    limits = TransportLimits(call_timeout_ms=400, reconnect_delay_ms=5)
    monkeypatch.setattr(transport, "_limits", limits)
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
    async with asyncio.timeout(15):
        refused = await asyncio.gather(*calls[5:], return_exceptions=True)
    assert not any(call.done() for call in calls[:5])
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
    transport = transport_to(kind, own_server.socket_path, PATIENT)
    await transport.command("PING")
    pause(own_server.pid)
    calls = [
        asyncio.ensure_future(transport.call(ECHO, (b"{o}:k",), ("1",))),
        asyncio.ensure_future(transport.call_durably(ECHO, (b"{o}:k",), ("1",))),
    ]
    await asyncio.sleep(0.01)
    await transport.close()
    async with asyncio.timeout(15):
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
