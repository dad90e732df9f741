"""Which scopes of a ledger are at rest: nothing has happened to them for long, the records say.

No writes on the path of a request tell it: when a counter last changed is the time of its balance,
when a scope was closed that of what stands of it, and events name the scope that they are of.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from budgets.keys import Key
from budgets.memory import current_fields
from budgets.plan import ScopeRecord
from budgets.policy import Policy, decode_policy
from budgets.recording import Going, HeldScope, OldKey, Pass, Recording
from clickhouse.query import load_query
from clickhouse.quoting import array, pieces
from clickhouse.store import Store

OPEN, CLOSED = 0, 3
_NO_POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Balance:
    """What was spent in a counter, and when that last changed, in ms."""

    spent: int = 0
    changed_ms: int = 0


@dataclass(slots=True)
class _Standing:
    """What stands in the records: texts and since when (ms), by scope or key id."""

    scopes: dict[str, tuple[str, int]] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


class Resting:
    """For one pass. `policies` are those of the whole organisation."""

    def __init__(
        self,
        recording: Recording,
        store: Store,
        of_pass: Pass,
        policies: dict[str, Policy],
        rest_ms: int,
    ) -> None:
        self._recording = recording
        self._store = store
        self._organisation = of_pass.organisation
        self._policies = policies
        self._now_ms = of_pass.time_ms
        self._rested_ms = of_pass.time_ms - rest_ms  # what happened later is recent
        self._rested_seq = -1
        self._parents: set[int] = set()

    async def look_around(self) -> None:
        """Finds what has something below it, and up to which event all is long ago."""
        async for piece in self._recording.held(self._organisation, "s:"):
            self._parents.update(hash(_parent(each.scope)) for each in piece.scopes)
        line = await self._store.select(
            load_query("seq_before"), {"org": self._organisation, "until_ms": self._rested_ms}
        )
        if line.strip():
            self._rested_seq = int(json.loads(line)[0])

    def may_rest(self, scope: HeldScope) -> bool:
        """By what the ledger has: nothing is below it, and it is closed, of a key, or came by use
        (with the fence of an attempt, maybe). An organisation stays."""
        if "/" not in scope.scope or hash(scope.scope) in self._parents:
            return False
        if scope.state == CLOSED or self._is_key(scope):
            return scope.state in (OPEN, CLOSED)
        return (
            scope.state == OPEN
            and scope.scope not in self._policies
            and scope.version < self._rested_seq
        )

    async def at_rest(self, scopes: Sequence[HeldScope]) -> list[Going]:
        """Those of them that are, by what the records have, with all of their counters."""
        by_name = {each.scope: each for each in scopes}
        found: list[Going] = []
        for names in pieces(sorted(by_name)):  # in order, they lie together in the records
            found += await self._at_rest([by_name[name] for name in names])
        return found

    async def _at_rest(self, scopes: Sequence[HeldScope]) -> list[Going]:
        ids = {each.scope: each.scope.rpartition("/")[2] for each in scopes if self._is_key(each)}
        entries = await self._recording.key_entries(self._organisation, list(ids.values()))
        standing = await self._standing([each.scope for each in scopes], list(ids.values()))
        fields = {each.scope: self._fields(each) for each in scopes}
        balances = await balances_of(
            self._store, self._organisation, [name for names in fields.values() for name in names]
        )
        found: list[Going] = []
        unclear: list[Going] = []
        for each in scopes:
            key = self._old_key(each, ids.get(each.scope, ""), entries, standing)
            if key is None or not self._stands(each, standing, key):
                continue
            counted = [balances[name] for name in fields[each.scope] if name in balances]
            if any(balance.changed_ms > self._rested_ms for balance in counted):
                continue
            going = Going(
                tuple(
                    (name, 0, balances.get(name, Balance()).spent) for name in fields[each.scope]
                ),
                each,
                key,
            )
            is_told = each.state == CLOSED or key.id or counted
            (found if is_told else unclear).append(going)
        return found + await self._unused(unclear)

    def _is_key(self, scope: HeldScope) -> bool:
        return self._policies.get(scope.scope, _NO_POLICY).kind == "key"

    def _fields(self, scope: HeldScope) -> list[str]:
        """Its counters in windows that last: of its own limits, and of its parent's template,
        which may have bound it before it had any."""
        path, parent = scope.scope, _parent(scope.scope)
        records = {
            each: ScopeRecord(b"", self._policies.get(each, _NO_POLICY)) for each in (path, parent)
        }
        own = current_fields(path, records, self._now_ms)
        records[path] = ScopeRecord(b"", _NO_POLICY)
        return list(dict.fromkeys((*own, *current_fields(path, records, self._now_ms))))

    def _old_key(
        self, scope: HeldScope, key_id: str, entries: Mapping[str, bytes], standing: _Standing
    ) -> OldKey | None:
        """The key whose scope it is, if that can be used no more and stands in the records; an
        empty one where it is none."""
        if not key_id:
            return OldKey("")
        packed = entries.get(key_id)
        if packed is None:  # its entry left before, or it was never minted to the end
            return OldKey(key_id, expired_ms=1)
        text = packed.decode()
        key = msgspec.json.decode(packed, type=Key)
        if key.key_scope != scope.scope or standing.keys.get(key_id) != text:
            return None
        if scope.state == CLOSED:
            return OldKey(key_id, text)
        expires_ms = key.expires_at_ms
        if expires_ms is None or expires_ms > self._rested_ms:
            return None
        return OldKey(key_id, text, expires_ms)

    def _stands(self, scope: HeldScope, standing: _Standing, key: OldKey) -> bool:
        """Whether it comes back from the records as it is now, and was left alone for long."""
        text, since_ms = standing.scopes.get(scope.scope, ("", 0))
        if not text:  # it came by use: a new one is what it was
            return scope.state == OPEN and not scope.fence and not key.id
        state, version, fence = map(int, text.split(" "))
        if (state, fence) != (scope.state, scope.fence) or since_ms > self._rested_ms:
            return False
        if version > scope.version:  # (a later one of the ledger's: an allotment came and went)
            return False
        if scope.state == CLOSED or not key.id:
            return True
        policy = standing.policies.get(scope.scope, "")
        return bool(policy) and decode_policy(policy.encode()) == self._policies[scope.scope]

    async def _standing(self, scopes: Sequence[str], key_ids: Sequence[str]) -> _Standing:
        lines = await self._store.select(
            load_query("states_of"),
            {"org": self._organisation, "scopes": array(scopes), "keys": array(key_ids)},
        )
        found = _Standing()
        for line in lines.splitlines():
            kind, name, text, since_ms = json.loads(line)
            if kind == "scope":
                found.scopes[name] = text, int(since_ms)
            elif kind == "policy":
                found.policies[name] = text
            else:
                found.keys[name] = text
        return found

    async def _unused(self, going: Sequence[Going]) -> list[Going]:
        """Those of which no recent event is: no counter of theirs tells it."""
        if not going:
            return []
        names = [each.scope.scope for each in going if each.scope is not None]
        lines = await self._store.select(
            load_query("used_among"),
            {
                "org": self._organisation,
                "after_seq": max(0, self._rested_seq),
                "scopes": array(names),
            },
        )
        used = {json.loads(line)[0] for line in lines.splitlines()}
        return [each for each in going if each.scope is not None and each.scope.scope not in used]


async def balances_of(store: Store, organisation: str, fields: Sequence[str]) -> dict[str, Balance]:
    """The last balances of these counters; none: no entry."""
    found: dict[str, Balance] = {}
    for names in pieces(sorted(fields)):
        lines = await store.select(
            load_query("balances_of"), {"org": organisation, "fields": array(names)}
        )
        for line in lines.splitlines():
            name, spent, changed_ms = json.loads(line)
            found[name] = Balance(int(spent), int(changed_ms))
    return found


def _parent(scope: str) -> str:
    return scope.rpartition("/")[0]
