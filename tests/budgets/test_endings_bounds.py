"""What endings on the disk cost: nothing while the ledger answers, then so much and no more."""

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from budgets.endingdisk import COMPACTED_FROM_BYTES
from budgets.endingfile import bytes_in, files_in
from budgets.endingrecords import read_records
from tests.budgets.hired import (
    DRAIN_MS,
    WAIT_S_MAX,
    Hire,
    names_in,
    never_taken,
)


async def test_a_ledger_that_answers_costs_no_file(hired: Hire, kept_in: Path) -> None:
    """The usual ending touches no disk: no folder, no thread."""
    worker = await hired()
    for _ in range(20):
        await worker.settle(await worker.running(), 5)
    assert names_in(kept_in) is None
    disk = worker.disk
    assert not disk._thread._threads
    assert disk._writer is None


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


async def test_what_others_have_left_on_the_disk_counts(hired: Hire, kept_in: Path) -> None:
    """The folder is bounded as a whole, whoever wrote into it; an ending is kept all the same, of
    its body only where there is room."""
    other = await hired()
    reservation = await other.running()
    other.line.down = True
    await other.settle(reservation, 1, bytes(3_000))
    await other.kept()
    worker = await hired(endings_bytes_max=bytes_in(kept_in))
    first = await worker.running()
    assert worker.lets_in()
    await worker.endings.take_up()
    assert not worker.lets_in()
    worker.line.down = True
    await worker.settle(first, 5, b"an answer")
    await worker.kept()
    left = [read_records(each.read_bytes()).endings[1] for each in files_in(kept_in)]
    assert [len(each.body) for each in left] == [3_000, 0]
    for each in (other, worker):
        each.line.down = False
        assert await each.endings.drain(DRAIN_MS) == 0
        await each.kept()
    assert worker.lets_in()
    assert await worker.desk.totals() == (6, 0)


async def test_the_disk_keeps_money_and_leaves_out_large_answers(
    hired: Hire, kept_in: Path
) -> None:
    """A body above its bound, or one for which the folder has no room, is not on the disk, and its
    event says so. A worker that lives hands it over whole."""
    worker = await hired(endings_body_bytes_max=100, endings_bytes_max=1_000)
    bodies = [b"s" * 90, b"l" * 101, *([b"m" * 100] * 20)]
    reservations = [await worker.running() for _ in bodies]
    worker.line.down = True
    for each, body in zip(reservations, bodies, strict=True):
        await worker.settle(each, 5, body)
    await worker.kept()
    (path,) = files_in(kept_in)
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


async def test_one_that_waits_for_long_does_not_keep_the_disk_full(
    hired: Hire, kept_in: Path, monkeypatch: pytest.MonkeyPatch
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
    assert bytes_in(kept_in) > 4_000_000
    never_taken(worker, monkeypatch, last.id)
    worker.line.down = False
    async with asyncio.timeout(WAIT_S_MAX):
        while worker.endings.waiting > 1:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    await worker.kept()
    assert bytes_in(kept_in) < COMPACTED_FROM_BYTES + 2 * len(body)
    await worker.die()
    other = await hired()
    await other.take_up()
    assert await other.desk.totals() == (41, 0)


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
