"""Endings on the disk: what a dead worker leaves there is booked once, by whoever finds it,
whatever else is in the folder and whatever the disk does."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from budgets.answers import Reservation, Truth
from budgets.endingdisk import COMPACTED_FROM_BYTES, EndingDisk, EndingsOptions
from budgets.endingfile import EndingFile, bytes_in, files_in
from budgets.endingrecords import Ending, read_records
from budgets.endings import LATE_MS, Endings
from budgets.ledger import LedgerOptions
from tests.budgets.conftest import MakeDesk
from tests.budgets.faults import Fault, FaultyTransport
from tests.budgets.harness import Desk, dollars, granted

DRAIN_MS = 20_000
WAIT_S_MAX = 15
LEASE_MS = 300
REFUSALS: list[Fault] = ["refused"] * 50


class Worker:
    """A worker of its own: its desk, its line to the ledger, its endings in the shared folder."""

    def __init__(self, desk: Desk, options: EndingsOptions) -> None:
        self.desk = desk
        self.line = FaultyTransport(desk.transport)
        desk.session.transport = self.line
        self.endings = Endings(desk.ledger, options, said_to_be_dropped)

    @property
    def disk(self) -> EndingDisk:
        """What it has on the disk."""
        assert self.endings._disk is not None
        return self.endings._disk

    def lets_in(self) -> bool:
        """Whether it admits requests."""
        return not self.endings.full

    async def running(self, nusd: int = 100) -> Reservation:
        """A reservation in flight."""
        return granted(await self.desk.ask(dollars(nusd)))

    async def settle(self, reservation: Reservation, nusd: int, body: bytes = b"") -> None:
        """Ends it by its truth."""
        await self.endings.settle(reservation, Truth(nusd, 0), b'{"n":%d}' % nusd, body)

    async def kept(self) -> None:
        """Returns when all that waits is on the disk."""
        await self.disk.flush()

    async def die(self) -> None:
        """As by kill -9: what is on the disk stays there, the kernel lets go of the locks."""
        disk, work = self.disk, self.endings._worker
        if work is not None:
            work.cancel()
            await asyncio.wait({work})
        self.endings._closed = disk._closed = True
        self.line.down = True
        if disk._writer is not None:
            disk._writer.cancel()
            await asyncio.wait({disk._writer})
        disk.let_go()

    async def take_up(self) -> None:
        """What it does at every heartbeat, until the ledger has all."""
        await self.endings.take_up()
        async with asyncio.timeout(WAIT_S_MAX):
            while self.endings.waiting:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.005)
        await self.kept()


def names_in(folder: Path) -> list[str] | None:
    """Everything in it; None where there is no folder."""
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else None


def private(path: Path) -> bool:
    """Whether it is for its owner alone."""
    return path.stat().st_mode & 0o077 == 0


def said_to_be_dropped(event: bytes) -> bytes:
    """What the gateway does to an event whose body was left out."""
    return json.dumps({**json.loads(event), "payload_state": "dropped"}).encode()


Hire = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def hired(make_desk: MakeDesk, tmp_path: Path) -> AsyncIterator[Hire]:
    """Makes workers that share a folder; all are closed after the test."""
    workers: list[Worker] = []

    async def hire(**options: object) -> Worker:
        desk = await make_desk(LedgerOptions(lease_ms=LEASE_MS))
        await desk.set_budget(desk.organisation, [{"usd": "1"}])
        folder = tmp_path / "endings"
        worker = Worker(desk, EndingsOptions(folder=folder, **options))  # type: ignore[arg-type]
        workers.append(worker)
        return worker

    yield hire
    for worker in workers:
        await worker.endings.drain(0)
        await worker.endings.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are."""
    return tmp_path / "endings"


async def left_by_a_dead_worker(hired: Hire, amounts: list[int]) -> list[Reservation]:
    """A worker is killed while endings with these truths wait on the disk."""
    worker = await hired()
    reservations = [await worker.running() for _ in amounts]
    worker.line.down = True
    for reservation, nusd in zip(reservations, amounts, strict=True):
        await worker.settle(reservation, nusd)
    await worker.kept()
    await worker.die()
    return reservations


