"""Everything that can go wrong around a recorder that lives: records and ledger that refuse, hang, lie
or lose their answers, recorders that sleep too long, disks that are full. Nothing is there twice or
missing afterwards, and what only a person can mend stops one organisation alone.
"""

import asyncio
import dataclasses
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from budgets.answers import Refusal
from budgets.ledger import LedgerOptions
from budgets.pipelined import TransportLimits
from budgets.transport import LedgerSilent
from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.store import HttpTimeouts, Store
from recorder.options import RecorderOptions
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import (
    QUICK,
    Call,
    Caller,
    Hook,
    Running,
    Stage,
    find,
    happens,
    spooled,
    staged,
    until,
)

SHORT_LEASE = dataclasses.replace(QUICK, owner_lease_ms=250)
NO_SPOOL = dataclasses.replace(QUICK, patience_ms=60_000)
TO_DISK = dataclasses.replace(QUICK, patience_ms=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordsServer]:
    """Records that stay up."""
    server = RecordsServer(tmp_path_factory.mktemp("faults"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(server: RecordsServer) -> AsyncIterator[Store]:
    """A client of them."""
    store = server.store()
    yield store
    await store.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A ledger of this test's own."""
    async with staged() as stage:
        yield stage


async def finished(store: Store, caller: Caller, *running: Running) -> None:
    """All is recorded, the recorders stop (the last one signs the end), and the books agree."""
    folders = [each.folder for each in running]
    await caller.recorded(*folders)
    for each in running:
        await each.stop()
    await caller.judge(await find(store, caller.organisation), *folders)


class Away:
    """Records that are away, each call as `how` says, until they are `back`."""

    def __init__(self, how: Hook) -> None:
        self.hook = how
        self.written: list[str] = []

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        answer = await self.hook(call)
        if call.name == "insert events":
            self.written.append(call.token)
        return answer

    def back(self) -> None:
        """From now on all is well."""
        self.hook = happens

    def in_order(self) -> bool:
        """Whether batches were written in the order of the log."""
        firsts = [int(token.split("#")[0].split("-")[-2]) for token in self.written]
        return firsts == sorted(firsts)


async def unreachable(call: Call) -> Any:
    """As a refused connection."""
    raise StoreUnavailable("nobody listens")


async def failing(call: Call) -> Any:
    """As a server without memory."""
    raise StoreRefused(241, "memory limit exceeded")


async def too_late(call: Call) -> Any:
    """As a server that hangs: writes happen after the recorder has given them up."""
    if call.name.startswith("insert "):
        late.append(asyncio.ensure_future(_later(call)))
    raise StoreUnavailable("timed out")


late: list[asyncio.Future[Any]] = []


async def _later(call: Call) -> None:
    await asyncio.sleep(0.05)
    await call.happen()


@pytest.mark.parametrize("how", [unreachable, failing, too_late])
async def test_an_outage_under_load(stage: Stage, store: Store, how: Hook) -> None:
    """While records are away for longer than the patience, events go to the disk and the ledger is
    let go of them; when they are back, all of it is recorded, in order."""
    caller = await stage.caller()
    away = Away(how)
    running = await stage.recorder(store, hook=happens)
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
    await asyncio.gather(*late)
    late.clear()
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
        server.signal(signal.SIGSTOP)
        await caller.make(10)
        await caller.recorded()
        assert spooled(running.folder)
        server.signal(signal.SIGCONT)
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


class Lost:
    """The next `times` writes to a table happen, and their answers are lost."""

    def __init__(self, table: str, times: int) -> None:
        self.name = f"insert {table}"
        self.times = times

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        answer = await call.happen()
        if call.name == self.name and self.times:
            self.times -= 1
            raise StoreUnavailable("the answer was lost")
        return answer


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


class Swallowing:
    """An engine that crashed: of the first write to these tables it knows the token, and has not
    the rows; so it drops what is written under that token again."""

    def __init__(self, *tables: str) -> None:
        self._names = {f"insert {each}" for each in tables}
        self._tokens: set[str] = set()
        self.swallowed = 0

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        if call.token in self._tokens:
            self.swallowed += 1
            return None
        if call.name in self._names:
            self._names.remove(call.name)
            self._tokens.add(call.token)
            raise StoreUnavailable("the engine died")
        return await call.happen()


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


class Gate:
    """Stops a recorder at the `nth` call of a name, before it happens or after, until it is opened.
    `inserted` are the tokens that it wrote since."""

    def __init__(self, name: str, nth: int = 1, *, after: bool = False) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.inserted: list[str] = []
        self._name = name
        self._left = nth
        self._after = after

    async def __call__(self, call: Call) -> Any:
        """As a Hook."""
        stop = False
        if call.name == self._name:
            self._left -= 1
            stop = self._left == 0
        if stop and not self._after:
            await self._wait()
        if self.reached.is_set() and call.name == "insert events":
            self.inserted.append(call.token)
        answer = await call.happen()
        if stop and self._after:
            await self._wait()
        return answer

    async def _wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


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
    second = await stage.recorder(store, "b", SHORT_LEASE)
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
    assert not _errors(caplog)


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
    async with asyncio.timeout(5):
        await caller.recorded()
    await caller.make(1)
    await finished(store, caller, first, second)
    assert not _errors(caplog)


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
    async with asyncio.timeout(5):
        await finished(store, caller, first)
    assert not _errors(caplog)


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
            await gate._wait()
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
    async with asyncio.timeout(5):
        await finished(store, caller, second, first)
    assert not _errors(caplog)


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
            await gate._wait()
        return await (happens if call.name.startswith("select l") else unreachable)(call)

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
    async with asyncio.timeout(5):
        await caller.recorded(first.folder, second.folder)
    await finished(store, caller, first, second)


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
    first = await stage.recorder(store, "a", SHORT_LEASE, hook=watching("a"))
    second = await stage.recorder(store, "b", SHORT_LEASE, hook=watching("b"))
    await asyncio.gather(*(caller.make(8) for caller in callers))
    await asyncio.gather(*(caller.recorded() for caller in callers))
    assert not written["a"] & written["b"]
    await first.kill()
    await asyncio.gather(*(caller.make(8) for caller in callers))
    await asyncio.gather(*(caller.recorded() for caller in callers))
    await second.stop()
    for caller in callers:
        await caller.judge(await find(store, caller.organisation), second.folder)
    assert not _errors(caplog)


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
    async with asyncio.timeout(5):
        while not any(node in each.message for each in caplog.records):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await caller.waiting() == waiting
    again = await stage.recorder(store, "a", options)
    await caller.recorded(first.folder)
    await again.stop()
    await caller.make(2)
    await finished(store, caller, again, second)


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


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


async def _stopped_alone(
    stage: Stage, store: Store, broken: Caller, running: Running, caplog: pytest.LogCaptureFixture
) -> str:
    """Waits for the alarm about an organisation; another one goes on meanwhile. The alarm."""
    other = await stage.caller()
    async with asyncio.timeout(5):
        while not _errors(caplog):  # noqa: ASYNC110  # nothing tells of a line in the log
            await asyncio.sleep(0.01)
    waiting = await broken.waiting()
    await other.make(5)
    await other.recorded()
    assert waiting
    assert await broken.waiting() == waiting, "nothing of it is forgotten"
    await running.stop()
    await other.judge(await find(store, other.organisation), running.folder)
    (error,) = _errors(caplog)
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
