"""Files of endings: whatever else is in their folder, and whatever the disk does, none is lost and
none is sent again that the ledger has."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from budgets.endingdisk import COMPACTED_FROM_BYTES
from budgets.endingfile import EndingFile, bytes_in, files_in
from budgets.endingrecords import Ending, read_records
from tests.budgets.hired import (
    WAIT_S_MAX,
    Hire,
    SlowDisk,
    ids_in,
    left_by_a_dead_worker,
    names_in,
    never_taken,
)


async def test_what_is_taken_while_it_is_being_written_is_not_sent_again(
    hired: Hire, kept_in: Path, monkeypatch: pytest.MonkeyPatch
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
    assert bytes_in(kept_in) < COMPACTED_FROM_BYTES
    await worker.die()
    assert ids_in(kept_in) == [first.id]


async def test_a_file_that_is_compacted_while_it_is_written_keeps_all(
    hired: Hire, kept_in: Path, monkeypatch: pytest.MonkeyPatch
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
    assert bytes_in(kept_in) < COMPACTED_FROM_BYTES
    await worker.die()
    assert ids_in(kept_in) == sorted([first.id, last.id])


async def test_a_file_that_was_cut_gives_what_is_whole(hired: Hire, kept_in: Path) -> None:
    """The machine went while the last record was written: the others are booked, and the last is
    its lease's, as if it had never come so far. At every byte of it."""
    await left_by_a_dead_worker(hired, [10, 20, 40])
    (path,) = files_in(kept_in)
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
    assert names_in(kept_in) == []


async def test_a_damaged_file_is_used_as_far_as_it_goes_and_set_aside(
    hired: Hire,
    kept_in: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The damage costs one record; the file is kept for people, said loudly, and never looked at
    again. A worker that dies in between leaves what was read to the next one."""
    await left_by_a_dead_worker(hired, [10, 20, 40])
    (path,) = files_in(kept_in)
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
    assert names_in(kept_in) == [path.with_suffix(".damaged").name]
    assert path.with_suffix(".damaged").read_bytes() == bytes(content)
    said = [each for each in caplog.records if "not what had been written" in each.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.ERROR


async def test_foreign_things_in_the_folder_harm_nobody(
    hired: Hire,
    kept_in: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that is named otherwise is not touched; one that is named as ours and is not is set
    aside; what is no file is told of, once; the endings beside them are booked."""
    await left_by_a_dead_worker(hired, [10])
    note = kept_in / "notes.txt"
    note.write_text("mine")
    secret = tmp_path / "secret"
    secret.write_text("not ours")
    names = [f"{digit * 32}-0.endings" for digit in "01234"]
    (kept_in / names[0]).mkdir()
    (kept_in / names[1]).symlink_to(secret)
    os.mkfifo(kept_in / names[2])
    (kept_in / names[3]).write_bytes(b"no endings in here, but long enough for a header")
    (kept_in / names[4]).write_bytes(b"")
    worker = await hired()
    for _ in range(3):
        await worker.take_up()
    assert await worker.desk.totals() == (10, 0)
    assert note.read_text() == "mine"
    assert secret.read_text() == "not ours"
    assert names_in(kept_in) == sorted(
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


@pytest.mark.parametrize("fault", ["open", "fdatasync", "pwrite", "half"])
async def test_a_disk_that_refuses_leaves_endings_in_memory(
    hired: Hire,
    kept_in: Path,
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
    found = [read_records(each.read_bytes()) for each in files_in(kept_in)]
    ids = sorted(each.id for file in found for each in file.endings.values())
    assert ids == sorted(each.id for each in reservations)
    assert not any(file.is_damaged for file in found)
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (40, 0)
    assert files_in(kept_in) == []


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


async def test_a_file_that_somebody_has_removed_is_written_anew(hired: Hire, kept_in: Path) -> None:
    """What was in it is put into another one, as soon as the next ending shows that it is gone."""
    worker = await hired()
    reservations = [await worker.running() for _ in range(2)]
    worker.line.down = True
    await worker.settle(reservations[0], 10)
    await worker.kept()
    files_in(kept_in)[0].unlink()
    await worker.settle(reservations[1], 10)
    await worker.kept()
    await worker.kept()
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (20, 0)
    assert names_in(kept_in) == []


async def test_a_file_that_cannot_be_removed_is_not_sent_again(
    hired: Hire,
    kept_in: Path,
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
        assert reservation.id in ids_in(kept_in)  # nor does it keep others from the disk
    worker.line.down = False
    await worker.take_up()
    assert files_in(kept_in) == []
    assert await worker.desk.totals() == (30, 0)
