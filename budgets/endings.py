"""Endings that the ledger has not taken yet: settlements and releases that must not be lost.

A request ends once, through one call here. While the ledger does not answer, its ending waits in
this bounded queue and is tried again, oldest first; ids make the repetition harmless. When the
queue is full the worker admits nothing new. What is still here when the process dies is what the
leases then charge.
"""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass

from budgets.answers import Reservation, Truth
from budgets.ledger import Ledger

ENDINGS_WAITING_MAX = 10_000
RETRY_DELAY_MS_FIRST = 50
RETRY_DELAY_MS_MAX = 2_000
_log = logging.getLogger("comptroller.endings")


@dataclass(frozen=True, slots=True)
class Ending:
    """How one reservation ends: `truth` settles it, None releases it; `mark` names its mark."""

    organisation: str
    id: str
    truth: Truth | None
    event: bytes
    body: bytes
    mark: str


class Endings:
    """Takes endings to the ledger, sooner or later."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[Ending] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._taking = 0
        self._none_taken = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether nothing new may be admitted."""
        return len(self._waiting) >= ENDINGS_WAITING_MAX

    @property
    def waiting(self) -> int:
        """How many endings the ledger has not taken."""
        return len(self._waiting)

    async def settle(
        self, reservation: Reservation, truth: Truth, event: bytes, body: bytes
    ) -> None:
        """Books the truth now, or as soon as the ledger takes it."""
        organisation, mark = reservation.path.organisation, reservation.mark
        await self._end(Ending(organisation, reservation.id, truth, event, body, mark))

    async def release(self, organisation: str, id_: str, event: bytes, mark: str = "") -> None:
        """Gives a reservation back, also one whose reserve was never answered."""
        await self._end(Ending(organisation, id_, None, event, b"", mark))

    async def _end(self, ending: Ending) -> None:
        self._taking += 1
        try:
            await self._take(ending)
        except asyncio.CancelledError:
            self._wait(ending)
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, money hangs on it
            _log.warning("an ending waits: %r", error)
            self._wait(ending)
        finally:
            self._taking -= 1
            if not self._taking:
                self._none_taken.set()

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
        )
        if outcome == "UNKNOWN":
            _log.error("settlement %s names a reservation that the ledger lost", ending.id)

    def _wait(self, ending: Ending) -> None:
        self._waiting.append(ending)
        self._start()

    def _start(self) -> None:
        if self._worker is None and self._waiting:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        delay_ms = RETRY_DELAY_MS_FIRST
        try:
            while self._waiting:
                try:
                    await self._take(self._waiting[0])
                except Exception as error:  # noqa: BLE001  # whatever it is, money hangs on it
                    _log.warning("%d endings wait: %r", len(self._waiting), error)
                    self._waiting.rotate(-1)  # one that is never taken must not hold up the rest
                    await asyncio.sleep(delay_ms / 1000)
                    delay_ms = min(2 * delay_ms, RETRY_DELAY_MS_MAX)
                else:
                    self._waiting.popleft()
                    delay_ms = RETRY_DELAY_MS_FIRST
        finally:
            self._worker = None

    async def drain(self, timeout_ms: int) -> int:
        """Waits until the ledger has taken all, at most this long; how many endings are left."""
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        self._none_taken.clear()
        if self._taking:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_taken.wait(), timeout_ms / 1000)
        self._start()
        if self._worker is not None:
            worker = self._worker
            left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({worker}, timeout=left_s)
            worker.cancel()
            await asyncio.wait({worker})
        return len(self._waiting) + self._taking
