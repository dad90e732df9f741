"""Ends runs: at the ledger, in the log, and for the runs inside them.

That a run is over is written first. From then on nobody writes for it; here its scope is closed, so
that none of its keys is admitted, and its end is told with what it has spent. The ledger counts
where there are limits: of steps without a budget of their own only the records know, and they come
later, so that the end names those. Done again after a crash, it changes nothing.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Literal

from budgets.overview import ScopeStanding
from budgets.transport import LedgerUnavailable
from orchestrator.events import event_id, of_run
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.progress import RunStatus
from orchestrator.running.acts import End, EndBelow, last_told, tell, tell_of_run
from orchestrator.running.database import Database, DatabaseAway, Row, sql
from orchestrator.running.journal import Doing
from orchestrator.running.kit import Kit
from orchestrator.running.rows import Telling, number
from orchestrator.running.told import asking

AT_ONCE_MAX = 50
STAYS_OPEN: frozenset[RunStatus] = frozenset(("failed",))
"""What failed may be tried again: its keys are revoked, and its scope is not closed."""
UsedUp = Literal["halted", "asking", ""]
_log = logging.getLogger("comptroller.runs")


class Closing:
    """Of one executor; several do no harm."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def used_up(self, scope: str, reason: str) -> UsedUp:
        """The budget of the run with this scope, if any, is used up: it is halted, on whichever
        executor; or, where it rather asks, it does so (the executor that has it, where one has)."""
        act = Doing(lambda database, now_ms: _used_up(database, now_ms, scope, reason))
        found = await self._kit.journal.write(act)
        if found == "halted":
            await self.round()
        return found

    async def round(self) -> None:
        """All that is over and not closed yet. Raises LedgerUnavailable, DatabaseAway."""
        for row in await self._kit.journal.read(_to_close):
            try:
                await self._close(row)
            except (LedgerUnavailable, DatabaseAway):
                raise
            except Exception:  # noqa: BLE001  # the others are to be closed all the same
                _log.exception("run %s cannot be closed", row[0])

    async def _close(self, row: Row) -> None:
        id_, scope, workflow, version, status, error, created_ms, ended_ms, steps = row
        place = RunPlace(str(id_), str(scope), str(workflow), number(version))
        end = (place.id, number(ended_ms))
        await self._kit.journal.write(EndBelow(place.organisation, place.scope, of=place.id))
        limited = str(steps).split(",") if steps else []
        standing = await self._kit.purse.standing(place, limited)
        if status in STAYS_OPEN:
            await self._leave_nothing(place, limited, end)
        else:
            await self._kit.purse.close_run(place, limited)
        begun = await self._kit.journal.read(
            lambda database: [str(row[0]) for row in database.rows(sql("spans_of"), (place.id,))]
        )
        detail = {
            "status": status,
            "error": error,
            "duration_ms": number(ended_ms) - number(created_ms),
            "spent": _spent(standing.run),
            "steps": {name: _spent(each) for name, each in standing.steps.items()},
            "not_counted": sorted({*begun} - standing.steps.keys()),
        }
        cause = await self._kit.journal.read(partial(last_told, place=place))
        told = [_telling(place, number(ended_ms), "run_completed", cause, detail)]
        if status == "halted":
            told.insert(0, _telling(place, number(ended_ms), "workflow_halted", cause, detail))
        await self._kit.journal.write(
            Doing(lambda database, now: _closed(database, now, end, told))
        )

    async def _leave_nothing(self, place: RunPlace, limited: list[str], end: Row) -> None:
        """Of a run whose scope stays open: no key that works, and no money set aside. Somebody may
        try it again meanwhile: what it has then is its own."""
        read = self._kit.journal.read
        rows = await read(lambda database: database.rows(sql("at_work"), end))
        for step, entry, attempt in rows:
            task = TaskId(str(step), number(entry))
            await self._kit.purse.end_attempt(AttemptPlace(place, task, number(attempt)))
        for step in limited:
            if not await read(lambda database: database.rows(sql("ended_then"), end)):
                return
            await self._kit.purse.close_step(place, step)


def _used_up(database: Database, now_ms: int, scope: str, reason: str) -> UsedUp:
    for run, on_exhausted, epoch, workflow, version in database.rows(sql("run_at"), (scope,)):
        if on_exhausted == "halt":
            End(str(run), "halted", error=reason)(database, now_ms)
            return "halted"
        if database.execute(sql("ask"), (reason, run)):
            place = RunPlace(str(run), scope, str(workflow), number(version))
            cause = last_told(database, place)
            telling = asking(place, number(epoch), now_ms, reason, cause)
            tell_of_run(database, now_ms, str(run), telling)
        return "asking"
    return ""


def _telling(
    place: RunPlace, ended_ms: int, event_type: str, caused_by: str, detail: Mapping[str, object]
) -> Telling:
    id_ = event_id(ended_ms, place.id, event_type)
    return Telling(
        id_, place.organisation, event_type, of_run(place, triggered_by=caused_by, detail=detail)
    )


def _spent(standing: ScopeStanding) -> list[dict[str, object]]:
    return [
        {
            "dimension": each.bound.limit.dimension,
            "window": each.bound.limit.window,
            "spent": each.spent,
            "limit": each.bound.limit.amount,
        }
        for each in standing.standings
    ]


def _to_close(database: Database) -> list[Row]:
    return [*database.rows(sql("to_close"), (AT_ONCE_MAX,))]


def _closed(database: Database, now_ms: int, end: Row, told: list[Telling]) -> None:
    """`end`: the run, and when it ended."""
    if database.execute(sql("closed"), end):
        for each in told:
            tell(database, now_ms, each)
