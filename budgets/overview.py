"""The ledger as an operator looks at it: which keys and budgets there are, and how budgets stand.

Nothing here writes, not even the record of a scope that is used for the first time; what has left
the ledger comes back to be looked at. Lists come in order and in pages; a page reads the whole
index in small steps, and keeps no more than a page.
"""

import heapq
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from budgets.answers import STATES, Standing
from budgets.keys import Key
from budgets.learned import is_route_scope
from budgets.plan import (
    KIND_OF_KEYS,
    Bound,
    ScopeRecord,
    allotment_bounds,
    counter_field,
    limits_of,
    packed_limit,
)
from budgets.policy import Policy, decode_policy
from budgets.replies import code_of, number
from budgets.session import STALE_RETRIES_MAX, Session
from budgets.slots import Slot
from budgets.transport import LedgerUnavailable
from budgets.windows import window_bounds

SCOPES_AT_ONCE_MAX = 100
_SCAN_COUNT = "1000"
_HEAD = struct.Struct("<2q")
_THREE = struct.Struct("<3q")
_SAYS_NOTHING = Policy()
_ABOVE_FENCES = 2**53
_CHANGED_MEANWHILE = ("STALE", "UNKNOWN")
"""Between the reading of the records and the look at them; UNKNOWN: one has left the ledger."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScopeStanding:
    """A scope as it stands: `state` as in `budgets.answers.STATES`, its policy, and what binds it:
    its own limits, or those of its parent's template, and what is allotted to it."""

    scope: str
    state: str
    policy: Policy
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class LearnedRoute:
    """A route's scope and policy, see `budgets.learned`."""

    scope: str
    policy: Policy


