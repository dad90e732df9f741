"""Keeps the leases of this process alive while their requests run, and sweeps those of the dead.

A lease says: this worker lives and its request goes on. Every third of a lease all open ones are
extended in one call for each organisation. A lease that the ledger reports as gone, or whose path
was closed, frozen or fenced, has its stream cut; so has one that could not be extended in time,
because what streams without a lease is not covered by anybody's money.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from budgets.answers import Reservation
from budgets.ledger import Ledger
from budgets.session import Clock
from budgets.transport import LedgerSilent, LedgerUnavailable

EXTENDED_AT_ONCE_MAX = 500
FORGET_EVERY_MS = 1_000

Cut = Callable[[str], None]
_log = logging.getLogger("comptroller.leases")


class _Lease:
    __slots__ = ("cut", "expires_at_ms", "reservation", "was_cut")

    def __init__(self, reservation: Reservation, cut: Cut, expires_at_ms: int) -> None:
        self.reservation = reservation
        self.cut = cut
        self.expires_at_ms = expires_at_ms
        self.was_cut = False


class LeaseKeeper:
    """Open leases of this process by id, and the loop that extends and sweeps."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lease_ms = ledger.options.lease_ms
        self._open: dict[str, _Lease] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()

    def hold(self, reservation: Reservation, cut: Cut) -> None:
        """Extends this lease until it is dropped; `cut` is called once with the reason if the
        request must stop: GONE, FROZEN, CLOSED, FENCED or EXPIRED."""
        expires_at_ms = self._clock.now_ms() + self._lease_ms
        self._none_open.clear()
        self._open[reservation.id] = _Lease(reservation, cut, expires_at_ms)

    def drop(self, reservation: Reservation) -> None:
        """The request has ended."""
        self._open.pop(reservation.id, None)
        if not self._open:
            self._none_open.set()

    async def until_none_open(self, timeout_ms: int) -> bool:
        """Waits for every request to end, at most this long; whether they have."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_open.wait(), timeout_ms / 1000)
        return self._none_open.is_set()

    async def run(self) -> None:
        """Beats until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat_on())
            tasks.create_task(self._forget_on())

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            await self.beat()

    async def _forget_on(self) -> None:
        """What the recorder has need not be kept for a ledger that loses it."""
        while True:
            await asyncio.sleep(FORGET_EVERY_MS / 1000)
            try:
                await self._ledger.forget_recorded()
            except LedgerUnavailable as error:
                _log.debug("what is recorded is kept a little longer: %s", error)

    async def beat(self) -> None:
        """One round: extends what is open, cuts what may not go on, sweeps what has expired."""
        self._cut_expired()
        try:
            for organisation in self._ledger.organisations:
                await self._guarded(self._extend, organisation)
            for organisation in await self._ledger.all_organisations():
                await self._guarded(self._sweep, organisation)
        except LedgerUnavailable as error:
            _log.warning("leases were not looked after: %s", error)
        self._cut_expired()

    async def _guarded(self, work: Callable[[str], Awaitable[None]], organisation: str) -> None:
        """One organisation that is recovering does not hold up the others; a server that does
        not answer ends the round, it would be silent for each of them."""
        try:
            await work(organisation)
        except LedgerSilent:
            raise
        except LedgerUnavailable as error:
            _log.warning("leases of %s were not looked after: %s", organisation, error)

    async def _sweep(self, organisation: str) -> None:
        while await self._ledger.sweep(organisation):
            pass

    def _cut_expired(self) -> None:
        now_ms = self._clock.now_ms()
        for lease in [each for each in self._open.values() if each.expires_at_ms <= now_ms]:
            self._cut(lease, "EXPIRED")

    async def _extend(self, organisation: str) -> None:
        leases = [
            each
            for each in self._open.values()
            if each.reservation.path.organisation == organisation
        ]
        for start in range(0, len(leases), EXTENDED_AT_ONCE_MAX):
            batch = leases[start : start + EXTENDED_AT_ONCE_MAX]
            asked_at_ms = self._clock.now_ms()
            named = [(each.reservation.id, each.reservation.path) for each in batch]
            answers = await self._ledger.extend(organisation, named)
            for lease in batch:
                answer = answers[lease.reservation.id]
                if answer == "OK":
                    lease.expires_at_ms = asked_at_ms + self._lease_ms
                else:
                    self._cut(lease, answer)

    def _cut(self, lease: _Lease, reason: str) -> None:
        if lease.reservation.id in self._open and not lease.was_cut:
            lease.was_cut = True
            lease.cut(reason)
