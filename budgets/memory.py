"""What the records remember of scopes that the ledger does not have: the cold path.

The ledger forgets what is at rest. A scope that it does not know may be a new one, or one that has
left: then it comes back as it was, closed or behind its fence, with what was spent in its windows.
Whoever cannot ask does not guess: nothing is created, and the request is refused.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from budgets.plan import ScopeRecord, counter_field, limits_of
from budgets.policy import decode_policy
from budgets.transport import LedgerUnavailable
from budgets.windows import window_bounds

BEHIND_MS_MAX = 2_000
"""How long whoever asks waits for events that are not in the records yet."""
BEHIND_PAUSE_S = 0.05
_CLOSED = 3
_FRESH = -1


class MemoryAway(LedgerUnavailable):
    """The records cannot be asked, or are behind."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What stands in the records: `scopes` (state, version, fence) and `policies` by scope as their
    last event left them, `keys` by key id, and what was spent by counter; nothing: no entry."""

    scopes: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)


class Memory(Protocol):
    """The records, as far as the ledger asks them."""

    async def remembered(
        self,
        organisation: str,
        through_seq: int,
        *,
        scopes: Sequence[str] = (),
        fields: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> Remembered | None:
        """What stands of these scopes, counters and keys, the event `through_seq` and all before
        it included; None where the records are not that far yet. Raises MemoryAway."""
        ...


@dataclass(frozen=True, slots=True)
class Return:
    """A scope to be created: its record (`version` -1: a new one), its policy ("" none), and what
    was spent by counter."""

    scope: str
    state: int = 0
    version: int = _FRESH
    fence: int = 0
    policy: str = ""
    spent: tuple[tuple[str, int], ...] = ()

    @property
    def is_remembered(self) -> bool:
        """Whether the records know anything of it."""
        return self.version != _FRESH or bool(self.spent)

    def packed(self) -> bytes:
        """As the script `create` reads it."""
        flat = (each for pair in self.spent for each in pair)
        return msgspec.msgpack.encode(
            [self.scope, self.state, self.version, self.fence, self.policy, *flat]
        )


async def ask(
    memory: Memory | None,
    organisation: str,
    through_seq: int,
    *,
    scopes: Sequence[str] = (),
    fields: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> Remembered:
    """What is remembered, once the records are far enough. Raises MemoryAway."""
    if memory is None:
        raise MemoryAway(
            f"this process cannot ask the records of {organisation}, which its ledger has parts of "
            "no more: name a ClickHouse server (clickhouse_url), or record on this machine"
        )
    waits = int(BEHIND_MS_MAX / 1000 / BEHIND_PAUSE_S)
    for _ in range(waits):
        found = await memory.remembered(
            organisation, through_seq, scopes=scopes, fields=fields, keys=keys
        )
        if found is not None:
            return found
        await asyncio.sleep(BEHIND_PAUSE_S)  # records do not call when they have caught up
    raise MemoryAway(f"the records of {organisation} are behind its ledger: try again")


async def recall(
    memory: Memory | None,
    through_seq: int,
    missing: Sequence[str],
    known: dict[str, ScopeRecord],
    at_ms: int,
) -> list[Return]:
    """How these scopes, which the ledger does not have, are to be created. `known` has them and
    their parents as the ledger had them at `at_ms`, its own time. Raises MemoryAway."""
    organisation = missing[0].split("/", 1)[0]
    absent = tuple(scope for scope, record in known.items() if not record.packed)
    fields = _fields(missing, known, at_ms)
    found = await ask(memory, organisation, through_seq, scopes=absent, fields=_flat(fields))
    if found.policies:  # of a key that has expired, say: its limits bind again
        restored = {
            scope: ScopeRecord(b"", decode_policy(text.encode()))
            for scope, text in found.policies.items()
        }
        known = {**known, **restored}
        asked = set(_flat(fields))
        fields = _fields(missing, known, at_ms)
        more = tuple(each for each in _flat(fields) if each not in asked)
        if more:
            again = await ask(memory, organisation, through_seq, fields=more)
            found.spent.update(again.spent)
    return [_return(scope, found, fields[scope]) for scope in missing]


def _return(scope: str, found: Remembered, fields: Sequence[str]) -> Return:
    state, version, fence = map(int, found.scopes.get(scope, f"0 {_FRESH} 0").split(" "))
    if state == _CLOSED:  # for good: nothing is counted for it any more
        return Return(scope, state, version, fence)
    spent = tuple((name, found.spent[name]) for name in fields if found.spent.get(name, 0) > 0)
    return Return(scope, state, version, fence, found.policies.get(scope, ""), spent)


def _fields(
    scopes: Iterable[str], known: dict[str, ScopeRecord], at_ms: int
) -> dict[str, list[str]]:
    return {scope: current_fields(scope, known, at_ms) for scope in scopes}


def current_fields(scope: str, known: dict[str, ScopeRecord], at_ms: int) -> list[str]:
    """The counters of a scope in the windows that hold this time: of its own limits, or of its
    parent's template."""
    owner, limits = limits_of(scope, "", known)
    child = "" if owner is known[scope].policy else scope
    return [
        counter_field(limit, window_bounds(limit.window, at_ms)[0], child).decode()
        for limit in limits
    ]


def _flat(fields: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(name for names in fields.values() for name in names)
