"""The recorder: one task for each organisation of the ledger, and what they do when a thing fails.

Nothing here ends the recorder but being asked to: what may pass is tried again, and what only a
person can mend stops that organisation alone, loudly, and is looked at again later.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import secrets
from functools import partial
from pathlib import Path
from typing import IO

from budgets.recording import OwnershipLost, Recording
from budgets.recovering import Recovering
from budgets.session import LedgerRecovering, OrganisationUnknown, Session
from budgets.transport import LedgerUnavailable
from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.query import load_query
from clickhouse.store import Store
from clickhouse.stream import EntryMalformed
from recorder.compaction import Compaction
from recorder.dropped import note_dropped
from recorder.durable import replace
from recorder.heads import HeadRefused, HeadsDamaged, HeadsFile, SigningKey
from recorder.options import RecorderOptions
from recorder.organisation import OrganisationRecorder, OwnedElsewhere, in_short
from recorder.packing import OutboxGap
from recorder.reading import OutboxMoved
from recorder.recovery import Recovery
from recorder.retention import Retention
from recorder.snapshots import Snapshots
from recorder.spool import Spool, SpoolDamaged, SpoolFull
from recorder.writer import RecordsDisagree, Writer

LOOK_FOR_ORGANISATIONS_S = 1.0
BROKEN_PAUSE_S = 30.0
DROP_EVERY_S = 3600
ALL_HEADS_KEPT_MS = 7 * 86_400_000  # of older days the last one is kept
_PASSING = (
    *(LedgerUnavailable, StoreUnavailable, StoreRefused),
    *(SpoolFull, OutboxMoved, OwnedElsewhere, OwnershipLost),
)
_BROKEN = (
    *(OutboxGap, RecordsDisagree, EntryMalformed),
    *(SpoolDamaged, HeadRefused, HeadsDamaged),
)
_log = logging.getLogger("comptroller.recorder")


class RecorderBusy(RuntimeError):
    """Another recorder has the folder."""


class Recorder:
    """Records every organisation of one ledger. Its files are in `folder`: the signing key, the
    signed heads, the disk spool, and the name of this disk."""

    def __init__(
        self,
        session: Session,
        store: Store,
        folder: Path,
        options: RecorderOptions,
        stopping: asyncio.Event | None = None,
    ) -> None:
        """`stopping`, set, asks it to end, as `stop` does."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = _locked(folder / "lock")
        self._node = _node_name(folder / "node")
        # One recorder has the folder, so whoever comes after it is the same owner, without a wait.
        self._recording = Recording(session, self._node)
        self._writer = Writer(store)
        snapshots = Snapshots(store)
        self._compaction = Compaction(self._recording, store, snapshots, options.rest_ms)
        self._retention = Retention(
            store,
            snapshots,
            options.events_days,
            options.bodies_days,
            session.clock.now_ms,
            partial(note_dropped, folder),
        )
        self._options = options
        self._now_ms = session.clock.now_ms
        self._spool = Spool(folder / "spool", options.spool_bytes_max)
        self._store = store
        self._transport = session.transport
        self._looked_in_records_at = -1  # generation of the transport
        self._recovery = Recovery(
            session,
            self._recording,
            Recovering(session, self._node),
            Snapshots(store),
            self._writer,
            self._spool,
            options,
        )
        self._key = SigningKey.load_or_create(folder / "signing-key")
        self._stopping = stopping or asyncio.Event()
        self._said: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until `stop`: then everything that waits is recorded, and the heads are signed."""
        with self._lock:
            retention = asyncio.create_task(self._drop_old_days())
            try:
                while not self._stopping.is_set():
                    await self._look_for_organisations()
                    await self._pause(LOOK_FOR_ORGANISATIONS_S)
            finally:
                self._stopping.set()
                await self._look_for_organisations()  # those of the last second, too
                await asyncio.gather(retention, *self._tasks.values())

    def stop(self) -> None:
        """Asks the recorder to end."""
        self._stopping.set()

    async def _look_for_organisations(self) -> None:
        try:
            organisations = await self._recording.organisations()
            organisations += await self._remembered()
        except LedgerUnavailable as error:
            _log.warning("the ledger does not answer: %s", error)
            return
        for organisation in organisations:
            if organisation not in self._tasks:
                self._tasks[organisation] = asyncio.create_task(self._record(organisation))

    async def _remembered(self) -> list[str]:
        """Those that the records know, once for each server: one that was emptied knows none."""
        generation = self._transport.generation
        if generation == self._looked_in_records_at:
            return []
        try:
            lines = await self._store.select(load_query("organisations"), {})
        except (StoreUnavailable, StoreRefused) as error:
            _log.warning("the records do not say which organisations there are: %s", error)
            return []
        self._looked_in_records_at = generation
        return [json.loads(line)[0] for line in lines.splitlines()]

    async def _drop_old_days(self) -> None:
        """Once an hour, by one recorder of all."""
        while not self._stopping.is_set():
            try:
                if await self._recording.first_in(DROP_EVERY_S):
                    await self._retention.sweep()
            except _PASSING as error:
                _log.warning("old days stay for now: %s", error)
            await self._pause(DROP_EVERY_S)

    async def _record(self, organisation: str) -> None:
        recorder: OrganisationRecorder | None = None
        while not self._stopping.is_set():
            recorder, pause_s = await self._step(organisation, recorder)
            await self._pause(pause_s)
        more = True
        while more:  # what came until the end; a failure ends it
            recorder, pause_s = await self._step(organisation, recorder)
            more = pause_s == 0
        if recorder is not None:
            await self._close(recorder, give_back=organisation not in self._said)

    async def _step(
        self, organisation: str, recorder: OrganisationRecorder | None
    ) -> tuple[OrganisationRecorder | None, float]:
        """One step; the organisation's recorder, and the seconds to wait before the next."""
        try:
            if recorder is None:
                recorder = await asyncio.to_thread(self._open, organisation)
            more = await recorder.step()
        except (LedgerRecovering, OrganisationUnknown):
            return await self._recovered(organisation)
        except _PASSING as error:
            self._say(organisation, in_short(error))
            return recorder, self._options.retry_ms / 1000
        except Exception as error:  # noqa: BLE001  # one organisation's trouble stops no other
            known = isinstance(error, _BROKEN)
            _log.error("%s is not recorded: %s", organisation, error, exc_info=not known)
            await self._give_back(recorder)
            return None, BROKEN_PAUSE_S
        self._said.pop(organisation, None)
        return recorder, 0 if more else self._options.linger_ms / 1000

    async def _recovered(self, organisation: str) -> tuple[None, float]:
        """The same, after what the ledger may have lost was brought back."""
        try:
            await self._recovery.run(organisation, self._open)
        except _PASSING as error:
            self._say(organisation, in_short(error))
            return None, self._options.retry_ms / 1000
        except Exception as error:  # noqa: BLE001  # as in a step
            known = isinstance(error, _BROKEN)
            _log.error("%s is not recovered: %s", organisation, error, exc_info=not known)
            return None, BROKEN_PAUSE_S
        return None, 0

    async def _give_back(self, recorder: OrganisationRecorder | None) -> None:
        if recorder is not None:
            with contextlib.suppress(LedgerUnavailable):  # then its lease runs out
                await recorder.give_back()

    def _say(self, organisation: str, trouble: str) -> None:
        """Once, not at every try."""
        if self._said.get(organisation) != trouble:
            self._said[organisation] = trouble
            _log.warning("%s: %s", organisation, trouble)

    def _open(self, organisation: str) -> OrganisationRecorder:
        heads = HeadsFile(self._folder / "heads", organisation, self._key)
        heads.thin(self._now_ms() - ALL_HEADS_KEPT_MS)
        return OrganisationRecorder(
            organisation,
            self._recording,
            self._writer,
            self._spool,
            heads,
            self._compaction,
            self._options,
            self._node,
        )

    async def _close(self, recorder: OrganisationRecorder, *, give_back: bool) -> None:
        """Not given back where the last step failed: it would be waited for in vain."""
        try:
            await recorder.close(give_back=give_back)
        except _PASSING + _BROKEN as error:
            _log.warning("%s: its lease runs out by itself: %s", recorder.organisation, error)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return
        else:
            await asyncio.sleep(0)  # the others' turn


def _locked(path: Path) -> IO[bytes]:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RecorderBusy(
            f"another recorder uses {path.parent}: stop it, or choose another data dir"
        ) from None
    return lock


def _node_name(path: Path) -> str:
    """Names this disk, for other recorders: made once."""
    if not path.exists():
        replace(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii")
