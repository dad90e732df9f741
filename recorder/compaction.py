"""Lets the ledger forget counters whose window is over: their balance is in the records for good.

The balance is summed from the events, never read from the ledger; the ledger lets a counter go only
if it says the same. So every compaction is also an audit of it, and a difference is an alarm.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from budgets.counters import window_ends, window_start
from budgets.policy import Policy
from budgets.recording import Recording
from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.batch import Head

COUNTERS_AT_ONCE = 1000
"""How many are asked for in one query."""
_INSERT = "INSERT INTO comptroller.balances (org, field, dimension, epoch, seq, time_ms, spent)"
_log = logging.getLogger("comptroller.recorder")


@dataclass(frozen=True, slots=True)
class OverCounter:
    """A counter whose window is over: times in seconds since 1970."""

    field: str
    start_s: int
    end_s: int


def over_counters(
    fields: Iterable[str], policies: Iterable[Policy], now_ms: int
) -> list[OverCounter]:
    """Those whose window has ended, oldest first."""
    found = [
        OverCounter(field, window_start(field), end_s)
        for field, end_s in window_ends(fields, policies).items()
        if end_s and end_s * 1000 <= now_ms
    ]
    found.sort(key=lambda each: (each.start_s, each.field))
    return found


class Compaction:
    """For all organisations of one recorder."""

    def __init__(self, recording: Recording, store: Store) -> None:
        self._recording = recording
        self._store = store

    async def sweep(self, organisation: str, head: Head) -> int:
        """One pass over what is recorded up to `head`; how many counters the ledger let go.
        Raises LedgerUnavailable, StoreUnavailable, StoreRefused."""
        counters = await self._recording.counters(organisation)
        policies = await self._recording.policies(organisation)
        now_ms = await self._recording.time_ms(organisation)
        over = over_counters(counters, policies.values(), now_ms)
        forgotten = 0
        for first in range(0, len(over), COUNTERS_AT_ONCE):
            part = over[first : first + COUNTERS_AT_ONCE]
            balances = await self._balances(organisation, part)
            await self._keep(organisation, head, balances)
            forgotten += await self._forget(organisation, head, part, balances, counters)
        return forgotten

    async def _keep(
        self, organisation: str, head: Head, balances: dict[str, tuple[int, int]]
    ) -> None:
        rows = [
            json.dumps([organisation, field, dimension, head.epoch, head.seq, head.time_ms, spent])
            for field, (dimension, spent) in balances.items()
        ]
        if rows:
            block = "\n".join(rows).encode()
            await self._store.insert(_INSERT, block, sha256(block).hexdigest())

    async def _forget(
        self,
        organisation: str,
        head: Head,
        over: list[OverCounter],
        balances: dict[str, tuple[int, int]],
        counters: dict[str, int],
    ) -> int:
        recorded = {each.field: balances.get(each.field, (0, 0))[1] for each in over}
        wanted = [(each.field, each.end_s, recorded[each.field]) for each in over]
        forgotten, differing = await self._recording.compact(organisation, wanted)
        for field in differing:
            _log.warning(
                "%s: counter %s is %d in the ledger and %d in the records up to seq %d",
                *(organisation, field, counters[field], recorded[field], head.seq),
            )
        return forgotten

    async def _balances(
        self, organisation: str, over: list[OverCounter]
    ) -> dict[str, tuple[int, int]]:
        """Dimension and sum by field. An ending is booked in the window of its reservation, so it
        may be later than the window, never earlier."""
        names = ",".join(f"'{each.field}'" for each in over)
        lines = await self._store.select(
            load_query("balances"),
            {"org": organisation, "since_ms": over[0].start_s * 1000, "fields": f"[{names}]"},
        )
        rows = (json.loads(line) for line in lines.splitlines())
        return {field: (dimension, spent) for field, dimension, spent in rows}
