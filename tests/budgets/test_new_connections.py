"""What is sent on a new connection was looked at on it before: a server that was started again may
have lost what it had answered, and nobody may be served by it until the records were asked."""

import pytest

from budgets.administration import Administration
from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from budgets.transport import LedgerUnavailable
from gateway.clock import SystemClock
from tests.budgets.conftest import PATIENT
from tests.budgets.transports import kill

HASTY = TransportLimits(call_timeout_ms=300, durable_timeout_ms=300, reconnect_delay_ms=5)
IMPATIENT = SessionOptions(reopen_ms=50)


async def test_a_first_durable_call_is_not_the_first_look(
    own_server: EmbeddedServer, organisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies and comes back while the connection that was looked at has not noticed it
    yet, as on a machine that went away without a word. The first durable call makes a connection of
    its own to the new one: it does nothing there."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(own_server.socket_path)), PATIENT)
    session = Session(transport, load_scripts(), SystemClock(), IMPATIENT)
    administration = Administration(session)
    try:
        await session.open_organisation(organisation, create=True)
        await session.load([f"{organisation}/a"])
        before = await transport.command("XLEN", f"{{{organisation}}}:outbox")
        assert transport._hot._transport is not None
        transport._hot._transport.pause_reading()
        kill(own_server)
        own_server.start()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(transport, "_limits", HASTY)
            setting = administration.set_state(
                f"{organisation}/a", "freeze", "budget_changed", b"{}"
            )
            with pytest.raises(LedgerUnavailable):
                await setting
        assert await transport.command("XLEN", f"{{{organisation}}}:outbox") == before
    finally:
        await transport.close()


async def test_a_first_call_makes_its_connection_and_is_answered(
    own_server: EmbeddedServer, organisation: str
) -> None:
    """Nobody who is new is refused for that."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(own_server.socket_path)), PATIENT)
    session = Session(transport, load_scripts(), SystemClock(), IMPATIENT)
    try:
        await session.open_organisation(organisation, create=True)
        administration = Administration(session)
        await administration.set_state(f"{organisation}/a", "freeze", "budget_changed", b"{}")
        (record,) = (await session.load([f"{organisation}/a"])).values()
        assert not record.admits(0)
    finally:
        await transport.close()
