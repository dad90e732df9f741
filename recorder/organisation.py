"""Keeps one organisation's records: outbox -> batch -> records, in order, exactly once.

One step, top to bottom: own the organisation, read, fix the bounds, pack, write (or spool),
confirm. A crash between any two of these leaves the next owner with the same batch to write, or
with one to find written.
"""

import asyncio
import logging
import math
import time

from budgets.recording import Bounds, OwnershipLost, Recording
from budgets.transport import LedgerUnavailable
from clickhouse.chain import GENESIS
from clickhouse.errors import StoreRefused, StoreUnavailable
from recorder.batch import Batch, Head
from recorder.compaction import Compaction
from recorder.heads import HeadsFile
from recorder.options import RecorderOptions
from recorder.packing import DAY_MS, OutboxGap, pack
from recorder.reading import Outbox, OutboxMoved
from recorder.spool import Spool
from recorder.writer import Writer

_log = logging.getLogger("comptroller.recorder")
TROUBLE_CHARS_MAX = 300
BEFORE_ALL = Head(0, 0, GENESIS, 0)


def in_short(error: Exception) -> str:
    """For the log: without the rows that an engine repeats when it cannot parse them."""
    text = str(error).split(" before: ", 1)[0].split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:TROUBLE_CHARS_MAX]}"


class OwnedElsewhere(Exception):
    """Another recorder owns the organisation, or its disk spool holds what comes next."""


