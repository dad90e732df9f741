"""The checks that one request must pass, packed once for all requests like it.

A plan is what a worker knows about a path and a model: the records of the nodes whose state counts,
and the limits that bind, each with the counter of its current window. It is built from cached
policies and sent along; the script compares records and time, so a plan that is out of date is
answered STALE or WINDOW, never used.
"""

import struct
from dataclasses import dataclass, field

import msgspec

from budgets.allotments import Allotment, moved_below, moves_aside
from budgets.calibration import NOT_CALIBRATED
from budgets.learned import Learned, RouteBound
from budgets.policy import DIMENSIONS, Limit, Payloads, Policy, ancestors, strictest
from budgets.windows import window_bounds

_RECORD = struct.Struct("<BqqB")
_OPEN = 0
_CLOSED = 3
_FOREVER_MS = 2**62
_NO_POLICY = Policy()
KIND_OF_KEYS = "key"  # of a key's own scope


@dataclass(frozen=True, slots=True)
class ScopePath:
    """Where a request counts: `scope` and all above it, and besides the key's own scope when that
    is not on the way. `attempts` are (scope, attempt) of fenced ancestors; `minter_scopes` are the
    own scopes of the keys that the key was minted by."""

    scope: str
    key_scope: str = ""
    attempts: tuple[tuple[str, int], ...] = ()
    minter_scopes: tuple[str, ...] = ()

    @property
    def organisation(self) -> str:
        """The first segment: names the Redis hash slot."""
        return self.scope.split("/", 1)[0]

    def nodes(self) -> tuple[str, ...]:
        """All scopes whose state and limits count, top down, the key's last."""
        path = ancestors(self.scope)
        return path if not self.key_scope or self.key_scope in path else (*path, self.key_scope)


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """A scope as the ledger has it: its packed record (empty: unknown there), its policy, and the
    allotment that it has until that is closed."""

    packed: bytes
    policy: Policy
    allotment: Allotment | None = None

    @property
    def version(self) -> int:
        """The seq of its last change of policy; -1 where the ledger does not know it."""
        return int(_RECORD.unpack(self.packed)[1]) if self.packed else -1

    @property
    def state(self) -> int:
        """As in STATES of `budgets.answers`; -1 where the ledger does not know it."""
        return int(_RECORD.unpack(self.packed)[0]) if self.packed else -1

    @property
    def fence(self) -> int:
        """The least attempt that it admits."""
        return int(_RECORD.unpack(self.packed)[2]) if self.packed else 0

    @property
    def is_closed(self) -> bool:
        """Whether it is closed for good."""
        return self.state == _CLOSED

    def admits(self, attempt: int) -> bool:
        """Whether it is open, counted in full, and not fenced against this attempt."""
        if not self.packed:
            return False
        state, _, fence, pending = _RECORD.unpack(self.packed)
        return bool(state == _OPEN and attempt >= fence and not pending)


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit as it binds one path: `scope` is the one it is checked for, `policy` all that binds
    there, a template's limits included. `allotment` is what it is the bound of, if of one."""

    scope: str
    limit: Limit
    resets_at_ms: int
    policy: Policy = field(default=_NO_POLICY, compare=False)
    allotment: Allotment | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Packed for the scripts, and what the numbers in their answers mean. `route`: what is known of
    the route, where there is one to learn of; its scope is the last of `nodes`."""

    nodes: tuple[str, ...]
    bounds: tuple[Bound, ...]
    expected: bytes
    attempts: bytes
    limits: bytes
    fields: tuple[bytes, ...]
    valid_until_ms: int
    clampable: bool
    output_tokens_default: int | None
    payloads: Payloads
    route: RouteBound | None = None


def build_plan(
    path: ScopePath,
    model: str | None,
    records: dict[str, ScopeRecord],
    at_ms: int,
    payloads: Payloads = "full",
    route: str = "",
) -> Plan:
    """The plan for a path at a time of the ledger's; `model` None takes every limit. `payloads` is
    what the process records at most, whatever the scopes allow; `route` the scope of what is
    learned of the route, "" for none."""
    nodes = nodes_of(path, route)
    attempts = dict(path.attempts)
    admitted = all(records[node].admits(attempts.get(node, 0)) for node in nodes)
    bounds: list[Bound] = []
    limits: list[int] = []
    counters: list[bytes] = []
    allotments = allotments_of(nodes, records)
    moved = moved_below(nodes, allotments) if allotments else {}
    for node in nodes:
        owner, own_limits = limits_of(node, path.key_scope, records)
        policy = msgspec.structs.replace(
            records[node].policy,
            limits=own_limits,
            share_of_free_percent=owner.share_of_free_percent,
        )
        gone = moved.get(node, ())
        for limit in own_limits:
            if limit.dimension in gone and moves_aside(limit):
                continue
            if model is None or limit.covers(model):
                start_s, end_s = window_bounds(limit.window, at_ms)
                bounds.append(Bound(node, limit, end_s * 1000, policy))
                limits += packed_limit(limit, owner.share_of_free_percent, start_s, end_s)
                child = "" if owner is records[node].policy else node
                counters.append(counter_field(limit, start_s, child))
        if node in allotments:
            for bound in allotment_bounds(allotments[node], policy):
                if bound.limit.dimension not in gone:
                    bounds.append(bound)
                    limits += packed_limit(bound.limit, owner.share_of_free_percent, 0, 0)
                    counters.append(counter_field(bound.limit, 0))
    policies = [records[node].policy for node in nodes]
    defaults = [each.output_tokens_default for each in policies if each.output_tokens_default]
    return Plan(
        nodes=nodes,
        bounds=tuple(bounds),
        # Records are compared as a whole; one that does not admit is left to the script to name.
        expected=b"".join(records[node].packed for node in nodes) if admitted else b"",
        attempts=msgspec.msgpack.encode([attempts.get(node, 0) for node in nodes]),
        limits=msgspec.msgpack.encode(limits),
        fields=(*(f"s:{node}".encode() for node in nodes), *counters),
        valid_until_ms=min((b.resets_at_ms for b in bounds if b.resets_at_ms), default=_FOREVER_MS),
        clampable=all(each.on_exceed == "clamp" for each in policies),
        output_tokens_default=defaults[-1] if defaults else None,
        payloads=strictest((payloads, *(each.payloads for each in policies if each.payloads))),
        route=_route_bound(route, records[route].policy) if route else None,
    )


def nodes_of(path: ScopePath, route: str) -> tuple[str, ...]:
    """The path's, and last the route's scope, if there is one."""
    return (*path.nodes(), route) if route else path.nodes()


def _route_bound(scope: str, policy: Policy) -> RouteBound:
    learned, calibration = policy.learned or Learned(), policy.calibration or NOT_CALIBRATED
    return RouteBound(scope, learned, bool(policy.limits), calibration)


def allotments_of(nodes: tuple[str, ...], records: dict[str, ScopeRecord]) -> dict[str, Allotment]:
    """Those of these scopes, by scope."""
    return {node: allotment for node in nodes if (allotment := records[node].allotment) is not None}


def allotment_bounds(allotment: Allotment, policy: Policy = _NO_POLICY) -> list[Bound]:
    """What an allotment bounds on its scope; `policy` as in Bound."""
    return [Bound(allotment.scope, each, 0, policy, allotment) for each in allotment.limits]


def limits_of(
    node: str, key_scope: str, records: dict[str, ScopeRecord]
) -> tuple[Policy, tuple[Limit, ...]]:
    """A scope's own limits, or its parent's template where it has none, with the policy that they
    come from. A key's own scope is nobody's template child: templates are for the users and runs
    that a key names, and would else bind the key that serves all of them. The template on a key's
    own scope is for the keys that it mints."""
    policy = records[node].policy
    parent = node.rpartition("/")[0]
    if policy.limits or parent not in records:
        return policy, policy.limits
    is_key = node == key_scope or policy.kind == KIND_OF_KEYS
    if not is_key or records[parent].policy.kind == KIND_OF_KEYS:
        template = records[parent].policy
        return template, template.per_child
    return policy, policy.limits


def counter_field(limit: Limit, start_s: int, child: str = "") -> bytes:
    """The counter of a limit in the window that begins then; each child of a template has one."""
    return (
        f"c:{limit.id}:{child}:{start_s}".encode() if child else f"c:{limit.id}:{start_s}".encode()
    )


def packed_limit(limit: Limit, share_percent: int, start_s: int, end_s: int) -> tuple[int, ...]:
    """A limit as the scripts read it."""
    return DIMENSIONS.index(limit.dimension) + 1, share_percent, limit.amount, start_s, end_s
