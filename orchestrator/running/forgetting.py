"""Runs that ended long ago leave the database: what they cost and did is in the records."""

from orchestrator.running.database import Database, sql
from orchestrator.running.journal import Doing, marks
from orchestrator.running.kit import Kit

DAY_MS = 86_400_000
AT_ONCE_MAX = 200
_OF_RUNS = ("signals", "attempts", "tasks")


class Forgetting:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def round(self) -> None:
        """All that is old enough. Raises DatabaseAway."""
        days_ms = self._kit.options.runs_days * DAY_MS
        some = Doing(lambda database, now_ms: _forget(database, now_ms - days_ms))
        while await self._kit.journal.write(some):
            continue
        await self._kit.journal.write(Doing(_forget_unused))


def _forget(database: Database, before_ms: int) -> bool:
    """Some runs; whether there may be more."""
    rows = database.rows(sql("old_runs"), (before_ms, before_ms, AT_ONCE_MAX))
    runs = [str(row[0]) for row in rows]
    if runs:
        for table in _OF_RUNS:
            database.execute(f"delete from {table} where run in ({marks(len(runs))})", runs)  # noqa: S608  # ours
        database.execute(f"delete from runs where id in ({marks(len(runs))})", runs)  # noqa: S608  # marks
    return len(runs) == AT_ONCE_MAX


def _forget_unused(database: Database, now_ms: int) -> None:
    del now_ms
    database.execute(sql("unused_definitions"))
    database.execute(sql("unused_blobs"))
