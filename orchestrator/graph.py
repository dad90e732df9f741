"""The graph of a workflow's steps: what comes before what."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import networkx

from orchestrator.definition import Step


class StepGraph:
    """Of steps whose needs are all there; edges go from what is needed to who needs it."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._graph: networkx.DiGraph[str] = networkx.DiGraph()
        for step in steps:
            self._graph.add_node(step.id)
            self._graph.add_edges_from((need, step.id) for need in step.needs)

    def cycles(self) -> list[list[str]]:
        """A shortest one of each knot of steps that wait for each other. In each, a step needs the
        one that follows it, and the last needs the first; that is the first of the names."""
        found = []
        for knot in networkx.strongly_connected_components(self._graph):
            part = self._graph.subgraph(knot)
            if len(knot) > 1 or networkx.number_of_selfloops(part):
                found.append(_shortest_cycle(part))
        return sorted(found)

    def above(self, step_id: str) -> frozenset[str]:
        """All that end before it. Only without cycles."""
        return self._above[step_id]

    @cached_property
    def _above(self) -> Mapping[str, frozenset[str]]:
        names = list(networkx.topological_sort(self._graph))
        number_of = {name: number for number, name in enumerate(names)}
        above: list[int] = []
        for name in names:
            bits = 0
            for need in self._graph.predecessors(name):
                bits |= above[number_of[need]] | 1 << number_of[need]
            above.append(bits)
        return {
            name: frozenset(names[each] for each in _numbers(bits))
            for name, bits in zip(names, above, strict=True)
        }

    def layers(self) -> list[list[str]]:
        """Steps that may run together, from the first; each after all that it needs. Only without
        cycles."""
        return [sorted(layer) for layer in networkx.topological_generations(self._graph)]

    def critical_path(self, weight_of: Callable[[str], int]) -> list[str]:
        """The chain of steps that makes a run as long as it is, by what each of them weighs."""
        length: dict[str, int] = {}
        before: dict[str, str] = {}
        for layer in self.layers():
            for step_id in layer:
                needed = sorted(self._graph.predecessors(step_id))
                longest = max(needed, key=length.__getitem__, default=None)
                length[step_id] = weight_of(step_id)
                if longest is not None:
                    length[step_id] += length[longest]
                    before[step_id] = longest
        return _chain(max(sorted(length), key=length.__getitem__), before)


def _shortest_cycle(part: "networkx.DiGraph[str]") -> list[str]:
    """Of a knot. Sets of steps are bits of a number here: 1,000 steps may have 100,000 needs, and
    the way back is looked for from each of them."""
    names = sorted(part)
    number_of = {name: number for number, name in enumerate(names)}
    needs = [sum(1 << number_of[each] for each in part.predecessors(name)) for name in names]
    shortest: list[int] = []
    for start in range(len(names)):
        limit = len(shortest) - 1 if shortest else len(names)
        shortest = _way_back(needs, start, limit) or shortest
    return [names[each] for each in shortest]


def _way_back(needs: Sequence[int], start: int, steps_max: int) -> list[int]:
    """The shortest way from a step over what it needs back to it; empty for a longer one."""
    levels = [1 << start]
    seen = 0
    while len(levels) <= steps_max:
        reached = 0
        for each in _numbers(levels[-1]):
            reached |= needs[each]
        if reached >> start & 1:
            return _traced(needs, start, levels)
        levels.append(reached & ~seen)
        seen |= reached
    return []


def _traced(needs: Sequence[int], start: int, levels: Sequence[int]) -> list[int]:
    """The way, from its end: one step of each level, that needs the one after it."""
    way: list[int] = []
    target = start
    for level in reversed(levels):
        target = next(each for each in _numbers(level) if needs[each] >> target & 1)
        way.append(target)
    return way[::-1]


def _numbers(bits: int) -> Iterator[int]:
    """Of the bits that are set, from the lowest."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _chain(last: str, before: Mapping[str, str]) -> list[str]:
    chain = [last]
    while chain[-1] in before:
        chain.append(before[chain[-1]])
    return chain[::-1]
