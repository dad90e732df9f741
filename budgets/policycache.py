"""Policies and plans that a worker has loaded, bounded, and never trusted blindly.

An entry may be out of date at any time: the script compares its version and answers STALE, and the
worker forgets it and loads again.
"""

from typing import Protocol, TypeVar

from budgets.plan import Plan, ScopePath, build_plan
from budgets.policy import Policy

POLICIES_MAX = 50_000
PLANS_MAX = 20_000

K = TypeVar("K")
V = TypeVar("V")


class Loader(Protocol):
    """Reads versions and policies from the ledger, creating scopes that are new."""

    async def __call__(self, scopes: list[str]) -> tuple[int, dict[str, tuple[int, Policy]]]:
        """(compactions so far, version and policy by scope)."""
        ...


class PolicyCache:
    """Plans by (path, model), and the policies that they were built from."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._policies: dict[str, tuple[int, Policy]] = {}
        self._plans: dict[tuple[ScopePath, str | None], Plan] = {}

    async def plan(self, path: ScopePath, model: str | None) -> Plan:
        """The plan, from the cache or freshly loaded."""
        plan = self._plans.get((path, model))
        if plan is not None:
            return plan
        nodes = path.nodes()
        known = {node: self._policies[node] for node in nodes if node in self._policies}
        missing = [node for node in nodes if node not in known]
        if missing:
            _, loaded = await self._load(missing)
            known.update(loaded)
            _make_room(self._policies, POLICIES_MAX, len(loaded))
            self._policies.update(loaded)
        plan = build_plan(path, model, known)
        _make_room(self._plans, PLANS_MAX, 1)
        self._plans[path, model] = plan
        return plan

    def forget(self, nodes: tuple[str, ...]) -> None:
        """Drops these scopes and every plan that stands on one of them."""
        gone = set(nodes)
        for node in nodes:
            self._policies.pop(node, None)
        for key in [key for key, plan in self._plans.items() if gone.intersection(plan.nodes)]:
            del self._plans[key]


def _make_room(entries: dict[K, V], entries_max: int, coming: int) -> None:
    """Drops the oldest entries (dicts keep insertion order)."""
    while len(entries) + coming > entries_max and entries:
        del entries[next(iter(entries))]
