"""Recovers an organisation whose ledger may have lost something: it says what the records say.

Top to bottom: close it above all that the records know, record what its outbox still has, ask the
records what stands, write that, and open it in a new epoch. Whatever fails leaves it closed, and
the next try begins anew.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from budgets.recording import Recording
from budgets.recovering import Recovering
from budgets.session import LedgerRecovering, OrganisationUnknown, Session
from recorder.batch import Head
from recorder.options import RecorderOptions
from recorder.organisation import BEFORE_ALL, OrganisationRecorder
from recorder.restoring import TOMBSTONES_MS, Restoration, restoration
from recorder.snapshots import Snapshots
from recorder.spool import Spool
from recorder.writer import Writer

_log = logging.getLogger("comptroller.recorder")
_pack = msgspec.msgpack.Encoder().encode


class Recovery:
    """For all organisations of one recorder."""

    def __init__(
        self,
        session: Session,
        recording: Recording,
        recovering: Recovering,
        snapshots: Snapshots,
        writer: Writer,
        spool: Spool,
        options: RecorderOptions,
    ) -> None:
        self._session = session
        self._recording = recording
        self._recovering = recovering
        self._snapshots = snapshots
        self._writer = writer
        self._spool = spool
        self._options = options

    async def run(self, organisation: str, opened: Callable[[str], OrganisationRecorder]) -> None:
        """Returns when the organisation is open: as it was, recovered, or new. Raises
        LedgerUnavailable, StoreUnavailable, StoreRefused, and what `opened`'s steps raise."""
        began_s = time.monotonic()
        head = await asyncio.to_thread(self._spool.head, organisation)
        head = head or await self._writer.head(organisation)
        try:
            await self._session.open_organisation(organisation)
        except OrganisationUnknown:
            if head is None and not await self._snapshots.is_known(organisation):
                await self._recovering.begin_new(organisation)
                return
        except LedgerRecovering as error:
            _log.warning("%s", error)
        end = head or BEFORE_ALL
        # An epoch that was opened may have been lost before any event of it was recorded: the
        # snapshot at its beginning tells of it, so that it is not opened twice.
        last = await self._snapshots.last_place(organisation)
        place = (*max((end.epoch, end.seq), last), end.time_ms)
        lease_ms = self._options.owner_lease_ms
        now_ms = await self._recovering.begin(organisation, place, lease_ms)
        if not now_ms:
            return
        try:
            end = await opened(organisation).drained()
            async with self._owned(organisation):
                done = await self._restored(organisation, end, now_ms)
        except BaseException:
            self._recovering.give_up(organisation)
            raise
        _log.warning(
            "%s is recovered from the records up to %d-%d: %d writes, %d beyond them, in %.0f ms",
            *(organisation, end.epoch, end.seq, len(done.writes), len(done.booked) // 4),
            (time.monotonic() - began_s) * 1000,
        )

    @contextlib.asynccontextmanager
    async def _owned(self, organisation: str) -> AsyncIterator[None]:
        """Stays the organisation's recorder: what stands can take longer than a lease to ask."""
        lease_ms = self._options.owner_lease_ms

        async def renew() -> None:
            while True:
                await self._recording.own(organisation, lease_ms)
                await asyncio.sleep(lease_ms / 3000)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            if not renewing.cancelled() and (error := renewing.exception()) is not None:
                _log.warning("%s was not renewed: %s", organisation, error)

    async def _restored(self, organisation: str, end: Head, now_ms: int) -> Restoration:
        """`now_ms` is the ledger's own time: by it a window is over, not by ours."""
        over_ms = now_ms - TOMBSTONES_MS
        standing = await self._snapshots.standing(organisation, end, over_ms)
        ended = await self._snapshots.ended_since(organisation, over_ms)
        present = await self._recovering.present(organisation)
        # In a thread: leases of other organisations are kept on the loop.
        wanted = await asyncio.to_thread(restoration, standing, ended, present, now_ms)
        epoch, first = self._recovering.next_place(organisation)
        # Before it is open: this epoch is not opened again, and an insert that hung all the while
        # and lands later is of events that are counted already, or that came to nothing.
        boundary = Head(epoch, first - 1, "", now_ms)
        await _both(
            self._write(organisation, wanted, now_ms),
            self._snapshots.take(organisation, boundary, standing),
        )
        # What a recorder before us wrote of events that came to nothing is not to be believed.
        cut = ("epoch", str(epoch), f"{end.epoch} {end.seq}")
        told = {"recovered_through": f"{end.epoch}-{end.seq}", "open": len(standing.open)}
        await self._recovering.reopen(
            organisation,
            json.dumps({"by": "recorder", "detail": json.dumps(told)}).encode(),
            _pack(wanted.booked) if wanted.booked else b"",
            b"".join(map(_pack, (*wanted.unknown, *cut))),
        )
        return wanted

    async def _write(self, organisation: str, wanted: Restoration, now_ms: int) -> None:
        await self._recovering.restore(organisation, wanted.writes, self._options.lease_ms)
        await self._recovering.restore_keys(wanted.keys, now_ms)


async def _both(*works: Awaitable[object]) -> None:
    """At the same time, one in the ledger and one in the records; neither outlives this."""
    for failed in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(failed, BaseException):
            raise failed
