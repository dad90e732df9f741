"""Writes batches to the records, each exactly once, whatever answers are lost on the way.

A batch is one insert, and one insert is one block: all of it is there or nothing. What may have
been written already is asked for first, and what was written is asked for after
(`recorder.keeping`). The token lets the engine drop a block that comes twice (from a recorder that
was paused and wakes up), but is not trusted alone.
"""

import json
from collections.abc import Awaitable, Callable
from functools import partial

from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.batch import Batch, Head
from recorder.keeping import inserted
from recorder.packing import INSERT_BODIES, INSERT_STATES, insert_events

_Asks = Callable[[Batch], Awaitable[bool]]
_Inserts = Callable[[Batch, str], Awaitable[None]]


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
        count = await self._count("batch_count", batch)
        if count not in (0, batch.event_count):
            raise RecordsDisagree(
                f"the records have {count} of the {batch.event_count} events of {batch.token}: "
                "run `comptroller verify`; nothing is written for this organisation until then"
            )
        return bool(count)

    async def write(self, batch: Batch, *, doubt: bool) -> None:
        """Writes it, states and payloads first: an event that is there has what belongs to it.
        What was written is asked for, because an engine may take rows and not keep them; with
        `doubt` (an earlier try may have written them) it is asked for before, too. Raises
        StoreUnavailable or StoreRefused: then the next try is in doubt."""
        if batch.states:
            await self._until(batch, self._has_states, self._insert_states, doubt=doubt)
        if batch.bodies:
            await self._until(batch, self._has_bodies, self._insert_bodies, doubt=doubt)
        await self._until(batch, self.has, self._insert_events, doubt=doubt)

    async def _until(self, batch: Batch, there: _Asks, insert: _Inserts, *, doubt: bool) -> None:
        if doubt and await there(batch):
            return
        if await inserted(partial(insert, batch), partial(there, batch), batch.token):
            return
        raise RecordsDisagree(
            f"the records take {batch.token} and do not have it: is the disk full, or memory short?"
        )

    async def _has_states(self, batch: Batch) -> bool:
        """Rows that come twice become one."""
        return await self._count("batch_states", batch) >= batch.state_count

    async def _has_bodies(self, batch: Batch) -> bool:
        """All, or none matter: those that are there become one with those that come."""
        return await self._count("batch_bodies", batch) >= batch.body_count

    async def _count(self, query: str, batch: Batch) -> int:
        parameters: dict[str, str | int] = {
            "org": batch.organisation,
            "epoch": batch.head.epoch,
            "first": batch.first_seq,
            "last": batch.head.seq,
        }
        (count,) = json.loads(await self._store.select(load_query(query), parameters))
        return int(count)

    async def _insert_bodies(self, batch: Batch, token: str) -> None:
        await self._store.insert(INSERT_BODIES, batch.bodies, f"{token}-bodies", "RowBinary")

    async def _insert_states(self, batch: Batch, token: str) -> None:
        await self._store.insert(
            INSERT_STATES, batch.states, f"{token}-states", "JSONCompactEachRow"
        )

    async def _insert_events(self, batch: Batch, token: str) -> None:
        statement = insert_events(batch.column_count)
        await self._store.insert(statement, batch.events, token, "JSONCompactEachRow")
