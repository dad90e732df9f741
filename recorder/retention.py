"""Drops days that are past their time: payloads first, events later, sums never.

Before a day's events go, their hourly sums are archived and compared with them, and the balances of
all counters are added up to a place behind them: nobody needs them any more. The signed heads of
that day stay, so that the rest of the chain can still be verified. A whole partition goes, or
nothing: no row is ever deleted or changed.
"""

import asyncio
import json
import logging
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.batch import Head
from recorder.snapshots import Snapshots

_log = logging.getLogger("comptroller.recorder")


class Retention:
    """For all organisations of one database. `events_days` and `bodies_days` are how many whole
    days are kept; `note` is told each day before its events go, outside the database, so that
    whoever verifies the log knows what retention has dropped and what somebody else."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        events_days: int,
        bodies_days: int,
        now_ms: Callable[[], int],
        note: Callable[[int], None],
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._events_days = events_days
        self._bodies_days = bodies_days
        self._now_ms = now_ms
        self._note = note

    async def sweep(self) -> list[str]:
        """Drops what is over; the names of what went (`bodies 20261124`). Raises StoreUnavailable,
        StoreRefused."""
        dropped = []
        for day in await self._days("bodies", self._bodies_days):
            await self._drop("bodies", day)
            dropped.append(f"bodies {day}")
        days = await self._days("events", self._events_days)
        last = await self._last_days() if days else set()
        for day in days:
            if day not in last and await self._covered(day) and await self._archived(day):
                await asyncio.to_thread(self._note, day)
                await self._drop("events", day)
                dropped.append(f"events {day}")
        return dropped

    async def _last_days(self) -> set[int]:
        """Kept however old they are: an organisation's chain and seq go on from its last event."""
        lines = await self._store.select(load_query("last_days"), {})
        return {json.loads(line)[0] for line in lines.splitlines()}

    async def _days(self, table: str, kept_days: int) -> list[int]:
        today = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
        before = int((today - timedelta(days=kept_days)).strftime("%Y%m%d"))
        lines = await self._store.select(load_query("days"), {"table": table, "before": before})
        return [json.loads(line)[0] for line in lines.splitlines()]

    async def _covered(self, day: int) -> bool:
        """Whether snapshots of all organisations are behind the day's events; taken where not."""
        uncovered = await self._uncovered(day)
        for organisation, head in uncovered:
            await self._snapshots.take(organisation, head)
        left = [name for name, _ in await self._uncovered(day)] if uncovered else []
        if left:
            _log.error("day %d is kept: no snapshot covers the events of %s", day, left[0])
        return not left

    async def _uncovered(self, day: int) -> list[tuple[str, Head]]:
        """Organisations whose last event of the day no snapshot has; the ends of their logs."""
        lines = await self._store.select(load_query("uncovered"), {"day": day})
        rows = (json.loads(line) for line in lines.splitlines())
        return [
            (name, Head(int(epoch), int(seq), hash_, int(time_ms)))
            for name, epoch, seq, hash_, time_ms in rows
        ]

    async def _archived(self, day: int) -> bool:
        """Whether the day's sums stand in `hours`, exactly; they are written if they do not
        (again after a crash: the same rows). Events that came after their day was dropped are
        kept, and said."""
        events, hours = await self._sums(day)
        if hours[0] < events[0]:
            statement = string.Template(load_query("archive_day")).substitute(day=day)
            await self._store.command(statement)
            events, hours = await self._sums(day)
        if events != hours:
            _log.error(
                "day %d is kept: its events come to %s, its archive to %s", day, events, hours
            )
        return events == hours

    async def _sums(self, day: int) -> tuple[list[int], list[int]]:
        events, hours = json.loads(await self._store.select(load_query("day_sums"), {"day": day}))
        return events, hours

    async def _drop(self, table: str, day: int) -> None:
        await self._store.command(f"ALTER TABLE comptroller.{table} DROP PARTITION {day}")
        _log.info("dropped %s of day %d", table, day)
