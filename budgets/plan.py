"""The checks that one request must pass, packed once for all requests like it.

A plan is what a worker knows about a path and a model: the nodes whose state counts, and the limits
that bind, each with the counter that it uses. It is built from cached policies and sent along; the
script compares versions, so a plan that is out of date is answered STALE, never used.
"""

import struct
from dataclasses import dataclass

from budgets.policy import DIMENSIONS, WINDOWS, Limit, Policy, ancestors

_NODE = struct.Struct("<qq")
_LIMIT = struct.Struct("<BBBq")


@dataclass(frozen=True, slots=True)
class ScopePath:
    """Where a request counts: `scope` and all above it, and besides the key's own scope when that
    is not on the way. `attempts` are (scope, attempt) of fenced ancestors."""

    scope: str
    key_scope: str = ""
    attempts: tuple[tuple[str, int], ...] = ()

    @property
    def organisation(self) -> str:
        """The first segment: names the Redis hash slot."""
        return self.scope.split("/", 1)[0]

    def nodes(self) -> tuple[str, ...]:
        """All scopes whose state and limits count, top down, the key's last."""
        path = ancestors(self.scope)
        return path if not self.key_scope or self.key_scope in path else (*path, self.key_scope)


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit as it binds one path: `scope` is the one it is checked for."""

    scope: str
    limit: Limit


@dataclass(frozen=True, slots=True)
class Plan:
    """Packed nodes and limits, and what their numbers mean in an answer."""

    nodes: tuple[str, ...]
    bounds: tuple[Bound, ...]
    packed_nodes: bytes
    packed_limits: bytes
    clampable: bool
    output_tokens_default: int | None


def build_plan(
    path: ScopePath, model: str | None, policies: dict[str, tuple[int, Policy]]
) -> Plan:
    """The plan for a path; `model` None means every limit (for showing), else those that cover it."""
    nodes = path.nodes()
    attempts = dict(path.attempts)
    packed_nodes = b"".join(
        _NODE.pack(policies[node][0], attempts.get(node, 0)) + node.encode() + b"\0"
        for node in nodes
    )
    bounds: list[Bound] = []
    packed_limits: list[bytes] = []
    clampable = True
    output_default = None
    for node in nodes:
        policy = policies[node][1]
        owner, limits = _limits_of(node, path, policies)
        clampable = clampable and policy.on_exceed == "clamp"
        output_default = policy.output_tokens_default or output_default
        for limit in limits:
            if model is None or limit.covers(model):
                name = limit.id if owner is policy else f"{limit.id}:{node}"
                bounds.append(Bound(node, limit))
                packed_limits.append(_packed_limit(limit, owner.share_of_free_percent, name))
    return Plan(
        nodes, tuple(bounds), packed_nodes, b"".join(packed_limits), clampable, output_default
    )


def _limits_of(
    node: str, path: ScopePath, policies: dict[str, tuple[int, Policy]]
) -> tuple[Policy, tuple[Limit, ...]]:
    """A scope's own limits, or its parent's template where it has none, with the policy that they
    come from. A key's own scope is nobody's template child: templates are for the users and runs
    that a key names, and would else bind the key that serves all of them."""
    policy = policies[node][1]
    parent = node.rpartition("/")[0]
    if not policy.limits and node != path.key_scope and parent in policies:
        template = policies[parent][1]
        return template, template.per_child
    return policy, policy.limits


def _packed_limit(limit: Limit, share_percent: int, name: str) -> bytes:
    head = _LIMIT.pack(
        DIMENSIONS.index(limit.dimension) + 1, WINDOWS.index(limit.window), share_percent, limit.amount
    )
    return head + name.encode() + b"\0"
