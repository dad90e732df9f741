"""Several recorders on one ledger, some of which sleep too long, die, or keep events on a disk of
their own: one writes at a time, and what each has done the next one finds.
"""

import asyncio
import dataclasses
from typing import Any

import pytest

from clickhouse.errors import StoreUnavailable
from clickhouse.store import Store
from recorder.verification import verify
from tests.recorder.hooks import (
    Away,
    Call,
    Gate,
    Hook,
    happens,
    unreachable,
)
from tests.recorder.recovering import Worker, recording
from tests.recorder.rig import (
    QUICK,
    SHORT_LEASE,
    Caller,
    Stage,
    alarms,
    find,
    finished,
    until,
)

SLEEPS = [
    ("own", 1, True),
    ("xrange outbox", 2, True),
    ("fix", 1, False),
    ("fix", 1, True),
    ("xrange bodies", 1, True),
    ("select batch_count", 1, True),
    ("insert bodies", 1, False),
    ("insert events", 1, False),
    ("insert events", 1, True),
    ("insert events", 2, False),
    ("insert events", 2, True),
    ("confirm", 2, False),
    ("confirm", 2, True),
]


@pytest.mark.parametrize(("name", "nth", "after"), SLEEPS)
async def test_a_recorder_that_sleeps_until_another_took_over(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture, name: str, nth: int, after: bool
) -> None:
    """A recorder that is paused anywhere, and wakes when another has written the same batch and
    more, adds nothing, writes no more while the other lives, and takes over when it has gone."""
    caller = await stage.caller()
    await caller.make(7)
    gate = Gate(name, nth, after=after)
    first = await stage.recorder(store, "a", SHORT_LEASE, hook=gate, ledger_hook=gate)
    await gate.reached.wait()
    second = await stage.recorder(
        store, "b", QUICK
    )  # a machine that is busy does not cost its lease
    await caller.recorded(second.folder)
    await caller.make(4)
    await caller.recorded(second.folder)
    gate.opened.set()
    await caller.make(4)
    await caller.recorded(second.folder)
    await asyncio.sleep(0.1)  # time in which the first must not write
    assert len(gate.inserted) <= 1
    await second.stop()
    await caller.make(4)
    await finished(store, caller, second, first)
    assert gate.inserted, "it took over"
    assert not alarms(caplog)


