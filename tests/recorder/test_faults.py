"""Records that are away, slow, or do not say the truth, and a disk that is full: nothing is there
twice or missing afterwards, and the order of the log is kept.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from budgets.answers import Refusal
from budgets.ledger import LedgerOptions
from clickhouse.store import HttpTimeouts, Store
from recorder.options import RecorderOptions
from tests.recorder.crashing import RecordsServer
from tests.recorder.hooks import (
    Away,
    Behind,
    Call,
    Hook,
    Lost,
    Swallowing,
    TooLate,
    failing,
    unreachable,
)
from tests.recorder.rig import (
    NO_SPOOL,
    QUICK,
    TO_DISK,
    Running,
    Stage,
    find,
    finished,
    spooled,
    until,
)


@pytest.mark.parametrize("how", [lambda: unreachable, lambda: failing, TooLate])
async def test_an_outage_under_load(stage: Stage, store: Store, how: Callable[[], Hook]) -> None:
    """While records are away for longer than the patience, events go to the disk and the ledger is
    let go of them; when they are back, all of it is recorded, in order."""
    caller = await stage.caller()
    fault = how()
    away = Away(fault)
    running = await stage.recorder(store)
    await caller.make(6)
    await caller.recorded()
    running.store.hook = away
    await caller.make(12)
    await caller.recorded()  # by the disk
    assert spooled(running.folder)
    await caller.make(6)
    away.back()
    await caller.make(6)
    await finished(store, caller, running)
    if isinstance(fault, TooLate):
        await asyncio.gather(*fault.late)
        await caller.judge(await find(store, caller.organisation), running.folder)
    assert away.in_order()


@pytest.mark.parametrize("end", [Running.stop, Running.kill])
async def test_a_restart_amid_an_outage(
    stage: Stage, store: Store, end: Callable[[Running], Awaitable[None]]
) -> None:
    """A recorder that starts while the records are away goes on where its disk ends."""
    caller = await stage.caller()
    away = Away(unreachable)
    before = await stage.recorder(store)
    await caller.make(3)
    await caller.recorded()
    before.store.hook = away
    await caller.make(6)
    await caller.recorded()
    await end(before)
    waiting = spooled(before.folder)
    assert waiting
    await caller.make(4)
    after = await stage.recorder(store, hook=away)
    await caller.recorded()
    assert len(spooled(after.folder)) > len(waiting)
    away.back()
    await finished(store, caller, after)
    assert away.in_order()


async def test_a_start_amid_an_outage_with_an_empty_disk(stage: Stage, store: Store) -> None:
    """A recorder that cannot ask where the records end lets the ledger keep what comes."""
    caller = await stage.caller()
    away = Away(unreachable)
    await caller.make(5)
    running = await stage.recorder(store, options=TO_DISK, hook=away)
    made = await caller.waiting()
    await asyncio.sleep(0.2)
    assert await caller.waiting() == made
    away.back()
    await finished(store, caller, running)


async def test_records_that_die_and_come_back(stage: Stage, tmp_path: Path) -> None:
    """kill -9 of the engine behind HTTP, and refused connections for a while: all is recorded
    once, by way of the disk."""
    server = RecordsServer(tmp_path)
    server.start()
    store = server.store()
    try:
        caller = await stage.caller()
        running = await stage.recorder(store)
        await caller.make(5)
        await caller.recorded()
        load = asyncio.create_task(caller.make(40))
        await asyncio.to_thread(server.kill)
        await load
        await caller.make(5)  # after the kill, however late that was
        await caller.recorded()
        assert spooled(running.folder)
        await asyncio.to_thread(server.start)
        await caller.make(5)
        await finished(store, caller, running)
    finally:
        await store.close()
        server.kill()


async def test_records_that_hang(stage: Stage, tmp_path: Path) -> None:
    """Records that are stopped in mid-work answer nothing, and do when they wake what was long
    given up: it is there once."""
    server = RecordsServer(tmp_path)
    server.start()
    store = server.store(HttpTimeouts(connect_s=1, answer_s=1))
    try:
        caller = await stage.caller()
        running = await stage.recorder(store)
        await caller.make(5)
        await caller.recorded()
        server.pause()
        await caller.make(10)
        await caller.recorded()
        assert spooled(running.folder)
        server.go_on()
        await caller.make(5)
        await finished(store, caller, running)
    finally:
        await store.close()
        server.kill()


async def test_slow_records(stage: Stage, store: Store) -> None:
    """A store whose every call takes longer than a renewal is due loses nothing, and keeps its
    organisation."""
    caller = await stage.caller()

    async def slowly(call: Call) -> Any:
        await asyncio.sleep(0.03)
        return await call.happen()

    options = dataclasses.replace(QUICK, owner_lease_ms=60)
    running = await stage.recorder(store, options=options)
    running.store.hook = slowly
    await caller.make(10)
    await finished(store, caller, running)


@pytest.mark.parametrize("options", [NO_SPOOL, TO_DISK], ids=["tried again", "by way of the disk"])
@pytest.mark.parametrize("table", ["events", "bodies"])
@pytest.mark.parametrize("times", [1, 4])
async def test_lost_answers(
    stage: Stage, store: Store, table: str, times: int, options: RecorderOptions
) -> None:
    """A write whose answer is lost, several times in a row, is there once."""
    caller = await stage.caller()
    await caller.make(8)
    lost = Lost(table, times)
    running = await stage.recorder(store, options=options)
    running.store.hook = lost
    await caller.make(8)
    await finished(store, caller, running)
    assert not lost.times


@pytest.mark.parametrize("options", [NO_SPOOL, TO_DISK], ids=["tried again", "by way of the disk"])
@pytest.mark.parametrize("tables", [("events",), ("bodies",), ("bodies", "events")])
async def test_an_engine_that_knows_a_token_without_its_rows(
    stage: Stage, store: Store, tables: tuple[str, ...], options: RecorderOptions
) -> None:
    """A token alone is not believed: what the engine took and does not have is written under
    another, events and payloads alike."""
    caller = await stage.caller()
    await caller.make(8)
    engine = Swallowing(*tables)
    running = await stage.recorder(store, options=options, hook=engine)
    await finished(store, caller, running)
    assert engine.swallowed


async def test_reads_that_are_behind(stage: Stage, store: Store) -> None:
    """In a cluster a read may come to a replica that has not yet what was written to another: what
    is not seen at once is not written a second time."""
    caller = await stage.caller()
    await caller.make(8)
    running = await stage.recorder(store, hook=Behind())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await caller.recorded()
    count, distinct = (await find(store, caller.organisation)).events
    assert count == distinct, "something is there twice"
    await finished(store, caller, running)


async def test_a_full_spool(stage: Stage, store: Store) -> None:
    """With records away and the disk full, the ledger keeps what comes up to its bound and then
    refuses; nothing is dropped, and all goes on when the records are back."""
    caller = await stage.caller(options=LedgerOptions(outbox_events_max=40))
    await caller.make(2)
    options = dataclasses.replace(TO_DISK, spool_bytes_max=20_000)
    running = await stage.recorder(store, options=options)
    await caller.recorded()
    away = running.store.hook = Away(unreachable)
    full = 0
    while full < 20:  # the disk takes some more while the ledger is full already
        full = 0 if await caller.call(full) else full + 1
        await asyncio.sleep(0.005)
    assert await caller.waiting() >= 40
    assert 15_000 < sum(each.stat().st_size for each in spooled(running.folder)) <= 20_000
    refused = await caller.reserve(caller.desk.session.new_id())
    assert isinstance(refused, Refusal)
    assert refused.code == "BACKLOG"
    away.back()
    await until(lambda: caller.call(0))
    await finished(store, caller, running)
    assert away.in_order()
