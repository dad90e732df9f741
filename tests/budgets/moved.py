"""Allotments in the ledger's contract: the part of the oracle that knows how money is moved.

It keeps no running sums. What an allotment costs a counter is summed anew whenever it is asked for,
from what was moved and what was spent, so that nothing can get lost between two steps.
"""

from dataclasses import dataclass

from budgets.plan import ScopePath
from budgets.policy import Dimension, Limit, ancestors
from tests.budgets.contract import Answer, Binding, ContractModel

NUMBERS: dict[Dimension, int] = {"usd": 1, "tokens": 2}


@dataclass(slots=True)
class AllotmentModel:
    """Money moved to a scope: amounts, and the counters that were raised, by dimension."""

    id: str
    scope: str
    amounts: dict[Dimension, int]
    raised: dict[Dimension, list[str]]
    expires_ms: int
    state: str = "open"

    def counter(self, dimension: Dimension) -> str:
        """Its own counter of a dimension."""
        return f"c:{self.id}.{NUMBERS[dimension]}:0"


class MovingModel(ContractModel):
    """One organisation's ledger, with allotments."""

    def __init__(self, at_ms: int, lease_ms: int) -> None:
        super().__init__(at_ms, lease_ms)
        self.allotments: list[AllotmentModel] = []

    # What a counter has.

    def spent(self, name: str) -> int:
        """By requests themselves, and by the closed allotments that raised it."""
        return self.counter(name).spent + sum(
            self.spent(each.counter(dimension))
            for each in self.allotments
            for dimension, raised in each.raised.items()
            if each.state == "closed" and name in raised
        )

    def allotted(self, name: str) -> int:
        """What the allotments cost that raised it and are not closed."""
        return sum(
            max(each.amounts[dimension], self.spent(each.counter(dimension)))
            for each in self.allotments
            for dimension, raised in each.raised.items()
            if each.state != "closed" and name in raised
        )

    def changed_with(self, name: str) -> set[str]:
        """The counters whose `spent` changes with this one's."""
        found = {name}
        for each in self.allotments:
            for dimension, raised in each.raised.items():
                if each.state == "closed" and each.counter(dimension) == name:
                    found = found.union(*map(self.changed_with, raised))
        return found

    # Who is bound by what.

    def current(self, path: str) -> AllotmentModel | None:
        """The allotment of a scope that is not closed."""
        found = [each for each in self.allotments if each.scope == path and each.state != "closed"]
        assert len(found) <= 1, "one at a time"
        return found[0] if found else None

    def state_of(self, path: str) -> str:
        """Closing, where it would be open, while its allotment is."""
        state, current = self.scope(path).state, self.current(path)
        if state == "open" and current is not None and current.state == "closing":
            return "closing"
        return state

    def bindings(self, path: ScopePath, model: str | None) -> list[Binding]:
        """As without allotments, but what is moved below a scope is not asked of it; and each
        allotment bounds its own scope."""
        found: list[Binding] = []
        plain = super().bindings(path, model)
        for node in path.nodes():
            moved = self._moved_below(node, path)
            both = [each for each in plain if each.scope == node] + self._own(node)
            found += [
                each for each in both if not (each.limit.dimension in moved and _movable(each))
            ]
        return found

    def _moved_below(self, node: str, path: ScopePath) -> set[Dimension]:
        below = [each for each in path.nodes() if each.startswith(f"{node}/")]
        currents = [self.current(each) for each in below]
        return {dimension for each in currents if each for dimension in each.amounts}

    def _own(self, node: str) -> list[Binding]:
        current = self.current(node)
        if current is None:
            return []
        owner = self.scope(node).policy
        parent = self.scopes.get(node.rpartition("/")[0])
        if not owner.limits and parent is not None and node not in self.key_scopes:
            owner = parent.policy
        return [
            Binding(
                node,
                Limit(f"{current.id}.{NUMBERS[dimension]}", dimension, "total", str(amount)),
                owner.share_of_free_percent,
                current.counter(dimension),
                0,
            )
            for dimension, amount in current.amounts.items()
        ]

    key_scopes: tuple[str, ...] = ()

    # Opening and closing.

    def allot(self, scope: str, amounts: dict[Dimension, int], expires_ms: int) -> Answer:
        """Moves it, or says which limit above does not have it."""
        nodes = ancestors(scope)
        for node in nodes:
            self.scope(node)
        for node in nodes:
            if self.state_of(node) != "open":
                return Answer(self.state_of(node).upper(), node)
        if self.current(scope):
            return Answer("ALLOTTED")
        if expires_ms <= self.time_ms:
            return Answer("TOO_LATE")
        amounts = {name: amounts[name] for name in NUMBERS if name in amounts}
        above = self._set_aside_in(nodes[:-1], set(amounts))
        refusal = self._opening_refusal(above, amounts)
        if refusal:
            return refusal
        raised: dict[Dimension, list[str]] = {dimension: [] for dimension in amounts}
        for binding in above:
            raised[binding.limit.dimension].append(binding.counter)
            self.counter(binding.counter)
        self.event()
        self.allotments.append(AllotmentModel(f"a{self.seq}", scope, amounts, raised, expires_ms))
        return Answer("OPENED")

    def _set_aside_in(self, above: tuple[str, ...], left: set[Dimension]) -> list[Binding]:
        found: list[Binding] = []
        for node in reversed(above):
            plain = [
                each
                for each in ContractModel.bindings(self, ScopePath(node), None)
                if each.scope == node and _movable(each)
            ]
            found += [each for each in (*plain, *self._own(node)) if each.limit.dimension in left]
            current = self.current(node)
            left = left - set(current.amounts if current else ())
        return found

    def _opening_refusal(
        self, above: list[Binding], amounts: dict[Dimension, int]
    ) -> Answer | None:
        needs = [(each, amounts[each.limit.dimension]) for each in above]
        if any(need > each.limit.amount for each, need in needs):
            return Answer("TOO_LARGE")
        over = [
            each.resets_at_ms
            for each, need in needs
            if self.spent(each.counter) + need > each.limit.amount
        ]
        if over:
            return Answer("EXHAUSTED", until_ms=0 if 0 in over else max(over))
        if any(need > self.free(each) for each, need in needs):
            return Answer("HELD")
        return None

    def close_allotment(self, scope: str) -> str:
        """What is below first, then its own."""
        own = self.current(scope)
        below = [
            each
            for each in self.allotments
            if each.state != "closed" and each.scope.startswith(f"{scope}/")
        ]
        for each in sorted(below, key=lambda each: -each.scope.count("/")):
            self._close(each)
        if own is None:
            return "NONE"
        self._close(own)
        return own.state.upper()

    def _close(self, allotment: AllotmentModel) -> None:
        if allotment.state == "open":
            if not self._idle(allotment):
                self.event()
            allotment.state = "closing"
        self.ended()

    def _idle(self, allotment: AllotmentModel) -> bool:
        own = [allotment.counter(dimension) for dimension in allotment.amounts]
        return not any(self.counter(name).reserved or self.allotted(name) for name in own)

    def ended(self) -> None:
        """What is closing and has nothing open any more is closed, and then what waited for it."""
        while True:
            over = [e for e in self.allotments if e.state == "closing" and self._idle(e)]
            if not over:
                return
            for each in over:
                each.state = "closed"
                self.event()

    def sweep(self) -> set[str]:
        """Leases first; then allotments whose time has passed."""
        due = super().sweep()
        for each in self.allotments:
            if each.state == "open" and each.expires_ms <= self.time_ms:
                self.close_allotment(each.scope)
        return due

    def set_state(self, path: str, action: str, attempt: int) -> str:
        """Closing for good closes what is allotted, too."""
        outcome = super().set_state(path, action, attempt)
        if action == "close":
            self.close_allotment(path)
        return outcome


def _movable(binding: Binding) -> bool:
    limit = binding.limit
    return limit.dimension in NUMBERS and not limit.models and limit.window != "minute"
