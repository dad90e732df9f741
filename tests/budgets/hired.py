"""Workers that share a folder for their endings, die, and are followed by others; a disk that is
slow."""

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from budgets.answers import Reservation, Truth
from budgets.endingdisk import EndingDisk, EndingsOptions
from budgets.endingfile import files_in
from budgets.endingrecords import read_records
from budgets.endings import Endings
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


async def roll_to(desk: Desk, state: dict[bytes, bytes]) -> None:
    """Puts the server back, or forth, to what it was."""
    for key in await desk.everything():
        await desk.transport.command("DEL", key)
    for key, dumped in state.items():
        await desk.transport.command("RESTORE", key, "0", dumped)


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