async def test_a_batch_that_another_finishes_while_it_is_read(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A recorder that took over a fixed batch, and whose predecessor wakes and finishes it, asks
    anew: there is no gap."""
    caller = await stage.caller()
    await caller.make(1)
    gate = Gate("insert events")
    first = await stage.recorder(store, "a", SHORT_LEASE, hook=gate)
    await gate.reached.wait()
    await caller.make(1)  # so that the other would have made another batch of it
    reads = Gate("fix", after=True)
    second = await stage.recorder(store, "b", SHORT_LEASE, ledger_hook=reads)
    await reads.reached.wait()
    gate.opened.set()
    await until(lambda: _at_most(caller, 4))
    reads.opened.set()
    async with asyncio.timeout(30):
        await caller.recorded()
    await caller.make(1)
    await finished(store, caller, first, second)
    assert not alarms(caplog)


async def _at_most(caller: Caller, count: int) -> bool:
    return await caller.waiting() <= count


@pytest.mark.parametrize("last", ["stop", "kill"])
async def test_a_recorder_that_sleeps_until_another_came_and_went(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture, last: str
) -> None:
    """What a recorder knew of the end of the records is asked for anew when it was not the owner
    in between: it goes on, without an alarm."""
    caller = await stage.caller()
    await caller.make(3)
    gate = Gate("own", 2)  # a renewal: it rests between two steps
    first = await stage.recorder(store, "a", SHORT_LEASE, hook=gate, ledger_hook=gate)
    await gate.reached.wait()
    second = await stage.recorder(store, "b", SHORT_LEASE)
    await caller.make(6)
    await caller.recorded(second.folder)
    await (second.stop() if last == "stop" else second.kill())
    await caller.make(3)
    await caller.lease_runs_out()
    gate.opened.set()
    async with asyncio.timeout(30):
        await finished(store, caller, first)
    assert not alarms(caplog)


async def test_a_recorder_that_sleeps_until_another_opened_a_new_epoch(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes over where that one has ended, not where it ended itself: the first event of an
    epoch follows on any."""
    caller = await stage.caller()
    await caller.make(3)
    gate = Gate("own", 2)
    first = await stage.recorder(store, "a", SHORT_LEASE, hook=gate, ledger_hook=gate)
    await gate.reached.wait()
    await caller.lease_runs_out()
    transport = caller.desk.transport
    await transport.command("HSET", caller.desk.key("ledger"), "run", "0" * 40)  # as if put back
    async with recording(stage, store, caller.organisation, "b"):
        worker = await Worker.at(stage, caller.organisation)

        async def is_open() -> bool:
            return (await worker.head()).epoch == 2

        await until(is_open)
        await worker.end(await worker.begin(), 7)
        await worker.until_recorded()
    await worker.end(await worker.begin(), 5)
    gate.opened.set()
    await worker.until_recorded()
    await first.stop()
    found = await find(store, caller.organisation)
    verdict = verify([line.encode() for line in found.chain], [], "")
    assert verdict.ok, verdict.message
    assert not alarms(caplog)


async def test_a_recorder_that_wakes_and_spools_what_another_recorded(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An insert that hangs for longer than the lease and then fails may send a batch to the disk
    that another has recorded: it stands in nobody's way, and causes no alarm."""
    caller = await stage.caller()
    await caller.make(3)
    gate = Gate("insert events")

    async def hang(call: Call) -> Any:
        if call.name == "insert events" and not gate.reached.is_set():
            await gate.wait()
            raise StoreUnavailable("timed out")
        return await gate(call)

    options = dataclasses.replace(SHORT_LEASE, patience_ms=0)
    first = await stage.recorder(store, "a", options, hook=hang)
    await gate.reached.wait()
    second = await stage.recorder(store, "b", options)
    await caller.make(6)
    await caller.recorded(second.folder)
    gate.opened.set()
    await caller.make(3)
    await caller.recorded(second.folder)
    await asyncio.sleep(0.1)
    assert "spooler" not in await caller.mark(), "the other's events wait nowhere"
    await second.stop()
    await caller.make(3)
    async with asyncio.timeout(30):
        await finished(store, caller, second, first)
    assert not alarms(caplog)


async def test_a_recorder_that_wakes_does_not_hide_the_spool_of_another(
    stage: Stage, store: Store
) -> None:
    """While the records are away, the ledger goes on naming the disk that has the newest events,
    also when one that slept wakes and has an older batch to keep."""
    caller = await stage.caller()
    await caller.make(3)
    options = dataclasses.replace(SHORT_LEASE, patience_ms=0)
    gate = Gate("insert bodies")
    away = Away(unreachable)

    async def hang(call: Call) -> Any:
        if call.name == "insert bodies" and not gate.reached.is_set():
            await gate.wait()
        before = call.name.startswith("select") or call.name == "insert states"
        return await (happens if before else unreachable)(call)

    first = await stage.recorder(store, "a", options)
    first.store.hook = hang
    await gate.reached.wait()

    async def reads_only(call: Call) -> Any:
        return await (call.happen() if call.name == "select last_event" else away(call))

    second = await stage.recorder(store, "b", options)
    second.store.hook = reads_only
    await caller.make(6)
    await caller.recorded()
    marked = await caller.mark()
    gate.opened.set()
    await asyncio.sleep(0.2)
    now = await caller.mark()
    assert (now["spooler"], now["spooled"]) == (marked["spooler"], marked["spooled"])
    first.store.hook = second.store.hook = happens
    await caller.recorded(second.folder)
    await second.stop()
    async with asyncio.timeout(30):
        await finished(store, caller, first, second)


async def test_two_recorders_share_organisations(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Each organisation has one writer at a time; when one of two recorders dies, the other takes
    over what was its."""
    names = [f"{'o' * length}" for length in (9, 10, 13, 32)]  # as bytes: tab, line feeds, space
    callers = [await stage.caller(name) for name in names]
    written: dict[str, set[str]] = {"a": set(), "b": set()}

    def watching(name: str) -> Hook:
        async def hook(call: Call) -> Any:
            if call.name == "insert events":
                written[name].add(call.token)
            return await call.happen()

        return hook

    for caller in callers[:2]:
        await caller.make(3)
    options = dataclasses.replace(QUICK, owner_lease_ms=1_500)
    first = await stage.recorder(store, "a", options, hook=watching("a"))
    second = await stage.recorder(store, "b", options, hook=watching("b"))
    await asyncio.gather(*(caller.make(8) for caller in callers))
    await asyncio.gather(*(caller.recorded() for caller in callers))
    assert not written["a"] & written["b"]
    await first.kill()
    await asyncio.gather(*(caller.make(8) for caller in callers))
    await asyncio.gather(*(caller.recorded() for caller in callers))
    await second.stop()
    for caller in callers:
        await caller.judge(await find(store, caller.organisation), second.folder)
    assert not alarms(caplog)


async def test_a_spool_on_another_disk(
    stage: Stage, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """While events wait on the disk of a recorder that is gone, another does not record what came
    after them: it says which recorder to start."""
    caller = await stage.caller()
    options = dataclasses.replace(SHORT_LEASE, patience_ms=0)
    first = await stage.recorder(store, "a", options)
    await caller.make(2)
    await caller.recorded(first.folder)
    first.store.hook = unreachable
    await caller.make(4)
    await caller.recorded()
    await first.stop()
    await caller.make(2)
    waiting = await caller.waiting()
    second = await stage.recorder(store, "b", options)
    node = (first.folder / "node").read_text()
    async with asyncio.timeout(90):  # it asks the engine first, which may be busy
        while not any(node in each.message for each in caplog.records):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await caller.waiting() == waiting
    again = await stage.recorder(store, "a", options)
    await caller.recorded(first.folder)
    await again.stop()
    await caller.make(2)
    await finished(store, caller, again, second)