async def endings_of(desk: Desk) -> list[tuple[str, str]]:
    """(kind, id) of everything that ended or corrected a reservation."""
    kinds = ("llm_response", "reservation_expired", "correction", "settlement_unbooked")
    return [(each.kind, each.id) for each in await desk.outbox() if each.kind in kinds]


async def test_a_ledger_that_answers_costs_no_file(hired: Hire, folder: Path) -> None:
    """The usual ending touches no disk: no folder, no thread."""
    worker = await hired()
    for _ in range(20):
        await worker.settle(await worker.running(), 5)
    assert names_in(folder) is None
    disk = worker.disk
    assert not disk._thread._threads
    assert disk._writer is None


async def test_what_waits_goes_when_the_ledger_has_it(hired: Hire, folder: Path) -> None:
    """A file is there while something waits, for its owner alone, and goes with the last of it."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(3)]
    worker.line.down = True
    for each in reservations:
        await worker.settle(each, 70)
    await worker.kept()
    (path,) = files_in(folder)
    assert private(path)
    assert private(folder)
    assert len(read_records(path.read_bytes()).endings) == 3
    worker.line.down = False
    assert await worker.endings.drain(DRAIN_MS) == 0
    await worker.kept()
    assert names_in(folder) == []
    assert await worker.desk.totals() == (210, 0)


async def test_the_endings_of_a_dead_worker_are_booked_by_the_next(
    hired: Hire, folder: Path
) -> None:
    """Each truth once, before the lease has expired: it is an ordinary ending. A living worker's
    file is nobody else's."""
    reservations = await left_by_a_dead_worker(hired, [10, 20, 30])
    worker = await hired()
    await worker.take_up()
    assert await worker.desk.totals() == (60, 0)
    assert await endings_of(worker.desk) == [("llm_response", each.id) for each in reservations]
    assert files_in(folder) == []
    living = await hired()
    reservation = await living.running()
    living.line.down = True
    await living.settle(reservation, 7)
    await living.kept()
    await worker.take_up()
    assert len(files_in(folder)) == 1
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
    hired: Hire, folder: Path
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
    assert (worker.endings.waiting, len(files_in(folder))) == (1, 1)
    assert await desk.totals() == (5, 0)
    await roll_to(desk, later)
    await desk.set_head(dataclasses.replace(head, epoch=2))
    await worker.take_up()
    assert await desk.totals() == (70, 400)
    assert [kind for kind, _ in await endings_of(desk)] == ["llm_response"]
    assert files_in(folder) == []


async def roll_to(desk: Desk, state: dict[bytes, bytes]) -> None:
    """Puts the server back, or forth, to what it was."""
    for key in await desk.everything():
        await desk.transport.command("DEL", key)
    for key, dumped in state.items():
        await desk.transport.command("RESTORE", key, "0", dumped)


