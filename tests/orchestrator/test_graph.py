"""The graph says what comes before what: it finds every knot and shows it in the order of the
needs, and no graph of the permitted size is slow."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestrator.definition import STEPS_MAX, Step
from orchestrator.graph import StepGraph
from tests.orchestrator.written import read, step

Needs = dict[str, list[str]]


def steps_of(needs: Needs) -> tuple[Step, ...]:
    """Steps with these needs."""
    return read(*(step(name, *needed) for name, needed in needs.items())).steps


@st.composite
def graphs(draw: st.DrawFn) -> Needs:
    """Of any form, with cycles and without."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 7)))]
    return {name: draw(st.lists(st.sampled_from(names), unique=True)) for name in names}


@st.composite
def acyclic(draw: st.DrawFn) -> Needs:
    """Steps that need earlier ones."""
    needs: Needs = {}
    for n in range(draw(st.integers(1, 8))):
        needs[f"s{n}"] = draw(st.lists(st.sampled_from(sorted(needs)), unique=True)) if n else []
    return needs


def reached(needs: Needs, start: str) -> set[str]:
    """What is needed by it, and by that, and so on; itself only through a cycle."""
    found: set[str] = set()
    waiting = [*needs[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs[name]
    return found


@given(graphs())
def test_every_knot_is_found_once_and_shown_as_it_waits(needs: Needs) -> None:
    """Each step of a cycle needs the next, and the last the first; no step that waits for itself is
    in no knot; the first name begins."""
    cycles = StepGraph(steps_of(needs)).cycles()
    knots = {
        frozenset(other for other in needs if other in reached(needs, name))
        & frozenset(other for other in needs if name in reached(needs, other))
        for name in needs
        if name in reached(needs, name)
    }
    assert len(cycles) == len(knots)
    for cycle in cycles:
        assert any(knot >= {*cycle} for knot in knots)
        assert cycle[0] == min(cycle)
        assert len({*cycle}) == len(cycle)
        for name, needed in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert needed in needs[name], f"{name} does not wait for {needed}"


@given(graphs())
def test_the_cycle_that_is_shown_is_a_shortest(needs: Needs) -> None:
    """Of each knot: whoever reads a long one looks for the mistake in the wrong place."""

    def length(start: str) -> int:
        level, steps = {start}, 0
        while steps <= len(needs):
            steps += 1
            level = {each for name in level for each in needs[name]}
            if start in level:
                return steps
        raise AssertionError(start)

    for cycle in StepGraph(steps_of(needs)).cycles():
        knot = {n for n in needs if n in reached(needs, cycle[0]) and cycle[0] in reached(needs, n)}
        assert len(cycle) == min(length(name) for name in knot)


@given(acyclic())
def test_above_is_all_that_is_needed_by_way_of_others(needs: Needs) -> None:
    """Through any number of needs, and never the step itself."""
    graph = StepGraph(steps_of(needs))
    assert graph.cycles() == []
    for name in needs:
        assert graph.above(name) == reached(needs, name)


@given(acyclic())
def test_layers_hold_each_step_after_all_that_it_needs_and_no_later(needs: Needs) -> None:
    """The layer of a step is one below the last of its needs."""
    layers = StepGraph(steps_of(needs)).layers()
    level = {name: n for n, layer in enumerate(layers) for name in layer}
    assert sorted(level) == sorted(needs)
    for name, needed in needs.items():
        assert level[name] == max((level[each] + 1 for each in needed), default=0)


@given(acyclic(), st.data())
def test_no_chain_is_heavier_than_the_critical_path(needs: Needs, data: st.DataObject) -> None:
    """It is a chain of needs, and weighs what the heaviest weighs."""
    weights = {name: data.draw(st.integers(0, 9)) for name in needs}
    path = StepGraph(steps_of(needs)).critical_path(weights.__getitem__)
    assert all(before in needs[after] for before, after in pairwise(path))
    heaviest: dict[str, int] = {}
    for name in needs:  # in an order of the needs
        heaviest[name] = weights[name] + max((heaviest[each] for each in needs[name]), default=0)
    assert sum(weights[name] for name in path) == max(heaviest.values())


@pytest.mark.parametrize(
    ("wide", "cycle_length"),
    [(1, STEPS_MAX), (100, STEPS_MAX // 100)],
)
@pytest.mark.timeout(20)
def test_the_largest_knot_is_looked_through(wide: int, cycle_length: int) -> None:
    """1,000 steps in a ring, and in ten layers that wait for each other by 100 needs a step."""
    last = STEPS_MAX // wide

    def needs_of(n: int) -> list[str]:
        layer = (n // wide + 1) % last
        return [f"s{layer * wide + k}" for k in range(wide)]

    steps = steps_of({f"s{n}": needs_of(n) for n in range(STEPS_MAX)})
    (cycle,) = StepGraph(steps).cycles()
    assert len(cycle) == cycle_length


@pytest.mark.timeout(20)
def test_the_largest_chain_is_looked_through() -> None:
    """1,000 steps, each of which needs the 100 before it."""
    steps = steps_of({f"s{n}": [f"s{k}" for k in range(max(0, n - 100), n)] for n in range(1000)})
    graph = StepGraph(steps)
    assert all(len(graph.above(f"s{n}")) == n for n in range(1000))
    assert len(graph.layers()) == len(graph.critical_path(lambda _: 1)) == 1000
