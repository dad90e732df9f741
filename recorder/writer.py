"""Writes batches to the records, each exactly once, whatever answers are lost on the way.

A batch is one insert, and one insert is one block: all of it is there or nothing. What may have
been written already is asked for first. The token lets the engine drop a block that comes twice
(from a recorder that was paused and wakes up), but is not trusted alone: after a crash an engine
can know a token whose block it has lost, so what was retried is looked for afterwards.
"""

import json
import logging

from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.batch import Batch, Head
from recorder.packing import INSERT_BODIES, INSERT_EVENTS

TRIES_MAX = 3
_log = logging.getLogger("comptroller.recorder")


class RecordsDisagree(RuntimeError):
    """The records hold a part of a batch, or more than it: only a person can say why."""


class Writer:
    """The records of all organisations, for one recorder."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, organisation: str) -> Head | None:
        """The end of its chain; None where nothing is recorded."""
        line = await self._store.select(load_query("last_event"), {"org": organisation})
        if not line.strip():
            return None
        epoch, seq, hash_, time_ms = json.loads(line)
        return Head(epoch, seq, hash_, time_ms)

    async def has(self, batch: Batch) -> bool:
        """Whether its events are there. Raises RecordsDisagree where only some are, or too many."""
        parameters: dict[str, str | int] = {
            "org": batch.organisation,
            "epoch": batch.head.epoch,
            "first": batch.first_seq,
            "last": batch.head.seq,
        }
        (count,) = json.loads(await self._store.select(load_query("batch_count"), parameters))
        if count not in (0, batch.event_count):
            raise RecordsDisagree(
                f"the records have {count} of the {batch.event_count} events of {batch.token}: "
                "run `comptroller verify`; nothing is written for this organisation until then"
            )
        return bool(count)

    async def write(self, batch: Batch, *, doubt: bool) -> None:
        """Writes it. With `doubt` (an earlier try may have) it is asked for before and after.
        Raises StoreUnavailable or StoreRefused: then the next try is in doubt."""
        if not doubt:
            await self._insert(batch, batch.token)
            return
        for attempt in range(TRIES_MAX):
            if await self.has(batch):
                return
            await self._insert(batch, f"{batch.token}#{attempt}" if attempt else batch.token)
        if not await self.has(batch):
            raise RecordsDisagree(f"the records take {batch.token} and do not have it")

    async def _insert(self, batch: Batch, token: str) -> None:
        """Payloads first: an event that is there has its payload."""
        if batch.bodies:
            await self._store.insert(INSERT_BODIES, batch.bodies, f"{token}-bodies", "RowBinary")
        await self._store.insert(INSERT_EVENTS, batch.events, token, "JSONCompactEachRow")
