"""The recorder when nothing goes wrong: what the ledger made is recorded, by one recorder after
another, for each organisation in its own order.
"""

import asyncio
import dataclasses
import json
import logging

import pytest

from clickhouse.errors import StoreRefused
from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.writer import Writer
from tests.recorder.hooks import Call, happens
from tests.recorder.rig import QUICK, SHORT_LEASE, Stage, alarms, find, finished, spooled, until

LONG_LEASE = dataclasses.replace(QUICK, owner_lease_ms=120_000)
SLEEPY = dataclasses.replace(LONG_LEASE, linger_ms=60_000)
SOON_S_MAX = 30  # whoever waits for the lease of the one before comes later


async def test_organisations_under_load(stage: Stage, store: Store) -> None:
    """Several organisations, one of them new while the recorder runs: each has all of its events,
    payloads and sums in its records, once, and nothing waits anywhere."""
    callers = [await stage.caller() for _ in range(3)]
    running = await stage.recorder(store)
    load = asyncio.gather(*(caller.make(15) for caller in callers))
    callers.append(await stage.caller())
    await callers[-1].make(5)
    await load
    for caller in callers:
        await caller.recorded(running.folder)
    await running.stop()
    for caller in callers:
        await caller.judge(await find(store, caller.organisation), running.folder)


async def test_batches_are_bounded_and_in_order(stage: Stage, store: Store) -> None:
    """No batch has more events than the bound, and each begins where the one before ended."""
    caller = await stage.caller()
    await caller.make(20)
    tokens: list[str] = []

    async def noting(call: Call) -> object:
        if call.name == "insert events":
            tokens.append(call.token)
        return await happens(call)

    running = await stage.recorder(store, hook=noting)
    await finished(store, caller, running)
    bounds = [tuple(map(int, token.split("-")[-2:])) for token in tokens]
    assert max(last - first + 1 for first, last in bounds) == QUICK.batch_events_max
    ends = [0, *(last for _, last in bounds)]
    assert [first for first, _ in bounds] == [end + 1 for end in ends[:-1]]


async def test_a_stop_records_what_waits(stage: Stage, store: Store) -> None:
    """SIGTERM: everything that waits is recorded, the end is signed, and the organisation is given
    back, so that the next recorder begins at once."""
    caller = await stage.caller()
    asked = asyncio.Event()

    async def noting(call: Call) -> object:
        answer = await call.happen()
        if call.name == "time":  # it has looked, found nothing, and rests for a minute
            asked.set()
        return answer

    await caller.make(1)
    first = await stage.recorder(store, "a", SLEEPY, ledger_hook=noting)
    await caller.recorded()
    await asked.wait()
    await caller.make(30)
    assert await caller.waiting()
    await first.stop()
    await caller.judge(await find(store, caller.organisation), first.folder)
    await caller.make(2)
    second = await stage.recorder(store, "b")
    async with asyncio.timeout(SOON_S_MAX):
        await caller.recorded(second.folder)
    await finished(store, caller, first, second)


async def test_a_stop_records_organisations_that_were_just_made(stage: Stage, store: Store) -> None:
    """What waits of an organisation that the recorder has not yet looked at is recorded, too."""
    old = await stage.caller()
    await old.make(1)
    running = await stage.recorder(store)
    await old.recorded()
    new = await stage.caller()
    await new.make(1)
    await running.stop()
    await new.judge(await find(store, new.organisation), running.folder)


async def test_restarts_go_on_where_the_records_end(stage: Stage, store: Store) -> None:
    """One recorder after another on the same disk and on others makes one chain."""
    caller = await stage.caller()
    folders = []
    for name in ("a", "a", "b", "a"):
        running = await stage.recorder(store, name)
        await caller.make(4)
        await finished(store, caller, running)
        folders.append(running.folder)
    await caller.judge(await find(store, caller.organisation), *folders)


