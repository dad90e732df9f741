"""Endings on the disk: what a dead worker leaves there is booked once, by whoever finds it."""

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

import pytest

from budgets.answers import Truth
from budgets.endingfile import files_in
from budgets.endingrecords import read_records
from budgets.endings import LATE_MS, Endings
from tests.budgets.conftest import MakeDesk
from tests.budgets.faults import Fault, FaultyTransport
from tests.budgets.harness import Desk, dollars, granted
from tests.budgets.hired import (
    DRAIN_MS,
    LEASE_MS,
    REFUSALS,
    WAIT_S_MAX,
    Hire,
    endings_of,
    left_by_a_dead_worker,
    names_in,
    private,
    roll_to,
)


async def test_what_waits_goes_when_the_ledger_has_it(hired: Hire, kept_in: Path) -> None:
    """A file is there while something waits, for its owner alone, and goes with the last of it."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(3)]
    worker.line.down = True
    for each in reservations:
        await worker.settle(each, 70)
    await worker.kept()
    (path,) = files_in(kept_in)
    assert private(path)
    assert private(kept_in)
    assert len(read_records(path.read_bytes()).endings) == 3
    worker.line.down = False
    assert await worker.endings.drain(DRAIN_MS) == 0
    await worker.kept()
    assert names_in(kept_in) == []
    assert await worker.desk.totals() == (210, 0)


async def test_the_endings_of_a_dead_worker_are_booked_by_the_next(
    hired: Hire, kept_in: Path
) -> None:
    """Each truth once, before the lease has expired: it is an ordinary ending. A living worker's
    file is nobody else's."""
    reservations = await left_by_a_dead_worker(hired, [10, 20, 30])
    worker = await hired()
    await worker.take_up()
    assert await worker.desk.totals() == (60, 0)
    assert await endings_of(worker.desk) == [("llm_response", each.id) for each in reservations]
    assert files_in(kept_in) == []
    living = await hired()
    reservation = await living.running()
    living.line.down = True
    await living.settle(reservation, 7)
    await living.kept()
    await worker.take_up()
    assert len(files_in(kept_in)) == 1
    assert living.endings.waiting == 1


async def test_after_the_lease_the_truth_replaces_the_charge(hired: Hire) -> None:
    """The sweeper has charged the whole reservation meanwhile: a correction, once."""
    reservations = await left_by_a_dead_worker(hired, [10, 20])
    worker = await hired()
    await asyncio.sleep(2 * LEASE_MS / 1000)
    assert len(await worker.desk.ledger.sweep(worker.desk.organisation)) == 2
    assert await worker.desk.totals() == (200, 0)
    await worker.take_up()
    assert await worker.desk.totals() == (30, 0)
    corrected = [each for kind, each in await endings_of(worker.desk) if kind == "correction"]
    assert corrected == [each.id for each in reservations]


@pytest.mark.parametrize("ending", ["settle", "release"])
async def test_what_the_ledger_does_not_know_any_more_is_recorded_once(
    hired: Hire, ending: str
) -> None:
    """After the tombstone's time nobody can tell whether it was booked: nothing is charged, and the
    record has the truth. The second call finds that out."""
    first, second = await hired(), await hired()
    desk = first.desk
    reservation = await first.running()
    await asyncio.sleep(2 * LEASE_MS / 1000)
    await desk.ledger.sweep(desk.organisation)
    done = desk.session.known_slot(desk.organisation).done_key(reservation.id)
    await desk.transport.command("DEL", done)
    for worker in (first, second):
        if ending == "settle":
            await worker.endings.settle(reservation, Truth(70, 0), b'{"charged_nusd":70}', b"told")
        else:
            await worker.endings.release(desk.organisation, reservation.id, b'{"charged_nusd":0}')
    assert await desk.totals() == (100, 0)
    (entry,) = [each for each in await desk.outbox() if each.kind == "settlement_unbooked"]
    assert (entry.id, entry.counters) == (reservation.id, ())
    assert json.loads(entry.event) == {"charged_nusd": 70 if ending == "settle" else 0}
    assert (await desk.head()).seq == entry.seq


