"""Policies and plans that a worker has loaded, bounded, and never trusted blindly.

An entry may be out of date at any time: the script compares it with what is there and answers
STALE, and the worker forgets it and loads again.
"""

from typing import Protocol, TypeVar

from budgets.plan import Plan, ScopePath, ScopeRecord, build_plan, nodes_of
from budgets.policy import Payloads

RECORDS_MAX = 50_000
PLANS_MAX = 20_000

K = TypeVar("K")
V = TypeVar("V")


class Loader(Protocol):
    """Reads scopes from the ledger, creating those that are new."""

    async def __call__(self, scopes: list[str]) -> dict[str, ScopeRecord]:
        """Record and policy by scope."""
        ...


class PolicyCache:
    """Plans by (path, model, scope of the route), and the scopes that they were built from;
    `payloads` as in `build_plan`."""

    def __init__(self, load: Loader, payloads: Payloads = "full") -> None:
        self._load = load
        self._payloads = payloads
        self._records: dict[str, ScopeRecord] = {}
        self._plans: dict[tuple[ScopePath, str | None, str], Plan] = {}

    async def plan(self, path: ScopePath, model: str | None, at_ms: int, route: str = "") -> Plan:
        """The plan for a time of the ledger's, from the cache or freshly built."""
        plan = self._plans.get((path, model, route))
        if plan is not None and at_ms < plan.valid_until_ms:
            return plan
        nodes = nodes_of(path, route)
        known = {node: self._records[node] for node in nodes if node in self._records}
        missing = [node for node in nodes if node not in known]
        if missing:
            loaded = await self._load(missing)
            known.update(loaded)
            _make_room(self._records, RECORDS_MAX, len(loaded))
            self._records.update(loaded)
        plan = build_plan(path, model, known, at_ms, self._payloads, route)
        _make_room(self._plans, PLANS_MAX, 1)
        self._plans[path, model, route] = plan
        return plan

    def forget(self, nodes: tuple[str, ...]) -> None:
        """Drops these scopes and every plan that stands on one of them."""
        gone = set(nodes)
        for node in nodes:
            self._records.pop(node, None)
        for key in [key for key, plan in self._plans.items() if gone.intersection(plan.nodes)]:
            del self._plans[key]

    def forget_plan(self, path: ScopePath, model: str | None, route: str = "") -> None:
        """Drops one plan: its windows are not the current ones."""
        self._plans.pop((path, model, route), None)


def _make_room(entries: dict[K, V], entries_max: int, coming: int) -> None:
    """Drops the oldest entries (dicts keep insertion order)."""
    while len(entries) + coming > entries_max and entries:
        del entries[next(iter(entries))]
