"""Endings on a disk that is full, as a process that has a small disk to itself:
`python -m tests.budgets.small_disk FOLDER`, FOLDER on that disk. Prints an Outcome.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from budgets.answers import Truth
from budgets.endingdisk import EndingDisk, EndingsOptions, Waiting
from budgets.endingfile import files_in
from budgets.endingrecords import Ending, read_records

BEFORE, WHILE_FULL, AFTER = 50, 200, 50
BODY_BYTES = 20_000


class Outcome(msgspec.Struct, frozen=True):
    """How many were on the disk before it was full, while it was, and after there was room again:
    as the worker believes, and as a reader of the files finds."""

    believed: list[int]
    found: list[int]
    is_damaged: bool


async def _main(folder: Path) -> Outcome:
    disk = EndingDisk(
        folder / "endings",
        EndingsOptions(folder=folder / "endings"),
        lambda: os.urandom(16).hex(),
        lambda event: event,
    )
    ballast = folder / "ballast"
    waiting: list[Waiting] = []
    believed, found = list[int](), list[int]()

    async def more(count: int) -> None:
        for _ in range(count):
            ending = Ending("acme", os.urandom(16).hex(), Truth(1, 1), b"{}", bytes(BODY_BYTES), "")
            waiting.append(Waiting(ending))
            disk.keep(waiting[-1])
            await asyncio.sleep(0)
        await disk.flush()
        believed.append(sum(each.file is not None for each in waiting))
        found.append(len(_ids(folder)))

    await more(BEFORE)
    _fill(ballast)
    await more(WHILE_FULL)
    ballast.unlink()
    await more(AFTER)
    ids = _ids(folder)
    assert ids == {each.ending.id for each in waiting}
    contents = [each.read_bytes() for each in files_in(folder / "endings")]
    is_damaged = any(read_records(each).is_damaged for each in contents)
    await disk.close()
    return Outcome(believed, found, is_damaged)


def _ids(folder: Path) -> set[str]:
    files = [read_records(each.read_bytes()) for each in files_in(folder / "endings")]
    return {each.id for file in files for each in file.endings.values()}


def _fill(ballast: Path) -> None:
    """To the last byte."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError:
        os.close(descriptor)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_main(Path(sys.argv[1])))))