async def test_a_ledger_that_was_rolled_back_gets_them_when_it_is_recovered(
    hired: Hire, kept_in: Path
) -> None:
    """A power cut took the ledger's last second and the worker. Whoever takes up its file knows by
    it that the ledger has lost the reservation: it waits for the recovery, and then the truth is
    booked like any other. Meanwhile the file stays, and others are served."""
    dead, worker = await hired(), await hired()
    desk = dead.desk
    earlier = await desk.everything()
    for _ in range(5):
        reservation = await dead.running()
    dead.line.down = True
    await dead.settle(reservation, 70)
    await dead.kept()
    await dead.die()
    head, later = await desk.head(), await desk.everything()
    await roll_to(desk, earlier)
    await worker.endings.take_up()
    await worker.settle(await worker.running(), 5)
    await asyncio.sleep(0.3)
    assert (worker.endings.waiting, len(files_in(kept_in))) == (1, 1)
    assert await desk.totals() == (5, 0)
    await roll_to(desk, later)
    await desk.set_head(dataclasses.replace(head, epoch=2))
    await worker.take_up()
    # And what this worker was granted meanwhile, which it brings along.
    assert await desk.totals() == (70 + 5, 400)
    assert [kind for kind, _ in await endings_of(desk)] == ["llm_response"] * 2
    assert files_in(kept_in) == []


async def test_two_workers_that_race_for_a_file_book_each_ending_once(
    hired: Hire, kept_in: Path
) -> None:
    """Five dead workers' files, four living workers at once: every file has one owner, and what was
    booked is the sum of the truths."""
    expected = 0
    for n in range(5):
        amounts = [n * 10 + each for each in range(1, 9)]
        await left_by_a_dead_worker(hired, amounts)
        expected += sum(amounts)
    workers = [await hired() for _ in range(4)]
    await asyncio.gather(*(each.take_up() for each in workers))
    assert await workers[0].desk.totals() == (expected, 0)
    ended = await endings_of(workers[0].desk)
    assert len(ended) == len(set(ended)) == 40
    assert files_in(kept_in) == []


async def test_a_worker_that_dies_while_it_takes_up_loses_nothing(
    hired: Hire, kept_in: Path
) -> None:
    """Killed after the ledger has taken some of them, with and without the answer: the next one
    repeats what it must, and the ledger books nothing twice."""
    await left_by_a_dead_worker(hired, [10, 20, 30, 40])
    for taken in (0, 1, 1):
        worker = await hired()
        answered: list[Fault] = [""] * taken
        worker.line.faults.extend([*answered, "answer lost", *REFUSALS])
        await worker.endings.take_up()
        async with asyncio.timeout(WAIT_S_MAX):
            while len(worker.line.faults) > len(REFUSALS) - 2:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.005)
        await worker.die()
        assert len(files_in(kept_in)) == 1
    last = await hired()
    await last.take_up()
    assert await last.desk.totals() == (100, 0)
    assert len(await endings_of(last.desk)) == 4
    assert files_in(kept_in) == []


