"""Endings that the ledger has not taken yet: settlements and releases that must not be lost.

A request ends once, through one call here. While the ledger does not answer, its ending waits in
this bounded queue and is tried again, oldest first; ids make the repetition harmless. What waits is
on the disk, too, where there is a folder for it: a worker that dies leaves its endings to the
others, and takes up those of the dead itself. When the queue is full the worker admits nothing new.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from budgets.answers import Reservation, Truth
from budgets.endingdisk import EndingDisk, EndingsOptions, Waiting
from budgets.endingrecords import Ending
from budgets.ledger import Ledger
from budgets.transport import LedgerRejected, LedgerSilent, LedgerUnavailable

RETRY_DELAY_MS_FIRST = 50
RETRY_DELAY_MS_MAX = 2_000
LATE_MS = 250
TAKEN_IN_TURN_MAX = 100
_log = logging.getLogger("comptroller.endings")


def _as_it_is(event: bytes) -> bytes:
    return event


class Endings:
    """Takes endings to the ledger, sooner or later."""

    def __init__(
        self,
        ledger: Ledger,
        options: EndingsOptions | None = None,
        without_body: Callable[[bytes], bytes] = _as_it_is,
    ) -> None:
        """`without_body` tells an event that the disk had no room for its body."""
        self._ledger = ledger
        self._options = options or EndingsOptions()
        self._disk: EndingDisk | None = None
        if self._options.folder is not None:
            self._disk = EndingDisk(
                self._options.folder, self._options, ledger.new_id, without_body
            )
        self._waiting: dict[str, deque[Waiting]] = {}  # by organisation
        self._own, self._own_bytes, self._adopted = 0, 0, 0
        self._worker: asyncio.Task[None] | None = None
        self._under_way: dict[int, Ending | Waiting] = {}
        self._begun = self._begun_when_looked = 0
        self._look: asyncio.TimerHandle | None = None
        self._fewer = asyncio.Event()
        self._stopping = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether nothing new may be admitted."""
        options = self._options
        return (
            self._own >= options.endings_waiting_max
            or self._own_bytes >= options.endings_bytes_max
            or (self._disk is not None and self._disk.bytes_used >= options.endings_bytes_max)
        )

    @property
    def waiting(self) -> int:
        """How many endings the ledger has not taken, those of dead workers included."""
        return self._own + self._adopted

    async def settle(
        self, reservation: Reservation, truth: Truth, event: bytes, body: bytes
    ) -> None:
        """Books the truth now, or as soon as the ledger takes it."""
        organisation, mark = reservation.path.organisation, reservation.mark
        known = (reservation.epoch, reservation.seq)
        await self._end(Ending(organisation, reservation.id, truth, event, body, mark, known))

    async def release(self, organisation: str, id_: str, event: bytes, mark: str = "") -> None:
        """Gives a reservation back, also one whose reserve was never answered."""
        await self._end(Ending(organisation, id_, None, event, b"", mark))

    async def _end(self, ending: Ending) -> None:
        number = self._begun = self._begun + 1
        self._under_way[number] = ending
        if self._look is None and self._disk is not None:
            self._look_later()
        try:
            await self._take(ending)
        except asyncio.CancelledError:
            self._wait(self._under_way.pop(number))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, money hangs on it
            _log.warning("an ending waits: %r", error)
            self._wait(self._under_way.pop(number))
        else:
            taken = self._under_way.pop(number)
            if isinstance(taken, Waiting):
                self._took(taken)
        finally:
            if not self._under_way:
                self._fewer.set()

    async def _take(self, ending: Ending) -> None:
        if ending.truth is None:
            await self._ledger.release(ending.organisation, ending.id, ending.event, ending.mark)
            return
        outcome = await self._ledger.settle(
            ending.organisation,
            ending.id,
            ending.truth,
            ending.event,
            ending.body,
            ending.mark,
            ending.known,
        )
        if outcome == "UNKNOWN":
            _log.error(
                "the ledger does not know reservation %s any more: its settlement is recorded as "
                "settlement_unbooked, and charges nothing",
                ending.id,
            )

    # Those whose call goes on for long: the worker may die before it knows.

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(LATE_MS / 1000, self._look_at_late)

    def _look_at_late(self) -> None:
        """What was under way at the last look, too, has to wait: it is put on the disk."""
        assert self._disk is not None
        self._look = None
        for number, each in self._under_way.items():
            if number > self._begun_when_looked:
                break
            if not isinstance(each, Waiting):
                late = self._under_way[number] = Waiting(each)
                self._disk.keep(late)
        self._begun_when_looked = self._begun
        if self._under_way:
            self._look_later()

    # Those that wait.

    def _wait(self, ended: Ending | Waiting) -> None:
        waiting = ended if isinstance(ended, Waiting) else Waiting(ended)
        self._own += 1
        self._own_bytes += _bytes_of(waiting)
        if self._disk is not None:
            self._disk.keep(waiting)
        self._queue(waiting)

    def _queue(self, waiting: Waiting) -> None:
        self._waiting.setdefault(waiting.ending.organisation, deque()).append(waiting)
        self._start()

    def _took(self, waiting: Waiting) -> None:
        if self._disk is not None:
            self._disk.took(waiting)

    def _start(self) -> None:
        if self._worker is None and self._waiting and not self._closed:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """In turn, so that an organisation that is recovering does not hold up the others."""
        delay_ms = RETRY_DELAY_MS_FIRST
        try:
            while self._waiting:
                taken = 0
                for organisation in list(self._waiting):
                    taken += await self._take_some(organisation)
                if taken:
                    delay_ms = RETRY_DELAY_MS_FIRST
                elif self._waiting:
                    await asyncio.sleep(delay_ms / 1000)
                    delay_ms = min(2 * delay_ms, RETRY_DELAY_MS_MAX)
        finally:
            self._worker = None

    async def _take_some(self, organisation: str) -> int:
        """How many of the first were taken, up to one that was not."""
        queue = self._waiting[organisation]
        for taken in range(TAKEN_IN_TURN_MAX):
            first = queue[0]
            try:
                await self._take(first.ending)
            except Exception as error:  # noqa: BLE001  # whatever it is, money hangs on it
                _log.warning("%d endings wait: %r", self.waiting, error)
                if _is_its_own(error):
                    queue.rotate(-1)  # one that is never taken must not hold up the rest
                return taken
            self._forget(queue.popleft())
            if not queue:
                del self._waiting[organisation]
                return taken + 1
        return TAKEN_IN_TURN_MAX

    def _forget(self, taken: Waiting) -> None:
        if taken.adopted:
            self._adopted -= 1
        else:
            self._own -= 1
            self._own_bytes -= _bytes_of(taken)
            if not self._own:
                self._fewer.set()
        self._took(taken)

    # Those of the dead.

    async def run(self) -> None:
        """Takes up what dead workers have left, now and at every heartbeat, until it is drained."""
        while self._disk is not None and not self._stopping.is_set():
            self._disk.look_again()
            try:
                await self.take_up()
            except Exception:  # noqa: BLE001  # what the dead have left must not harm the living
                _log.exception("what dead workers have left was not taken up")
            with contextlib.suppress(TimeoutError):
                heartbeat_s = self._ledger.options.lease_ms / 3000
                await asyncio.wait_for(self._stopping.wait(), heartbeat_s)

    async def take_up(self) -> None:
        """The endings of all workers that are dead, as far as there is room for them."""
        assert self._disk is not None
        while self._adopted < self._options.endings_waiting_max and not self._stopping.is_set():
            left = await self._disk.take_up()
            if left is None:
                return
            _log.warning("%d endings of a worker that is gone are taken up", len(left))
            self._adopted += len(left)
            for each in left:
                self._queue(each)

    # The end.

    async def drain(self, timeout_ms: int) -> int:
        """Waits until the ledger has taken all that ended here, at most this long; how many endings
        are left. Those of dead workers are not waited for: they have a file."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                while self._under_way or self._own:
                    self._start()
                    self._fewer.clear()
                    await self._fewer.wait()
        if self._worker is not None:
            worker = self._worker
            worker.cancel()
            await asyncio.wait({worker})
        return self.waiting + len(self._under_way)

    async def close(self) -> int:
        """Leaves what still waits to the next worker, on the disk; how many endings are in this
        process's memory alone, and are lost with it. Nothing is tried again after this."""
        self._closed = True
        for number, each in self._under_way.items():
            if not isinstance(each, Waiting):
                self._under_way[number] = Waiting(each)
        late = [each for each in self._under_way.values() if isinstance(each, Waiting)]
        left = [*late, *(each for queue in self._waiting.values() for each in queue)]
        if self._look is not None:
            self._look.cancel()
        if self._disk is None:
            return len(left)
        for each in left:
            self._disk.keep(each)
        await self._disk.flush()
        lost = sum(not (each.taken or each.file) for each in left)
        await self._disk.close()
        return lost


def _is_its_own(error: Exception) -> bool:
    """Whether another ending of the same organisation might fare better."""
    away = isinstance(error, LedgerUnavailable)
    return not away or isinstance(error, LedgerSilent | LedgerRejected)


def _bytes_of(waiting: Waiting) -> int:
    return len(waiting.ending.event) + len(waiting.ending.body)
