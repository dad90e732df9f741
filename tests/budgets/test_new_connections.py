"""What is sent on a new connection was looked at on it before: a server that was started again may
have lost what it had answered, and nobody may be served by it until the records were asked."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgets.administration import Administration
from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from budgets.transport import LedgerUnavailable
from gateway.clock import SystemClock
from tests.budgets.test_transport import kill

LIMITS = TransportLimits(call_timeout_ms=300, durable_timeout_ms=300, reconnect_delay_ms=5)
IMPATIENT = SessionOptions(reopen_ms=50)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """One that a test may kill."""
    with tempfile.TemporaryDirectory(prefix="comptroller-test-") as folder:
        server = EmbeddedServer(Path(folder), append_fsync="always")
        server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            server.stop()


async def test_a_first_durable_call_is_not_the_first_look(
    server: EmbeddedServer, organisation: str
) -> None:
    """The server dies and comes back while the connection that was looked at has not noticed it
    yet, as on a machine that went away without a word. The first durable call makes a connection of
    its own to the new one: it does nothing there."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(server.socket_path)), LIMITS)
    session = Session(transport, load_scripts(), SystemClock(), IMPATIENT)
    administration = Administration(session)
    try:
        await session.open_organisation(organisation, create=True)
        await session.load([f"{organisation}/a"])
        before = await transport.command("XLEN", f"{{{organisation}}}:outbox")
        assert transport._hot._transport is not None
        transport._hot._transport.pause_reading()
        kill(server)
        server.start()
        with pytest.raises(LedgerUnavailable):
            await administration.set_state(f"{organisation}/a", "freeze", "budget_changed", b"{}")
        assert await transport.command("XLEN", f"{{{organisation}}}:outbox") == before
    finally:
        await transport.close()


async def test_a_first_call_makes_its_connection_and_is_answered(
    server: EmbeddedServer, organisation: str
) -> None:
    """Nobody who is new is refused for that."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(server.socket_path)), LIMITS)
    session = Session(transport, load_scripts(), SystemClock(), IMPATIENT)
    try:
        await session.open_organisation(organisation, create=True)
        administration = Administration(session)
        await administration.set_state(f"{organisation}/a", "freeze", "budget_changed", b"{}")
        (record,) = (await session.load([f"{organisation}/a"])).values()
        assert not record.admits(0)
    finally:
        await transport.close()