class OrganisationRecorder:
    """One organisation's, as long as this recorder owns it. `node` names this recorder's disk."""

    def __init__(
        self,
        organisation: str,
        recording: Recording,
        writer: Writer,
        spool: Spool,
        heads: HeadsFile,
        compaction: Compaction,
        options: RecorderOptions,
        node: str,
    ) -> None:
        self.organisation = organisation
        self._compaction = compaction
        self._compact_at_s = self._snapshot_at_s = 0.0
        self._tidying: asyncio.Task[None] | None = None
        self._recording = recording
        self._writer = writer
        self._spool = spool
        self._options = options
        self._node = node
        self._outbox = Outbox(
            recording, organisation, options.batch_events_max, options.batch_bytes_max
        )
        self._signer = Signer(heads, options.head_every_ms)
        self._head: Head | None = None
        self._renew_at_s = self._owned_until_s = 0.0
        self._owned_epoch = 0
        self._away_since_s: float | None = None
        self._drain_at_s = 0.0
        self._doubt = True  # of what a recorder before us may have written

    async def step(self) -> bool:
        """Records what is waiting, at most one batch; whether it was full, so that more waits.

        Raises OwnedElsewhere, OwnershipLost, LedgerUnavailable, StoreUnavailable, StoreRefused, and
        what only a person can mend: OutboxGap, RecordsDisagree, EntryMalformed, SpoolDamaged."""
        was_open = self._head is not None
        try:
            return await self._step()
        except (StoreUnavailable, StoreRefused):
            raise  # nothing moved: the same batch is tried again, in doubt
        except OutboxGap as error:
            self._start_anew()
            if was_open:  # a recorder that was paused finds that another went on
                raise OutboxMoved(str(error)) from error
            raise
        except BaseException:
            self._start_anew()
            raise

    def _start_anew(self) -> None:
        """Who owns it, and what was written and confirmed, is asked for again."""
        self._head, self._renew_at_s = None, 0.0
        if self._tidying is not None:
            self._tidying.cancel()

    async def _step(self) -> bool:
        await self._recording.look(self.organisation)
        await self._own()
        drained = await self._drain_spool()
        head = self._head or await self._open()
        entries = await self._outbox.next_entries(head)
        if not entries:
            await self._signer.sometimes()
            if drained:
                await self._tidy_sometimes(head)
            return False
        wanted = Bounds(entries[0].epoch, entries[0].seq, entries[-1].seq)
        bounds = await self._recording.fix(self.organisation, wanted)
        entries = await self._outbox.entries(bounds, entries)
        # In a thread: packing takes a tenth of a second, and leases are kept on the loop.
        batch = await asyncio.to_thread(pack, self.organisation, head, entries)
        if drained:
            drained = await self._write(batch)
        else:
            await self._keep_in_spool(batch)
        self._head = batch.head
        if self._is_full(batch):
            return True
        if drained:
            await self._tidy_sometimes(batch.head)
        return False

    def _is_full(self, batch: Batch) -> bool:
        return (
            batch.event_count >= self._options.batch_events_max
            or len(batch.events) + len(batch.bodies) >= self._options.batch_bytes_max // 2
        )

    async def drained(self) -> Head:
        """Records all that waits, also on this disk; the end of the log then. Raises
        StoreUnavailable where the records do not take it, and as `step` does."""
        # What is compared with the records is not to be trusted yet.
        self._compact_at_s = self._snapshot_at_s = math.inf
        end: Head | None = None
        # Until a step finds nothing: one batch may end where a day or an epoch does, or where a
        # recorder before us had fixed it.
        while await self.step() or self._head != end:
            end = self._head
        if await asyncio.to_thread(self._spool.pending, self.organisation):
            raise StoreUnavailable(f"events of {self.organisation} wait on the disk")
        return self._head or await self._open()

    async def give_back(self) -> None:
        """Lets another recorder try; this one has failed."""
        await self._stop_tidying()
        self._start_anew()
        await self._recording.own(self.organisation, 0)

    async def _tidy_sometimes(self, head: Head) -> None:
        """When all is recorded: then the records say the same as the ledger, or an alarm is due.
        Beside the recording, because it may take a minute: whoever asks the records meanwhile
        waits for events that are not in them yet."""
        if self._tidying is not None and not self._tidying.done():
            return
        self._said_how_it_went()
        now_s = time.monotonic()
        compacts, adds_up = now_s >= self._compact_at_s, now_s >= self._snapshot_at_s
        if compacts:
            self._compact_at_s = now_s + self._options.compact_every_ms / 1000
        if adds_up:
            self._snapshot_at_s = now_s + self._options.snapshot_every_ms / 1000
        if compacts or adds_up:
            self._tidying = asyncio.create_task(self._tidy(head, compacts=compacts))
            self._tidying.add_done_callback(_ended)

    async def _tidy(self, head: Head, *, compacts: bool) -> None:
        if compacts:
            await self._compaction.sweep(self.organisation, head)
        else:
            await self._compaction.snapshots.take(self.organisation, head)

    async def _stop_tidying(self) -> None:
        """It may be stopped anywhere: the next one begins anew."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
            self._said_how_it_went()

    def _said_how_it_went(self) -> None:
        """What has failed stays for the next time; the recording goes on."""
        tidying, self._tidying = self._tidying, None
        if tidying is None or tidying.cancelled() or (error := tidying.exception()) is None:
            return
        known = isinstance(error, LedgerUnavailable | StoreUnavailable | StoreRefused)
        text = in_short(error) if isinstance(error, Exception) else str(error)
        _log.warning(
            "%s is not tidied: %s", self.organisation, text, exc_info=None if known else error
        )

    async def close(self, *, give_back: bool) -> None:
        """Signs the end of the chain, and gives the organisation back to whoever comes next."""
        await self._stop_tidying()
        await self._signer.now()
        self._head = None
        if give_back:
            await self._recording.own(self.organisation, 0)

    async def _own(self) -> None:
        if time.monotonic() < self._renew_at_s:
            return
        asked_at_s = time.monotonic()
        ownership = await self._recording.own(self.organisation, self._options.owner_lease_ms)
        if ownership is None:
            raise OwnedElsewhere(f"{self.organisation} is recorded by another recorder")
        if ownership.spooler not in ("", self._node):
            await self._recording.own(self.organisation, 0)
            raise OwnedElsewhere(
                f"events of {self.organisation} up to {ownership.spooled} wait in the disk spool "
                f"of recorder {ownership.spooler}: start that one, on its own data dir"
            )
        if ownership.epoch != self._owned_epoch:
            # Who recovered it may have recorded more. A gap would tell of that in one epoch only.
            self._start_anew()
            self._owned_epoch = ownership.epoch
        self._renew_at_s = asked_at_s + self._options.owner_lease_ms / 3000
        self._owned_until_s = asked_at_s + self._options.owner_lease_ms / 1000

    def _still_mine(self) -> None:
        """A recorder that was paused finds out before it writes. (What slips through between this
        and the write is the identical block under the same token.)"""
        if time.monotonic() >= self._owned_until_s:
            raise OwnershipLost(self.organisation)

    async def _open(self) -> Head:
        """Where the records end, the spool included. What was kept but not confirmed is confirmed
        now, so that what is read next is what comes next."""
        head = await asyncio.to_thread(self._spool.head, self.organisation)
        on_disk = head is not None
        if head is None:
            head = await self._writer.head(self.organisation)
            self._signer.goes_on_from(head)
        head = head or BEFORE_ALL
        while bounds := await self._outbox.leftovers(head):
            kept = await self._outbox.entries(bounds)
            payload_bytes = sum(len(each.body) for each in kept)
            await self._recording.confirm(
                self.organisation, bounds.epoch, bounds.last, payload_bytes, on_disk=on_disk
            )
        if not on_disk:  # nothing waits on this disk (any more): others may take over
            await self._recording.confirm(self.organisation, head.epoch, head.seq, 0)
        self._head = head
        self._doubt = True
        return head

    async def _drain_spool(self) -> bool:
        """Moves what waits on the disk into the records, oldest first; whether none is left."""
        pending = await asyncio.to_thread(self._spool.pending, self.organisation)
        if not pending:
            return True
        if time.monotonic() < self._drain_at_s:
            return False
        try:
            for ref in pending:
                batch = await asyncio.to_thread(self._spool.load, ref)
                await self._own()
                self._still_mine()
                await self._writer.write(batch, doubt=True)
                await self._signer.wrote(batch.head)
                await asyncio.to_thread(self._spool.remove, ref)
        except (StoreUnavailable, StoreRefused) as error:
            _log.warning("%s waits on the disk: %s", self.organisation, in_short(error))
            self._drain_at_s = time.monotonic() + self._options.drain_every_ms / 1000
            return False
        # Opened anew: what a crash left unconfirmed is confirmed with its bytes, the mark of this
        # spool goes, and the end is asked for, from where another recorder may have gone on.
        self._head = self._away_since_s = None
        return True

    async def _write(self, batch: Batch) -> bool:
        """Whether the records have it: what waits on the disk is in no sum of theirs."""
        self._still_mine()
        try:
            await self._writer.write(batch, doubt=self._doubt)
        except (StoreUnavailable, StoreRefused):
            self._doubt = True
            now_s = time.monotonic()
            self._away_since_s = self._away_since_s or now_s
            if now_s - self._away_since_s < self._options.patience_ms / 1000:
                raise
            await self._keep_in_spool(batch)
            return False
        self._away_since_s, self._doubt = None, False
        await self._confirm(batch, on_disk=False)
        await self._signer.wrote(batch.head)
        return True

    async def _keep_in_spool(self, batch: Batch) -> None:
        """A durable spool counts as confirmed. Full, the outbox keeps what comes, up to its bound,
        and then the gateway refuses: nothing is dropped."""
        await asyncio.to_thread(self._spool.put, batch)
        await self._confirm(batch, on_disk=True)

    async def _confirm(self, batch: Batch, *, on_disk: bool) -> None:
        head = batch.head
        await self._recording.confirm(
            self.organisation, head.epoch, head.seq, batch.payload_bytes, on_disk=on_disk
        )


def _ended(tidying: asyncio.Task[None]) -> None:
    """Who would have asked how it went may have started anew meanwhile."""
    if not tidying.cancelled():
        tidying.exception()


class Signer:
    """Signs the end of what is in the records: at the end of each day (a partition, which may be
    dropped later), every now and then, and when the recorder stops."""

    def __init__(self, heads: HeadsFile, every_ms: int) -> None:
        self._heads = heads
        self._every_ms = every_ms
        self._written: Head | None = None
        self._unsigned = False
        self._due_at_s = 0.0  # the first at once: until then nothing vouches for what is written

    def goes_on_from(self, head: Head | None) -> None:
        """The records end here, by whoever wrote that: the recorder before may not have signed."""
        self._written, self._unsigned = head, head is not None

    async def wrote(self, head: Head) -> None:
        """The records end here now."""
        before = self._written
        if before is not None and before.time_ms // DAY_MS != head.time_ms // DAY_MS:
            await self.now()
        self._written, self._unsigned = head, True
        await self.sometimes()

    async def sometimes(self) -> None:
        """Signs if it is time to."""
        if time.monotonic() >= self._due_at_s:
            await self.now()

    async def now(self) -> None:
        """Signs what is unsigned."""
        self._due_at_s = time.monotonic() + self._every_ms / 1000
        if self._unsigned and self._written is not None:
            await asyncio.to_thread(self._heads.append, self._written)
            self._unsigned = False
