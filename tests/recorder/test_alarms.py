"""A ledger that breaks off or loses its answers is no loss; a ledger or records that have lost
events are an alarm, which stops one organisation and no other.
"""

import asyncio
from typing import Any

import pytest

from budgets.pipelined import TransportLimits
from budgets.transport import LedgerSilent
from clickhouse.errors import StoreUnavailable
from clickhouse.store import Store
from recorder.options import RecorderOptions
from tests.recorder.hooks import (
    Call,
    happens,
)
from tests.recorder.rig import (
    NO_SPOOL,
    QUICK,
    TO_DISK,
    Caller,
    Running,
    Stage,
    alarms,
    find,
    finished,
)


@pytest.mark.parametrize("name", ["own", "fix", "confirm", "xrange bodies"])
@pytest.mark.parametrize("options", [QUICK, TO_DISK], ids=["records", "disk"])
async def test_answers_of_the_ledger_that_are_lost(
    stage: Stage, store: Store, name: str, options: RecorderOptions
) -> None:
    """A call to the ledger that happened and was not answered, three times in a row, changes
    nothing of what is recorded, nor of how many payload bytes are given back."""
    caller = await stage.caller()
    await caller.make(8)
    left = 3

    async def silent(call: Call) -> Any:
        nonlocal left
        answer = await call.happen()
        if call.name == name and left:
            left -= 1
            raise LedgerSilent("no answer")
        return answer

    refusals = 0 if options is QUICK else 3

    async def refusing(call: Call) -> Any:
        nonlocal refusals
        if call.name.startswith("insert ") and refusals:
            refusals -= 1
            raise StoreUnavailable("refused")
        return await call.happen()

    running = await stage.recorder(store, options=options, ledger_hook=silent)
    running.store.hook = refusing
    await caller.make(4)
    await finished(store, caller, running)
    assert not left


async def test_connections_to_the_ledger_that_break(stage: Stage, store: Store) -> None:
    """Cut again and again, they are made anew, and every event is recorded once."""
    caller = await stage.caller()
    quick = TransportLimits(reconnect_delay_ms=1)
    running = await stage.recorder(store, limits=quick)
    eyes = await stage.transport()
    for _ in range(10):
        await caller.make(3)
        await eyes.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await finished(store, caller, running)


async def test_a_ledger_that_is_started_again(stage: Stage, store: Store) -> None:
    """Away and back in mid-load, with an empty script cache: all is recorded once."""
    caller = await stage.caller()
    running = await stage.recorder(store, limits=TransportLimits(call_timeout_ms=200))
    for _ in range(3):
        await caller.make(5)
        await asyncio.to_thread(stage.server.stop)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(stage.server.start)
    await caller.make(5)
    await finished(store, caller, running)


async def _stopped_alone(
    stage: Stage, store: Store, broken: Caller, running: Running, caplog: pytest.LogCaptureFixture
) -> str:
    """Waits for the alarm about an organisation; another one goes on meanwhile. The alarm."""
    other = await stage.caller()
    async with asyncio.timeout(30):
        while not alarms(caplog):  # noqa: ASYNC110  # nothing tells of a line in the log
            await asyncio.sleep(0.01)
    waiting = await broken.waiting()
    await other.make(5)
    await other.recorded()
    assert waiting
    assert await broken.waiting() == waiting, "nothing of it is forgotten"
    await running.stop()
    await other.judge(await find(store, other.organisation), running.folder)
    found = set(alarms(caplog))  # said again when it is asked to stop
    assert len(found) == 1
    (error,) = found
    assert broken.organisation in error
    return error


async def test_a_gap_in_the_outbox(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that was lost from the ledger stops its organisation, loudly; nothing is skipped,
    and others go on."""
    broken = await stage.caller()
    await broken.make(3)
    await broken.desk.transport.command("XDEL", broken.desk.key("outbox"), "1-1")
    running = await stage.recorder(store)
    error = await _stopped_alone(stage, store, broken, running, caplog)
    assert "does not follow" in error
    assert (await find(store, broken.organisation)).events == (0, 0)


async def test_a_gap_amid_a_batch(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The same where the lost event is in the middle of a batch."""
    broken = await stage.caller()
    await broken.make(3)
    await broken.desk.transport.command("XDEL", broken.desk.key("outbox"), "1-3")
    running = await stage.recorder(store)
    await _stopped_alone(stage, store, broken, running, caplog)
    assert (await find(store, broken.organisation)).events == (0, 0)


async def test_rows_that_were_removed(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that were removed from the records behind the recorder's back are noticed when it
    starts: it does not go on above them."""
    broken = await stage.caller()
    await broken.make(3)
    before = await stage.recorder(store)
    await broken.recorded()
    await before.stop()
    await broken.make(2)
    await store.command(
        "ALTER TABLE comptroller.events DELETE WHERE "
        f"org = '{broken.organisation}' AND seq > 3 SETTINGS mutations_sync = 1"
    )
    running = await stage.recorder(store)
    await _stopped_alone(stage, store, broken, running, caplog)


async def test_half_a_batch(stage: Stage, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Records that have a part of a batch are not made worse."""
    broken = await stage.caller()
    await broken.make(3)
    running = await stage.recorder(store, options=NO_SPOOL)

    async def halved(call: Call) -> Any:
        await call.happen()
        if call.name == "insert events" and call.token.startswith(broken.organisation):
            await store.command(
                "ALTER TABLE comptroller.events DELETE WHERE "
                f"org = '{broken.organisation}' AND seq = 2 SETTINGS mutations_sync = 1"
            )
            raise StoreUnavailable("the answer was lost")

    async def hook(call: Call) -> Any:
        return await (halved if call.name == "insert events" else happens)(call)

    running.store.hook = hook
    error = await _stopped_alone(stage, store, broken, running, caplog)
    assert "comptroller verify" in error