async def test_what_was_taken_is_not_sent_again(hired: Hire) -> None:
    """The file says what the ledger has taken of it, so that after hours nothing is told twice."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(3)]
    worker.line.down = True
    for each in reservations:
        await worker.settle(each, 70)
    await worker.kept()
    worker.line.down = False
    worker.line.faults.extend(["", "", *REFUSALS])
    async with asyncio.timeout(WAIT_S_MAX):
        while worker.endings.waiting > 1:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    await worker.kept()
    await worker.die()
    (path,) = files_in(worker.disk.folder)
    (left,) = read_records(path.read_bytes()).endings.values()
    assert left.id == reservations[2].id


async def test_a_call_that_hangs_is_on_the_disk_before_it_has_failed(
    hired: Hire, kept_in: Path
) -> None:
    """A ledger that is silent has not refused yet: the worker may die before it knows."""
    worker = await hired()
    reservation = await worker.running()
    worker.line.faults.append("hangs")
    hanging = asyncio.create_task(worker.settle(reservation, 70))
    async with asyncio.timeout(WAIT_S_MAX):
        while not files_in(kept_in):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(LATE_MS / 1000)
    await worker.kept()
    assert worker.endings.waiting == 0
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (70, 0)
    hanging.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hanging


async def test_a_call_that_was_only_late_leaves_nothing_behind(hired: Hire, kept_in: Path) -> None:
    """The ledger takes it after all: its copy on the disk goes."""
    worker = await hired()
    reservation = await worker.running()
    worker.line.open.clear()
    settling = asyncio.create_task(worker.settle(reservation, 70))
    async with asyncio.timeout(WAIT_S_MAX):
        while not files_in(kept_in):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    worker.line.open.set()
    await settling
    await worker.kept()
    assert files_in(kept_in) == []
    assert await worker.desk.totals() == (70, 0)


async def test_an_organisation_that_recovers_does_not_hold_up_the_others(
    hired: Hire,
    make_desk: MakeDesk,
    kept_in: Path,
) -> None:
    """A dead worker's file has five hundred endings of one that answers RECOVERING and, behind
    them, one of another: that one is booked at once, and the file stays until the last is."""
    dead = await hired()
    desk = dead.desk
    other = f"{desk.organisation}-other"
    await desk.session.open_organisation(other, create=True)
    await desk.set_budget(other, [{"usd": "1"}])
    many = [await dead.running(1) for _ in range(500)]
    beside = granted(await desk.ask(dollars(100), other))
    head = await desk.head()
    dead.line.down = True
    for each in (*many, beside):
        await dead.settle(each, 1)
    await dead.kept()
    await dead.die()
    await desk.set_head(dataclasses.replace(head, epoch=0))
    worker = await hired()
    await worker.endings.take_up()
    kinds: list[str] = []
    async with asyncio.timeout(30):
        while "llm_response" not in kinds:
            outbox = await desk.transport.command("XRANGE", f"{{{other}}}:outbox", "-", "+")
            assert isinstance(outbox, list)
            kinds = ["llm_response" for _, fields in outbox if b"llm_response" in fields[3]]
            await asyncio.sleep(0.01)
    assert worker.endings.waiting == 500
    assert len(files_in(kept_in)) == 1
    await desk.set_head(dataclasses.replace(head, epoch=2))
    await worker.take_up()
    assert files_in(kept_in) == []
    assert await desk.totals() == (500, 0)


async def test_a_stop_that_could_not_drain_leaves_them_to_the_next(
    hired: Hire, kept_in: Path
) -> None:
    """What waits and what is still under way: nothing is lost, and closing says so."""
    worker = await hired()
    first, second = await worker.running(), await worker.running()
    worker.line.faults.extend(["refused", "hangs"])
    await worker.settle(first, 10)
    worker.line.down = True
    worker.line.faults.clear()
    worker.line.down = False
    worker.line.faults.extend(["hangs"] * 5)
    hanging = asyncio.create_task(worker.settle(second, 20))
    await asyncio.sleep(0)
    assert await worker.endings.drain(20) == 2
    assert await worker.endings.close() == 0
    hanging.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hanging
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (30, 0)
    assert files_in(kept_in) == []


async def test_a_stop_does_not_wait_for_the_endings_of_others(hired: Hire, kept_in: Path) -> None:
    """Those of an organisation that is not there any more would hold up every stop: they have a
    file, and stay in it."""
    await left_by_a_dead_worker(hired, [10, 20])
    worker = await hired()
    reservation = await worker.running()
    worker.line.down = True
    await worker.endings.take_up()
    async with asyncio.timeout(WAIT_S_MAX / 3):
        assert await worker.endings.drain(60_000) == 2
        assert await worker.endings.close() == 0
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (30, reservation.reserved_nusd)
    assert files_in(kept_in) == []


async def test_without_a_disk_closing_says_what_is_lost(desk: Desk) -> None:
    """As many as wait."""
    await desk.set_budget(desk.organisation, [{"usd": "1"}])
    line = FaultyTransport(desk.transport)
    desk.session.transport = line
    endings, reservation = Endings(desk.ledger), granted(await desk.ask(dollars(100)))
    line.down = True
    await endings.settle(reservation, Truth(70, 0), b"", b"")
    assert await endings.drain(10) == 1
    assert await endings.close() == 1


async def test_a_worker_looks_for_the_dead_until_it_is_drained(hired: Hire, kept_in: Path) -> None:
    """At its start and at every heartbeat; a worker that stops takes up nothing more."""
    worker = await hired()
    running = asyncio.create_task(worker.endings.run())
    for _ in range(2):
        await left_by_a_dead_worker(hired, [10])
        async with asyncio.timeout(WAIT_S_MAX):
            while files_in(kept_in):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
    assert await worker.endings.drain(DRAIN_MS) == 0
    await asyncio.wait_for(running, WAIT_S_MAX)
    await left_by_a_dead_worker(hired, [10])
    await worker.endings.take_up()
    assert len(files_in(kept_in)) == 1