async def test_two_workers_that_race_for_a_file_book_each_ending_once(
    hired: Hire, folder: Path
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
    assert files_in(folder) == []


async def test_a_worker_that_dies_while_it_takes_up_loses_nothing(
    hired: Hire, folder: Path
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
        assert len(files_in(folder)) == 1
    last = await hired()
    await last.take_up()
    assert await last.desk.totals() == (100, 0)
    assert len(await endings_of(last.desk)) == 4
    assert files_in(folder) == []


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
    hired: Hire, folder: Path
) -> None:
    """A ledger that is silent has not refused yet: the worker may die before it knows."""
    worker = await hired()
    reservation = await worker.running()
    worker.line.faults.append("hangs")
    hanging = asyncio.create_task(worker.settle(reservation, 70))
    async with asyncio.timeout(WAIT_S_MAX):
        while not files_in(folder):  # noqa: ASYNC110  # nothing tells
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


async def test_a_call_that_was_only_late_leaves_nothing_behind(hired: Hire, folder: Path) -> None:
    """The ledger takes it after all: its copy on the disk goes."""
    worker = await hired()
    reservation = await worker.running()
    worker.line.open.clear()
    settling = asyncio.create_task(worker.settle(reservation, 70))
    async with asyncio.timeout(WAIT_S_MAX):
        while not files_in(folder):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    worker.line.open.set()
    await settling
    await worker.kept()
    assert files_in(folder) == []
    assert await worker.desk.totals() == (70, 0)


class SlowDisk:
    """A disk whose syncs wait, once it is told to, until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self._go_on, sync = threading.Event(), threading.Event(), os.fdatasync

        def slowly(descriptor: int) -> None:
            self.begun.set()
            assert self._go_on.wait(WAIT_S_MAX)
            sync(descriptor)

        monkeypatch.setattr(os, "fdatasync", slowly)

    async def until_begun(self) -> None:
        """Waits for a write."""
        assert await asyncio.to_thread(self.begun.wait, WAIT_S_MAX)

    def go_on(self) -> None:
        """From now on it is quick."""
        self._go_on.set()


def never_taken(worker: Worker, monkeypatch: pytest.MonkeyPatch, *ids: str) -> None:
    """These wait for ever; the others are taken."""
    take = worker.desk.ledger.settle

    async def settle(organisation: str, id_: str, *rest: Any) -> str:
        if id_ in ids:
            raise ConnectionError("not this one")
        return await take(organisation, id_, *rest)

    monkeypatch.setattr(worker.desk.ledger, "settle", settle)


def ids_in(folder: Path) -> list[str]:
    """Those that wait in all files together."""
    found = [read_records(each.read_bytes()) for each in files_in(folder)]
    return sorted(each.id for file in found for each in file.endings.values())


async def test_what_is_taken_while_it_is_being_written_is_not_sent_again(
    hired: Hire, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk has them only when the ledger has them, too: the file says so, and gives back
    their room."""
    worker = await hired()
    first = await worker.running()
    many = [await worker.running() for _ in range(20)]
    worker.line.down = True
    await worker.settle(first, 10)
    await worker.kept()
    disk = SlowDisk(monkeypatch)
    never_taken(worker, monkeypatch, first.id)
    worker.line.down = False
    worker.line.open.clear()
    settling = [asyncio.create_task(worker.settle(each, 20, bytes(100_000))) for each in many]
    await disk.until_begun()
    worker.line.open.set()
    await asyncio.gather(*settling)
    disk.go_on()
    await worker.kept()
    assert bytes_in(folder) < COMPACTED_FROM_BYTES
    await worker.die()
    assert ids_in(folder) == [first.id]


async def test_a_file_that_is_compacted_while_it_is_written_keeps_all(
    hired: Hire, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger takes most of it in the middle of the next write: what is left of both is in
    another file, and the room of the rest is free."""
    worker = await hired()
    first, last = await worker.running(), await worker.running()
    many = [await worker.running() for _ in range(20)]
    worker.line.down = True
    await worker.settle(first, 10)
    for each in many:
        await worker.settle(each, 20, bytes(100_000))
    await worker.kept()
    disk = SlowDisk(monkeypatch)
    await worker.settle(last, 10)
    await disk.until_begun()
    never_taken(worker, monkeypatch, first.id, last.id)
    worker.line.down = False
    async with asyncio.timeout(WAIT_S_MAX):
        while worker.endings.waiting > 2:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    disk.go_on()
    await worker.kept()
    assert bytes_in(folder) < COMPACTED_FROM_BYTES
    await worker.die()
    assert ids_in(folder) == sorted([first.id, last.id])


async def test_a_file_that_was_cut_gives_what_is_whole(hired: Hire, folder: Path) -> None:
    """The machine went while the last record was written: the others are booked, and the last is
    its lease's, as if it had never come so far. At every byte of it."""
    await left_by_a_dead_worker(hired, [10, 20, 40])
    (path,) = files_in(folder)
    content = path.read_bytes()
    whole = read_records(content)
    last = next(
        len(content) - cut
        for cut in range(1, len(content))
        if len(read_records(content[:-cut]).endings) == 1
    )
    for cut in range(last + 1, len(content)):
        path.write_bytes(content[:cut])
        found = EndingFile.take_up(path)
        assert found is not None
        file, endings = found
        assert list(endings) == [1, 2]
        ending = whole.endings[3]
        file.keep([(7, ending)])  # behind a tail that was cut, records can be written again
        file.close()
        assert list(read_records(path.read_bytes()).endings.values()) == list(
            whole.endings.values()
        )
    path.write_bytes(content[:-1])
    worker = await hired()
    await worker.take_up()
    assert await worker.desk.totals() == (30, 100)
    assert names_in(folder) == []


async def test_a_damaged_file_is_used_as_far_as_it_goes_and_set_aside(
    hired: Hire,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The damage costs one record; the file is kept for people, said loudly, and never looked at
    again. A worker that dies in between leaves what was read to the next one."""
    await left_by_a_dead_worker(hired, [10, 20, 40])
    (path,) = files_in(folder)
    content = bytearray(path.read_bytes())
    at = content.index(b'{"n":20}')
    content[at] ^= 1
    path.write_bytes(content)
    first = await hired()
    first.line.down = True
    await first.endings.take_up()
    await first.kept()
    await first.die()
    worker = await hired()
    await worker.take_up()
    await worker.take_up()
    assert await worker.desk.totals() == (50, 100)
    assert names_in(folder) == [path.with_suffix(".damaged").name]
    assert path.with_suffix(".damaged").read_bytes() == bytes(content)
    said = [each for each in caplog.records if "not what had been written" in each.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.ERROR


async def test_foreign_things_in_the_folder_harm_nobody(
    hired: Hire,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that is named otherwise is not touched; one that is named as ours and is not is set
    aside; what is no file is told of, once; the endings beside them are booked."""
    await left_by_a_dead_worker(hired, [10])
    note = folder / "notes.txt"
    note.write_text("mine")
    secret = tmp_path / "secret"
    secret.write_text("not ours")
    names = [f"{digit * 32}-0.endings" for digit in "01234"]
    (folder / names[0]).mkdir()
    (folder / names[1]).symlink_to(secret)
    os.mkfifo(folder / names[2])
    (folder / names[3]).write_bytes(b"no endings in here, but long enough for a header")
    (folder / names[4]).write_bytes(b"")
    worker = await hired()
    for _ in range(3):
        await worker.take_up()
    assert await worker.desk.totals() == (10, 0)
    assert note.read_text() == "mine"
    assert secret.read_text() == "not ours"
    assert names_in(folder) == sorted(
        [*names[:3], names[3].replace("endings", "damaged"), "notes.txt"]
    )
    assert len([each for each in caplog.records if "cannot be taken up" in each.message]) == 3


async def test_a_new_file_that_is_taken_for_a_dead_ones_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of a file and its locking another worker may look at it, find it empty and
    remove it: nothing is ever written into a file without a name."""
    create = os.open
    stolen: list[Path] = []

    def stealing(path: Path, flags: int, *mode: int) -> int:
        descriptor = create(path, flags, *mode)
        if flags & os.O_EXCL and len(stolen) < 3:
            stolen.append(path)
            found = EndingFile.take_up(path)
            assert found is not None
            assert found[1] == {}
            if len(stolen) != 2:
                found[0].remove()  # the second time it is still looking
        return descriptor

    monkeypatch.setattr(os, "open", stealing)
    file = EndingFile.create(tmp_path, "ab" * 16)
    file.keep([(1, Ending("acme", "0" * 32, None, b"", b"", ""))])
    file.close()
    assert len(stolen) == 3
    assert read_records(file.path.read_bytes()).endings.keys() == {1}


async def test_an_organisation_that_recovers_does_not_hold_up_the_others(
    hired: Hire,
    make_desk: MakeDesk,
    folder: Path,
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
    async with asyncio.timeout(3):
        while "llm_response" not in kinds:
            outbox = await desk.transport.command("XRANGE", f"{{{other}}}:outbox", "-", "+")
            assert isinstance(outbox, list)
            kinds = ["llm_response" for _, fields in outbox if b"llm_response" in fields[3]]
            await asyncio.sleep(0.01)
    assert worker.endings.waiting == 500
    assert len(files_in(folder)) == 1
    await desk.set_head(dataclasses.replace(head, epoch=2))
    await worker.take_up()
    assert files_in(folder) == []
    assert await desk.totals() == (500, 0)


async def test_one_that_waits_for_long_does_not_keep_the_disk_full(
    hired: Hire, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken gives its room back, although something in the same file still waits."""
    worker = await hired()
    body = random.Random(3).randbytes(100_000)
    last = await worker.running(1)
    reservations = [await worker.running(1) for _ in range(40)]
    worker.line.down = True
    for each in (*reservations, last):
        await worker.settle(each, 1, body)
    await worker.kept()
    assert bytes_in(folder) > 4_000_000
    never_taken(worker, monkeypatch, last.id)
    worker.line.down = False
    async with asyncio.timeout(WAIT_S_MAX):
        while worker.endings.waiting > 1:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    await worker.kept()
    assert bytes_in(folder) < COMPACTED_FROM_BYTES + 2 * len(body)
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (41, 0)


@pytest.mark.parametrize("bound", ["count", "bytes"])
async def test_a_full_queue_admits_nothing_new(hired: Hire, bound: str) -> None:
    """And it does not lose an ending that comes after it was full."""
    options = {"count": {"endings_waiting_max": 3}, "bytes": {"endings_bytes_max": 3_000}}[bound]
    worker = await hired(**options)
    reservations = [await worker.running() for _ in range(4)]
    worker.line.down = True
    for each in reservations[:3]:
        assert worker.lets_in()
        await worker.settle(each, 5, bytes(1_000 if bound == "bytes" else 0))
    assert not worker.lets_in()
    await worker.settle(reservations[3], 5)
    await worker.kept()
    worker.line.down = False
    assert await worker.endings.drain(DRAIN_MS) == 0
    await worker.kept()
    assert worker.lets_in()
    assert await worker.desk.totals() == (20, 0)


async def test_what_others_have_left_on_the_disk_counts(hired: Hire, folder: Path) -> None:
    """The folder is bounded as a whole, whoever wrote into it; an ending is kept all the same, of
    its body only where there is room."""
    other = await hired()
    reservation = await other.running()
    other.line.down = True
    await other.settle(reservation, 1, bytes(3_000))
    await other.kept()
    worker = await hired(endings_bytes_max=bytes_in(folder))
    first = await worker.running()
    assert worker.lets_in()
    await worker.endings.take_up()
    assert not worker.lets_in()
    worker.line.down = True
    await worker.settle(first, 5, b"an answer")
    await worker.kept()
    left = [read_records(each.read_bytes()).endings[1] for each in files_in(folder)]
    assert [len(each.body) for each in left] == [3_000, 0]
    for each in (other, worker):
        each.line.down = False
        assert await each.endings.drain(DRAIN_MS) == 0
        await each.kept()
    assert worker.lets_in()
    assert await worker.desk.totals() == (6, 0)


async def test_the_disk_keeps_money_and_leaves_out_large_answers(hired: Hire, folder: Path) -> None:
    """A body above its bound, or one for which the folder has no room, is not on the disk, and its
    event says so. A worker that lives hands it over whole."""
    worker = await hired(endings_body_bytes_max=100, endings_bytes_max=1_000)
    bodies = [b"s" * 90, b"l" * 101, *([b"m" * 100] * 20)]
    reservations = [await worker.running() for _ in bodies]
    worker.line.down = True
    for each, body in zip(reservations, bodies, strict=True):
        await worker.settle(each, 5, body)
    await worker.kept()
    (path,) = files_in(folder)
    kept = list(read_records(path.read_bytes()).endings.values())
    assert len(kept) == len(bodies)
    told = [json.loads(each.event).get("payload_state", "") for each in kept]
    assert told[:2] == ["", "dropped"]
    assert [len(each.body) for each in kept[:2]] == [90, 0]
    assert [bool(each.body) for each in kept] == [each == "" for each in told]
    assert 3 < told.count("dropped") < len(bodies)
    worker.line.down = False
    assert await worker.endings.drain(DRAIN_MS) == 0
    desk = worker.desk
    outbox = await desk.transport.command("XRANGE", desk.key("bodies"), "-", "+")
    assert isinstance(outbox, list)
    assert sorted(fields[1] for _, fields in outbox) == sorted(bodies)


async def test_a_burst_costs_few_syncs(hired: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three thousand endings in a moment are a handful of batches, and the loop waits for none."""
    syncs: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    worker = await hired()
    worker.line.down = True
    ids = [worker.desk.session.new_id() for _ in range(3_000)]
    organisation = worker.desk.organisation
    await asyncio.gather(*(worker.endings.release(organisation, each, b"") for each in ids))
    await worker.kept()
    assert 0 < len(syncs) < 30
    (path,) = files_in(worker.disk.folder)
    assert {each.id for each in read_records(path.read_bytes()).endings.values()} == set(ids)


@pytest.mark.parametrize("fault", ["open", "fdatasync", "pwrite", "half"])
async def test_a_disk_that_refuses_leaves_endings_in_memory(
    hired: Hire,
    folder: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said once; the endings wait as before, and go to the disk when it takes them again.
    What a failed write has left behind is nowhere taken for an ending."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(4)]
    worker.line.down = True
    await worker.settle(reservations[0], 10)
    await worker.kept()
    if fault == "open":
        await worker.die()
        await worker.endings.close()
        worker = await hired()
        worker.line.down = True
    with monkeypatch.context() as patched:
        _break(patched, fault)
        for each in reservations[1:3]:
            await worker.settle(each, 10)
            await worker.kept()
            await worker.kept()
    said = [each for each in caplog.records if "cannot be kept on the disk" in each.getMessage()]
    assert len(said) == 1
    assert worker.endings.waiting == (2 if fault == "open" else 3)
    await worker.settle(reservations[3], 10)
    await worker.kept()
    found = [read_records(each.read_bytes()) for each in files_in(folder)]
    ids = sorted(each.id for file in found for each in file.endings.values())
    assert ids == sorted(each.id for each in reservations)
    assert not any(file.is_damaged for file in found)
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (40, 0)
    assert files_in(folder) == []


def _break(patched: pytest.MonkeyPatch, fault: str) -> None:
    write = os.pwrite

    def refuse(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    def half(descriptor: int, content: memoryview, at: int) -> int:
        if len(content) < 20:
            refuse()
        return write(descriptor, content[: len(content) // 2], at)

    if fault == "open":
        opened = os.open

        def no_new(path: Path, flags: int, *mode: int) -> int:
            return refuse() if flags & os.O_CREAT else opened(path, flags, *mode)

        patched.setattr(os, "open", no_new)
    elif fault == "half":
        patched.setattr(os, "pwrite", half)
    else:
        patched.setattr(os, fault, refuse)


async def test_a_file_that_somebody_has_removed_is_written_anew(hired: Hire, folder: Path) -> None:
    """What was in it is put into another one, as soon as the next ending shows that it is gone."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(2)]
    worker.line.down = True
    await worker.settle(reservations[0], 10)
    await worker.kept()
    files_in(folder)[0].unlink()
    await worker.settle(reservations[1], 10)
    await worker.kept()
    await worker.kept()
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (20, 0)
    assert names_in(folder) == []


async def test_a_file_that_cannot_be_removed_is_not_sent_again(
    hired: Hire,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stays locked by who has emptied it, and goes when the disk lets it go."""
    await left_by_a_dead_worker(hired, [10])
    worker, other = await hired(), await hired()
    with monkeypatch.context() as patched:

        def refuse(_path: Path, *, missing_ok: bool = False) -> None:
            raise OSError(30, "Read-only file system")

        patched.setattr(Path, "unlink", refuse)
        await worker.take_up()
        other.line.asked.clear()
        await other.take_up()
        assert not other.line.asked.is_set()
        reservation = await worker.running()
        worker.line.down = True
        await worker.settle(reservation, 20)
        await worker.kept()
        assert reservation.id in ids_in(folder)  # nor does it keep others from the disk
    worker.line.down = False
    await worker.take_up()
    assert files_in(folder) == []
    assert await worker.desk.totals() == (30, 0)


async def test_a_stop_that_could_not_drain_leaves_them_to_the_next(
    hired: Hire, folder: Path
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
    assert files_in(folder) == []


async def test_a_stop_does_not_wait_for_the_endings_of_others(hired: Hire, folder: Path) -> None:
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
    assert files_in(folder) == []


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


async def test_a_worker_looks_for_the_dead_until_it_is_drained(hired: Hire, folder: Path) -> None:
    """At its start and at every heartbeat; a worker that stops takes up nothing more."""
    worker = await hired()
    running = asyncio.create_task(worker.endings.run())
    for _ in range(2):
        await left_by_a_dead_worker(hired, [10])
        async with asyncio.timeout(WAIT_S_MAX):
            while files_in(folder):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
    assert await worker.endings.drain(DRAIN_MS) == 0
    await asyncio.wait_for(running, WAIT_S_MAX)
    await left_by_a_dead_worker(hired, [10])
    await worker.endings.take_up()
    assert len(files_in(folder)) == 1