class Overview:
    """Questions about whole organisations. All raise OrganisationUnknown, LedgerUnavailable."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def organisations(self) -> list[str]:
        """All that this ledger has, sorted."""
        return await self._session.all_organisations()

    async def keys(
        self, organisation: str, *, after: str = "", below: str = "", limit: int
    ) -> list[Key]:
        """At most `limit` keys by id, those after an id, those that work in a scope or below it."""

        def wanted(_: str, record: bytes) -> Key | None:
            key = msgspec.json.decode(record, type=Key)
            return key if not below or f"{key.scope}/".startswith(f"{below}/") else None

        slot = await self._session.slot(organisation)
        return await self._page(slot.keys_key, after, limit, wanted)

    async def budgets(self, organisation: str, *, after: str = "", limit: int) -> list[str]:
        """At most `limit` scopes whose policy says anything, those after a scope."""

        def wanted(scope: str, packed: bytes) -> str | None:
            if is_route_scope(scope):
                return None
            policy = decode_policy(packed)
            silent = msgspec.structs.replace(policy, kind="") == _SAYS_NOTHING
            return None if silent else scope

        slot = await self._session.slot(organisation)
        return await self._page(slot.policies_key, after, limit, wanted)

    async def routes(self, organisation: str, *, after: str = "", limit: int) -> list[LearnedRoute]:
        """At most `limit` routes of which something was learned, by scope, those after one."""

        def wanted(scope: str, packed: bytes) -> LearnedRoute | None:
            if not is_route_scope(scope):
                return None
            policy = decode_policy(packed)
            return None if policy.learned is None else LearnedRoute(scope, policy)

        slot = await self._session.slot(organisation)
        return await self._page(slot.policies_key, after, limit, wanted)

    async def _page(
        self, key: bytes, after: str, limit: int, wanted: Callable[[str, bytes], T | None]
    ) -> list[T]:
        """Of a hash: the first `limit` values by name that are wanted."""
        found: dict[str, T] = {}
        cursor = "0"
        while True:
            reply = await self._session.transport.command(
                "HSCAN", key, cursor, "COUNT", _SCAN_COUNT
            )
            assert isinstance(reply, list)
            cursor, pairs = reply[0].decode(), iter(reply[1])
            for raw_name, packed in zip(pairs, pairs, strict=True):
                name = raw_name.decode()
                value = wanted(name, packed) if name > after else None
                if value is not None:
                    found[name] = value
            if len(found) > limit:
                found = {name: found[name] for name in heapq.nsmallest(limit, found)}
            if cursor == "0":
                return [found[name] for name in sorted(found)]

    async def states(self, organisation: str, scopes: list[str]) -> dict[str, str]:
        """The state of each of these scopes, "unknown" for what was never used."""
        await self._session.slot(organisation)
        records = await self._session.load(scopes, create=False) if scopes else {}
        return {scope: STATES[records[scope].state] for scope in scopes}

    async def key_states(self, organisation: str, keys: list[Key]) -> dict[str, str]:
        """What each key's own scope and those of its minters come to, by its id: "closed" where one
        of them is closed or fenced against it, else "frozen" where one is, else "open"."""
        scopes = list(dict.fromkeys(scope for key in keys for scope in key.own_scopes))
        await self._session.slot(organisation)
        records = await self._session.load(scopes, create=False) if scopes else {}
        return {key.id: _state_of(key, records) for key in keys}

    async def standings(self, organisation: str, scopes: list[str]) -> list[ScopeStanding]:
        """How these scopes of the organisation stand (at most SCOPES_AT_ONCE_MAX), at one time."""
        assert len(scopes) <= SCOPES_AT_ONCE_MAX
        if not scopes:
            return []
        slot = await self._session.slot(organisation)
        with_parents = [*scopes, *(scope.rpartition("/")[0] for scope in scopes)]
        named = list(dict.fromkeys(scope for scope in with_parents if scope))
        for _ in range(STALE_RETRIES_MAX):
            records = await self._session.load(named, create=False)
            now_ms = self._session.clock.now_ms() + slot.ahead_ms
            look = _Look(scopes, records, now_ms)
            if look.knows_nothing:
                return [ScopeStanding(scope, STATES[-1], Policy(), ()) for scope in scopes]
            epoch = slot.epoch
            reply = await self._session.run("check", slot.keys, look.arguments(slot))
            code = code_of(reply)
            if code == "RECOVERING" and len(reply) == 1:
                if not await self._session.moved_on(slot, epoch):
                    raise LedgerUnavailable("the ledger is recovering")
            elif code == "WINDOW":
                slot.ahead_ms = number(reply[1]) - self._session.clock.now_ms()
            elif code not in _CHANGED_MEANWHILE:
                return look.standings(reply)
        raise LedgerUnavailable("the budgets keep changing: try again")

    async def waiting(self, organisation: str) -> int:
        """How many events wait to be recorded."""
        slot = await self._session.slot(organisation)
        return number(await self._session.transport.command("XLEN", slot.keys[1]))

    async def head(self, organisation: str) -> tuple[int, int]:
        """(epoch, seq) of its last event."""
        slot = await self._session.slot(organisation)
        packed = await self._session.transport.command("HGET", slot.keys[0], "meta")
        if not isinstance(packed, bytes):
            raise LedgerUnavailable("the ledger is recovering")
        epoch, seq = _HEAD.unpack_from(packed)
        return epoch, seq


def _state_of(key: Key, records: dict[str, ScopeRecord]) -> str:
    attempts = dict(key.attempts)
    own = {scope: records[scope] for scope in key.own_scopes}
    if any(each.is_closed or each.fence > attempts.get(scope, 0) for scope, each in own.items()):
        return "closed"
    return "frozen" if any(STATES[each.state] == "frozen" for each in own.values()) else "open"


class _Look:
    """One question for the script `check`, and what its answer means."""

    def __init__(self, scopes: list[str], records: dict[str, ScopeRecord], now_ms: int) -> None:
        self._scopes = scopes
        self._records = records
        self._nodes = [node for node, record in records.items() if record.packed]
        self._bounds: list[Bound] = []
        self._limits: list[int] = []
        self._fields: list[bytes] = []
        for scope in scopes:
            policy = records[scope].policy
            owner, limits = limits_of(scope, scope if policy.kind == KIND_OF_KEYS else "", records)
            for limit in limits:
                start_s, end_s = window_bounds(limit.window, now_ms)
                self._bounds.append(Bound(scope, limit, end_s * 1000))
                self._limits += packed_limit(limit, owner.share_of_free_percent, start_s, end_s)
                child = "" if owner is policy else scope
                self._fields.append(counter_field(limit, start_s, child))
            allotment = records[scope].allotment
            for bound in allotment_bounds(allotment) if allotment else []:
                self._bounds.append(bound)
                self._limits += packed_limit(bound.limit, owner.share_of_free_percent, 0, 0)
                self._fields.append(counter_field(bound.limit, 0))

    @property
    def knows_nothing(self) -> bool:
        """Whether the ledger has none of the scopes, and nothing binds them."""
        return not self._nodes

    def arguments(self, slot: Slot) -> tuple[bytes, ...]:
        """As lua/check.lua has them. The records are sent as they were read, parents' too, so that
        a policy that has changed since is answered STALE."""
        nodes = self._nodes
        return (
            _THREE.pack(slot.epoch, slot.seq, len(nodes)),
            b"".join(self._records[node].packed for node in nodes),
            msgspec.msgpack.encode([_ABOVE_FENCES] * len(nodes)),
            msgspec.msgpack.encode(self._limits),
            *(f"s:{node}".encode() for node in nodes),
            *self._fields,
        )

    def standings(self, reply: list[object]) -> list[ScopeStanding]:
        """One for each scope, in order."""
        states, counters = reply[3], reply[4]
        assert isinstance(states, list)
        assert isinstance(counters, list)
        state_of = dict(zip(self._nodes, states, strict=True))
        of: dict[str, list[Standing]] = {scope: [] for scope in self._scopes}
        for n, bound in enumerate(self._bounds):
            of[bound.scope].append(Standing(bound, *counters[3 * n : 3 * n + 3]))
        return [
            ScopeStanding(
                scope,
                STATES[state_of.get(scope, -1)],
                self._records[scope].policy,
                tuple(of[scope]),
            )
            for scope in self._scopes
        ]
