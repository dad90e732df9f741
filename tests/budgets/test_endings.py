"""Endings against a ledger that loses answers or does not answer: nothing is lost, nothing is
booked twice."""

import asyncio
import dataclasses
import random
from collections import deque
from typing import Literal

import pytest

from budgets.answers import Reservation, Truth
from budgets.endings import ENDINGS_WAITING_MAX, Endings
from budgets.scripts import Script
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerSilent,
    LedgerTransport,
    LedgerUnavailable,
    Reply,
)
from tests.budgets.harness import Desk, dollars, granted

Fault = Literal["", "answer lost", "refused", "rejected", "hangs"]
DRAIN_MS = 20_000


class FaultyTransport:
    """Passes calls on, but for the faults that a test has put in their way: `faults` of the next
    ones, `down` for all, and `refuses` for those that name an id."""

    def __init__(self, inner: LedgerTransport) -> None:
        self._inner = inner
        self.faults: deque[Fault] = deque()
        self.down = False
        self.refuses = ""
        self.asked = asyncio.Event()

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """One call under the next fault."""
        self.asked.set()
        fault = "refused" if self.down else self.faults.popleft() if self.faults else ""
        if fault == "refused":
            raise LedgerUnavailable("the ledger cannot be reached")
        if fault == "hangs":
            await asyncio.Event().wait()
        if fault == "rejected" or (self.refuses and self.refuses in args):
            raise LedgerRejected("OOM command not allowed")
        reply = await self._inner.call(script, keys, args)
        if fault == "answer lost":
            raise LedgerSilent("the answer was lost")
        return reply

    call_durably = call

    async def command(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command(*args)

    async def command_durably(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command_durably(*args)

    async def close(self) -> None:
        """Nothing of its own."""


@pytest.fixture
async def faulty(desk: Desk) -> FaultyTransport:
    """The desk's transport from now on; its organisation has a large budget."""
    await desk.set_budget(desk.organisation, [{"usd": "1"}])
    faulty = FaultyTransport(desk.transport)
    desk.session.transport = faulty
    return faulty


async def running(desk: Desk, nusd: int = 100) -> Reservation:
    """A reservation in flight."""
    return granted(await desk.ask(dollars(nusd)))


@pytest.mark.parametrize("fault", ["answer lost", "refused", "rejected"])
@pytest.mark.parametrize("ending", ["settle", "release"])
async def test_an_ending_is_booked_once_whatever_happens_to_its_call(
    desk: Desk, faulty: FaultyTransport, fault: Fault, ending: str
) -> None:
    """A call whose answer was lost is repeated and finds itself done; one that did not arrive is
    repeated until it does. The caller does not wait for that."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    faulty.faults.extend([fault, fault, fault])
    if ending == "settle":
        await endings.settle(reservation, Truth(70, 0), b"response", b"")
    else:
        await endings.release(desk.organisation, reservation.id, b"response")
    assert endings.waiting == 1
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == ((70, 0) if ending == "settle" else (0, 0))
    assert [entry.kind for entry in await desk.outbox()][1:] == ["llm_request", "llm_response"]


async def test_a_ledger_that_answers_leaves_nothing_waiting(
    desk: Desk, faulty: FaultyTransport
) -> None:
    """The usual case has no queue: the ending is booked when the call returns."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    await endings.settle(reservation, Truth(70, 0), b"", b"")
    assert endings.waiting == 0
    assert await endings.drain(0) == 0
    assert await desk.totals() == (70, 0)


async def test_a_hundred_endings_over_a_bad_line(desk: Desk, faulty: FaultyTransport) -> None:
    """Random faults under concurrent settlements and releases: the sum of the truths is booked,
    nothing stays reserved, and each request has one ending in the records."""
    chance = random.Random(7)
    endings = Endings(desk.ledger)
    reservations = [await running(desk) for _ in range(100)]
    kinds: list[Fault] = ["", "answer lost", "refused", "rejected", ""]
    faulty.faults.extend(chance.choice(kinds) for _ in range(110))
    await asyncio.gather(
        *(
            endings.settle(each, Truth(n, 0), b"", b"")
            if n % 3
            else endings.release(desk.organisation, each.id, b"")
            for n, each in enumerate(reservations)
        )
    )
    assert endings.waiting > 10
    faulty.faults.clear()
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (sum(n for n in range(100) if n % 3), 0)
    ended = [entry.id for entry in await desk.outbox() if entry.kind == "llm_response"]
    assert sorted(ended) == sorted(each.id for each in reservations)


async def test_what_waits_is_booked_oldest_first(desk: Desk, faulty: FaultyTransport) -> None:
    """The order of the outage is the order of the records."""
    endings = Endings(desk.ledger)
    reservations = [await running(desk) for _ in range(5)]
    faulty.down = True
    for each in reservations:
        await endings.settle(each, Truth(1, 0), b"", b"")
    faulty.down = False
    assert await endings.drain(DRAIN_MS) == 0
    ended = [entry.id for entry in await desk.outbox() if entry.kind == "llm_response"]
    assert ended == [each.id for each in reservations]


async def test_one_that_is_never_taken_holds_up_nobody(desk: Desk, faulty: FaultyTransport) -> None:
    """An ending that the ledger rejects for good waits for ever; those behind it are booked."""
    endings = Endings(desk.ledger)
    reservations = [await running(desk) for _ in range(3)]
    faulty.refuses = reservations[0].id
    faulty.down = True
    for each in reservations:
        await endings.settle(each, Truth(1, 0), b"", b"")
    faulty.down = False
    assert await endings.drain(2_000) == 1
    ended = [entry.id for entry in await desk.outbox() if entry.kind == "llm_response"]
    assert ended == [each.id for each in reservations[1:]]
    faulty.refuses = ""
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (3, 0)


@pytest.mark.parametrize("fault", ["", "hangs"])
async def test_a_cancelled_ending_is_booked_all_the_same(
    desk: Desk, faulty: FaultyTransport, fault: Fault
) -> None:
    """A client that hangs up cancels its task, not the ending of its reservation, whether or not
    the call had reached the ledger."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    faulty.faults.append(fault)
    faulty.asked.clear()
    ending = asyncio.create_task(endings.settle(reservation, Truth(70, 0), b"", b""))
    await faulty.asked.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (70, 0)


async def test_a_reserve_without_an_answer_is_given_back(
    desk: Desk, faulty: FaultyTransport
) -> None:
    """The worker that does not know whether it reserved releases the id: in both cases nothing
    stays reserved."""
    endings = Endings(desk.ledger)
    await endings.release(desk.organisation, (await running(desk)).id, b"")  # all is cached
    faults: tuple[Fault, ...] = ("answer lost", "refused")
    for fault in faults:
        id_ = desk.session.new_id()
        faulty.faults.append(fault)
        with pytest.raises(LedgerUnavailable):
            await desk.ask(dollars(100), id_=id_)
        assert await desk.totals() == (0, 100 if fault == "answer lost" else 0)
        await endings.release(desk.organisation, id_, b"")
        assert await desk.totals() == (0, 0)


async def test_an_ending_outlives_a_recovery(desk: Desk, faulty: FaultyTransport) -> None:
    """RECOVERING is not an ending: it waits, and is booked when the ledger is there again, in the
    epoch that it is in then."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    head = await desk.head()
    await desk.set_head(dataclasses.replace(head, epoch=0))
    await endings.settle(reservation, Truth(70, 0), b"", b"")
    assert endings.waiting == 1
    await desk.set_head(dataclasses.replace(head, epoch=2, seq=head.seq))
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (70, 0)


async def test_a_full_queue_admits_nothing_new(desk: Desk, faulty: FaultyTransport) -> None:
    """What waits is bounded: when it is full the worker is told to admit no more."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    faulty.down = True
    for n in range(ENDINGS_WAITING_MAX):
        assert not endings.full
        id_ = reservation.id if n == 0 else desk.session.new_id()
        await endings.release(desk.organisation, id_, b"")
    assert endings.full
    assert await endings.drain(1) == ENDINGS_WAITING_MAX
    assert await desk.totals() == (0, 100)


async def test_draining_gives_up_in_time_and_says_what_is_left(
    desk: Desk, faulty: FaultyTransport
) -> None:
    """A process that must stop learns how many endings its leases will have to answer for; one
    that goes on after all loses none."""
    endings = Endings(desk.ledger)
    first, second = await running(desk), await running(desk)
    faulty.down = True
    await endings.settle(first, Truth(70, 0), b"", b"")
    assert await endings.drain(10) == 1
    faulty.down = False
    faulty.faults.append("refused")
    await endings.settle(second, Truth(20, 0), b"", b"")
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (90, 0)


async def test_a_second_drain_tries_again(desk: Desk, faulty: FaultyTransport) -> None:
    """What an interrupted drain left is taken by the next one, without a new ending."""
    endings, reservation = Endings(desk.ledger), await running(desk)
    faulty.down = True
    await endings.settle(reservation, Truth(70, 0), b"", b"")
    assert await endings.drain(10) == 1
    faulty.down = False
    assert await endings.drain(DRAIN_MS) == 0
    assert await desk.totals() == (70, 0)
