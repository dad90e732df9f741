"""Takes events of runs to the ledger, in their order, each once: they were written with what they
tell, and the ledger knows their ids."""

from functools import partial

from orchestrator.events import RunEventType
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.journal import Doing
from orchestrator.running.kit import Kit

AT_ONCE_MAX = 200


class Teller:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def round(self) -> None:
        """Until nothing waits. Raises LedgerUnavailable, and goes on there the next time."""
        while rows := await self._kit.journal.read(_untold):
            taken: list[str] = []
            try:
                for id_, organisation, event_type, event in rows:
                    await self._tell(str(id_), str(organisation), str(event_type), str(event))
                    taken.append(str(id_))
            finally:
                if taken:
                    await self._kit.journal.write(Doing(partial(_forget, ids=taken)))

    async def _tell(self, id_: str, organisation: str, event_type: str, event: str) -> None:
        kind: RunEventType = event_type  # type: ignore[assignment]  # one of them: we wrote it
        await self._kit.purse.tell(organisation, id_, kind, event.encode())


def _untold(database: Database) -> list[Row]:
    return [*database.rows(sql("untold"), (AT_ONCE_MAX,))]


def _forget(database: Database, now_ms: int, *, ids: list[str]) -> None:
    del now_ms
    database.many("delete from tellings where id = ?", [(each,) for each in ids])