async def test_a_successor_on_the_same_disk_does_not_wait(stage: Stage, store: Store) -> None:
    """kill -9 and a start: one recorder has the disk, so the lease of the one before is its own."""
    caller = await stage.caller()
    await caller.make(2)
    first = await stage.recorder(store, options=LONG_LEASE)
    await caller.recorded()
    await first.kill()
    await caller.make(2)
    second = await stage.recorder(store, options=LONG_LEASE)
    async with asyncio.timeout(SOON_S_MAX):
        await finished(store, caller, second)


async def test_what_a_dead_recorder_wrote_is_signed(stage: Stage, store: Store) -> None:
    """A recorder that dies before it signs the end leaves that to the next one, even if nothing
    comes any more."""
    caller = await stage.caller()
    await caller.make(3)
    first = await stage.recorder(store, "a", SHORT_LEASE)
    await caller.recorded()
    await first.kill()
    second = await stage.recorder(store, "b", SHORT_LEASE)
    await until(lambda: _owns(caller.mark, second.folder))
    await finished(store, caller, second)


async def _owns(mark: object, folder: object) -> bool:
    assert callable(mark)
    marks = await mark()
    return bool(marks["owner"] == (folder / "node").read_text())  # type: ignore[operator]  # a Path


async def test_nothing_to_do_writes_nothing(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An organisation without events is looked at, and no more."""
    caller = await stage.caller()
    running = await stage.recorder(store)
    await caller.recorded()
    through = (await caller.desk.head()).seq

    async def added_up() -> bool:
        return await _snapshots(store, caller.organisation) == through

    await until(added_up)
    await running.stop()
    wrote: list[str] = []

    async def noting(call: Call) -> object:
        wrote.append(call.name)
        return await happens(call)

    again = await stage.recorder(store, hook=noting)
    await until(lambda: _asked(wrote))
    await again.stop()
    assert not [name for name in wrote if name.startswith(("insert", "command"))]
    assert not spooled(running.folder)
    assert not alarms(caplog)


async def test_what_cannot_be_tidied_does_not_stop_the_recording(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Snapshots that the records refuse are said and tried again; events go in meanwhile, and once
    the records take them there is one."""
    caller = await stage.caller()
    refused = 0

    async def refuses(call: Call) -> object:
        nonlocal refused
        if call.name == "command":
            refused += 1
            raise StoreRefused(241, "no memory for sums")
        return await happens(call)

    async def is_refused() -> bool:
        return refused > 2

    options = dataclasses.replace(QUICK, compact_every_ms=20, snapshot_every_ms=20)
    running = await stage.recorder(store, options=options, hook=refuses)
    with caplog.at_level(logging.WARNING, "comptroller.recorder"):
        await caller.make(5)
        await caller.recorded(running.folder)
        await until(is_refused)
        await caller.make(3)
        await caller.recorded(running.folder)
    assert "is not tidied: StoreRefused: no memory for sums" in caplog.text
    assert not await _snapshots(store, caller.organisation)
    running.store.hook = happens

    async def is_taken() -> bool:
        return await _snapshots(store, caller.organisation) > 0

    await until(is_taken)
    await finished(store, caller, running)


async def test_balances_are_added_up_now_and_then(stage: Stage, store: Store) -> None:
    """Also where the ledger has nothing to forget for long: up to the last event."""
    caller = await stage.caller()
    options = dataclasses.replace(QUICK, compact_every_ms=10**9, snapshot_every_ms=20)
    running = await stage.recorder(store, options=options)
    await caller.make(4)
    await caller.recorded(running.folder)

    async def is_covered() -> bool:
        head = await Writer(store).head(caller.organisation)
        return head is not None and await _snapshots(store, caller.organisation) == head.seq

    await until(is_covered)
    await finished(store, caller, running)


async def _snapshots(store: Store, organisation: str) -> int:
    """Up to which seq the balances are added up."""
    line = await store.select(load_query("snapshot_place"), {"org": organisation})
    return int(json.loads(line)[0]) if line.strip() else 0


async def _asked(names: list[str]) -> bool:
    return "select last_event" in names
