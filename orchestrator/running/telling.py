"""Takes events of runs to the ledger, in their order, each once: they were written with what they
tell, and the ledger knows their ids.

They are told at once, so that a step has begun in the log before its calls are there; that they
were told is noted now and then, because each note is a commit.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from orchestrator.events import RunEventType
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.journal import Doing
from orchestrator.running.kit import Kit

AT_ONCE_MAX = 200
_NOTED_AT_LEAST = AT_ONCE_MAX // 2


class Teller:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._told: dict[str, None] = {}
        self._lock = asyncio.Lock()

    async def soon(self) -> None:
        """What waits is told. Raises LedgerUnavailable, and goes on there the next time."""
        async with self._lock:
            await self._tell_all()

    async def round(self) -> None:
        """The same, and it is noted."""
        async with self._lock:
            await self._tell_all()
            await self._note()

    async def _tell_all(self) -> None:
        while True:
            rows = await self._kit.journal.read(_untold)
            new = [row for row in rows if row[0] not in self._told]
            if new:
                await self._tell(new)
            if len(self._told) >= _NOTED_AT_LEAST:
                await self._note()
            elif len(rows) < AT_ONCE_MAX:
                return

    async def _tell(self, rows: Sequence[Row]) -> None:
        for id_, organisation, event_type, event in rows:
            kind: RunEventType = str(event_type)  # type: ignore[assignment]  # one of them: we wrote it
            said = str(event).encode()
            await self._kit.purse.tell(str(organisation), str(id_), kind, said)
            self._told[str(id_)] = None

    async def _note(self) -> None:
        told = list(self._told)
        if told:
            await self._kit.journal.write(Doing(partial(_forget, ids=told)))
            for each in told:
                del self._told[each]


def _untold(database: Database) -> list[Row]:
    return [*database.rows(sql("untold"), (AT_ONCE_MAX,))]


def _forget(database: Database, now_ms: int, *, ids: list[str]) -> None:
    del now_ms
    database.many("delete from tellings where id = ?", [(each,) for each in ids])
