"""What the opening of an allotment is held against: every limit above the child in which it is set
aside, up to the nearest scope with an allotment of the same dimension, that one's bound included.
"""

from dataclasses import dataclass

import msgspec

from budgets.allotments import Allotment, moves_aside
from budgets.plan import (
    KIND_OF_KEYS,
    Bound,
    ScopeRecord,
    allotment_bounds,
    counter_field,
    limits_of,
    packed_limit,
)
from budgets.policy import Dimension, ancestors
from budgets.windows import window_bounds

# Whoever opens is no attempt of anything: fences do not concern it.
_ABOVE_FENCES = 2**53


@dataclass(frozen=True, slots=True)
class Opening:
    """Packed for lua/allot.lua (records, attempts, limits), and what the numbers in its answers
    mean."""

    nodes: tuple[str, ...]
    bounds: tuple[Bound, ...]
    packed: tuple[bytes, bytes, bytes]
    fields: tuple[bytes, ...]


def opening_of(
    scope: str, amounts: dict[Dimension, int], records: dict[str, ScopeRecord], at_ms: int
) -> Opening:
    """For a child and the records of it and of all above it, at a time of the ledger's."""
    nodes = ancestors(scope)
    bounds: list[Bound] = []
    limits: list[int] = []
    counters: list[bytes] = []
    left = set(amounts)
    for node in reversed(nodes[:-1]):
        for bound, packed, counter in _set_aside_in(node, left, records, at_ms):
            bounds.append(bound)
            limits += packed
            counters.append(counter)
        allotment = records[node].allotment
        left -= set(allotment.amounts) if allotment else set()
    admitted = all(records[node].admits(_ABOVE_FENCES) for node in nodes)
    expected = b"".join(records[node].packed for node in nodes) if admitted else b""
    attempts = msgspec.msgpack.encode([_ABOVE_FENCES] * len(nodes))
    return Opening(
        nodes=nodes,
        bounds=tuple(bounds),
        packed=(expected, attempts, msgspec.msgpack.encode(limits)),
        fields=(*(f"s:{node}".encode() for node in nodes), *counters),
    )


def _set_aside_in(
    node: str, dimensions: set[Dimension], records: dict[str, ScopeRecord], at_ms: int
) -> list[tuple[Bound, tuple[int, ...], bytes]]:
    record = records[node]
    key_scope = node if record.policy.kind == KIND_OF_KEYS else ""
    owner, own_limits = limits_of(node, key_scope, records)
    child = "" if owner is record.policy else node
    found: list[tuple[Bound, tuple[int, ...], bytes]] = []
    share = owner.share_of_free_percent
    for limit in own_limits:
        if limit.dimension in dimensions and moves_aside(limit):
            start_s, end_s = window_bounds(limit.window, at_ms)
            bound = Bound(node, limit, end_s * 1000, record.policy)
            packed = packed_limit(limit, share, start_s, end_s)
            found.append((bound, packed, counter_field(limit, start_s, child)))
    for bound in _own_bounds(record.allotment):
        if bound.limit.dimension in dimensions:
            packed = packed_limit(bound.limit, share, 0, 0)
            found.append((bound, packed, counter_field(bound.limit, 0)))
    return found


def _own_bounds(allotment: Allotment | None) -> list[Bound]:
    return allotment_bounds(allotment) if allotment else []
