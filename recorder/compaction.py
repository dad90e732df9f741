"""Lets the ledger forget what is at rest: counters whose window is over, and scopes, with what was
spent in them. It stands in the records for good.

What the records say is summed from the events, never read from the ledger; the ledger lets a
counter go only if it says the same. So every compaction is also an audit of it, and a difference is
an alarm.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from budgets.counters import child_of, creation_of, limit_of, window_end, windows_of
from budgets.policy import Window
from budgets.recording import (
    LIMIT_REMOVED,
    NOT_HERE,
    Going,
    HeldScope,
    Overtaken,
    Pass,
    Recording,
)
from clickhouse.store import Store
from recorder.batch import Head
from recorder.resting import Balance, Resting, balances_of
from recorder.snapshots import Snapshots

GATHERED_MAX = 50_000
"""How many scopes or counters are looked at together. The ledger gives them in no order, the
records have them by name: the more together, the less is read."""
GOING_AT_ONCE = 50
"""How many go in one call of a script: the ledger serves nobody else meanwhile."""
ALARMS_MAX = 20
"""Lines of the log in one pass."""
_log = logging.getLogger("comptroller.recorder")


def leaving_alone(
    fields: Iterable[str], windows: Mapping[str, Window], now_ms: int, recorded_seq: int
) -> dict[str, int]:
    """Counters that may go without their scope, each with its end in seconds since 1970: those
    whose window is over, and (LIMIT_REMOVED) those of limits that are not there any more. The
    `windows` of limits were read when everything up to `recorded_seq` had happened: a limit of
    later has been made since, and is not removed."""
    found: dict[str, int] = {}
    for field in fields:
        if limit_of(field) not in windows and 0 <= creation_of(field) <= recorded_seq:
            found[field] = LIMIT_REMOVED
            continue
        end_s = window_end(field, windows)
        if end_s and end_s * 1000 <= now_ms:
            found[field] = end_s
    return found


class Compaction:
    """For all organisations of one recorder. `rest_ms` is how long nothing has happened to a scope
    before it may leave."""

    def __init__(
        self, recording: Recording, store: Store, snapshots: Snapshots, rest_ms: int
    ) -> None:
        self._recording = recording
        self._store = store
        self.snapshots = snapshots
        self._rest_ms = rest_ms

    async def sweep(self, organisation: str, head: Head) -> int:
        """One pass over what is recorded up to `head`, of which a snapshot is taken first; how many
        counters and scopes the ledger let go. Raises LedgerUnavailable, StoreUnavailable,
        StoreRefused."""
        await self.snapshots.take(organisation, head)
        of_pass = await self._recording.begin_pass(organisation)
        try:
            await self._pass(of_pass, head)
        except Overtaken:
            _log.info("%s: something came back to the ledger during a compaction", organisation)
        return of_pass.counters + of_pass.scopes

    async def _pass(self, of_pass: Pass, head: Head) -> None:
        policies = await self._recording.policies(of_pass.organisation)
        resting = Resting(self._recording, self._store, of_pass, policies, self._rest_ms)
        await resting.look_around()
        windows = windows_of(policies.values())
        alarms = _Alarms(of_pass.organisation, head)
        counters: dict[str, int] = {}
        orphans: dict[str, str] = {}
        scopes: list[HeldScope] = []
        async for piece in self._recording.held(of_pass.organisation):
            alone = leaving_alone(piece.counters, windows, of_pass.time_ms, head.seq)
            counters |= alone
            orphans |= await self._orphans(of_pass, [n for n in piece.counters if n not in alone])
            scopes += (each for each in piece.scopes if resting.may_rest(each))
            if len(counters) >= GATHERED_MAX:
                await self._forget_counters(of_pass, head, counters, alarms)
                counters = {}
            if len(orphans) >= GATHERED_MAX:
                await self._forget_orphans(of_pass, head, orphans, alarms)
                orphans = {}
            if len(scopes) >= GATHERED_MAX:
                await self._forget(of_pass, head, await resting.at_rest(scopes), alarms)
                scopes = []
        await self._forget_counters(of_pass, head, counters, alarms)
        await self._forget_orphans(of_pass, head, orphans, alarms)
        await self._forget(of_pass, head, await resting.at_rest(scopes), alarms)

    async def _orphans(self, of_pass: Pass, fields: Sequence[str]) -> dict[str, str]:
        """Counters of children that are not at the ledger (a recovery brings back all there are),
        each with its child."""
        children = {name: child for name in fields if (child := child_of(name))}
        distinct = list(dict.fromkeys(children.values()))
        absent = await self._recording.without_record(of_pass.organisation, distinct)
        return {name: child for name, child in children.items() if child in absent}

    async def _forget_orphans(
        self, of_pass: Pass, head: Head, orphans: dict[str, str], alarms: "_Alarms"
    ) -> None:
        balances = await balances_of(self._store, of_pass.organisation, list(orphans))
        going = [
            Going(
                ((name, 0, balances.get(name, Balance()).spent),),
                HeldScope(child, NOT_HERE, 0, 0),
            )
            for name, child in orphans.items()
        ]
        await self._forget(of_pass, head, going, alarms)

    async def _forget_counters(
        self, of_pass: Pass, head: Head, counters: dict[str, int], alarms: "_Alarms"
    ) -> None:
        """These alone, each with its end."""
        balances = await balances_of(self._store, of_pass.organisation, list(counters))
        going = [
            Going(((name, end_s, balances.get(name, Balance()).spent),))
            for name, end_s in counters.items()
        ]
        await self._forget(of_pass, head, going, alarms)

    async def _forget(
        self, of_pass: Pass, head: Head, going: Sequence[Going], alarms: "_Alarms"
    ) -> None:
        for first in range(0, len(going), GOING_AT_ONCE):
            part = going[first : first + GOING_AT_ONCE]
            differing = await self._recording.compact(of_pass, head.seq, part)
            if differing:
                recorded = {name: spent for each in part for name, _, spent in each.counters}
                found = await self._recording.spent(of_pass.organisation, differing)
                for name in differing:
                    alarms.say(name, found.get(name, 0), recorded[name])


class _Alarms:
    """Says where ledger and records differ, not more often than somebody reads it."""

    def __init__(self, organisation: str, head: Head) -> None:
        self._organisation = organisation
        self._head = head
        self._said = 0

    def say(self, field: str, in_ledger: int, in_records: int) -> None:
        """One counter that stays for that."""
        self._said += 1
        if self._said <= ALARMS_MAX:
            _log.warning(
                "%s: counter %s is %d in the ledger and %d in the records up to seq %d",
                *(self._organisation, field, in_ledger, in_records, self._head.seq),
            )
