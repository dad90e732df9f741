"""Runs that ended long ago leave the database: what they cost and did is in the records."""

import logging
from collections.abc import Collection

from budgets.transport import LedgerUnavailable
from orchestrator.places import RunPlace
from orchestrator.running.closing import STAYS_OPEN
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.journal import Doing, marks
from orchestrator.running.kit import Kit
from orchestrator.running.rows import number

DAY_MS = 86_400_000
AT_ONCE_MAX = 200
_OF_RUNS = ("signals", "attempts", "tasks")
_log = logging.getLogger("comptroller.runs")


class Forgetting:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def round(self) -> None:
        """All that is old enough. Raises LedgerUnavailable, DatabaseAway."""
        while await self._some():
            continue
        await self._kit.journal.write(Doing(_forget_unused))

    async def _some(self) -> bool:
        """Some runs; whether there may be more."""
        write, age_ms = self._kit.journal.write, self._kit.options.runs_days * DAY_MS
        old = await write(Doing(lambda database, now_ms: _old(database, now_ms - age_ms)))
        closed = {str(row[0]) for row in old if await self._is_closed(row)}
        return await write(
            Doing(lambda database, now_ms: _forget(database, now_ms - age_ms, closed))
        )

    async def _is_closed(self, row: Row) -> bool:
        """For good, also what could be tried again until now: the ledger keeps what is open for
        ever, and nobody would know of it. Whoever dies before the run is forgotten has done what
        the next one does again."""
        id_, scope, workflow, version, status, steps = row
        if status not in STAYS_OPEN:
            return True
        place = RunPlace(str(id_), str(scope), str(workflow), number(version))
        try:
            await self._kit.purse.close_run(place, str(steps).split(",") if steps else [])
        except LedgerUnavailable:
            raise
        except Exception:  # noqa: BLE001  # the others are to be forgotten all the same
            _log.exception("run %s cannot be closed", id_)
            return False
        return True


def _old(database: Database, before_ms: int) -> list[Row]:
    return [*database.rows(sql("old_runs"), (before_ms, before_ms, AT_ONCE_MAX))]


def _forget(database: Database, before_ms: int, closed: Collection[str]) -> bool:
    """Old runs that are closed, and are still old: somebody may have tried one again. Answers
    whether there may be more."""
    runs = [id_ for row in _old(database, before_ms) if (id_ := str(row[0])) in closed]
    if runs:
        for table in _OF_RUNS:
            database.execute(f"delete from {table} where run in ({marks(len(runs))})", runs)  # noqa: S608  # ours
        database.execute(f"delete from runs where id in ({marks(len(runs))})", runs)  # noqa: S608  # marks
    return len(runs) == AT_ONCE_MAX


def _forget_unused(database: Database, now_ms: int) -> None:
    del now_ms
    database.execute(sql("unused_definitions"))
    database.execute(sql("unused_blobs"))
