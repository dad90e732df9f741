"""Whether a definition can run: what it names is there, and no step may spend more than its run."""

from collections import Counter
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from itertools import chain, islice

from budgets.allotments import moves_aside
from budgets.policy import Dimension, Limit
from orchestrator.definition import Step, Workflow
from orchestrator.graph import StepGraph
from orchestrator.problems import PROBLEMS_MAX, Place, Problem, nearest
from orchestrator.templates import (
    INPUT_NAME,
    STEPS_NAME,
    References,
    TemplateInvalid,
    references,
)
from pricing import dollars

ROUND_NAMES = frozenset(("item", "index"))
"""In `foreach`: the entry, and its number from 0."""
LAST_NAME = "last"
"""In `until`: the output of the round before; in its condition, that of this one."""
RUN_NAME = "run"
_ALWAYS = frozenset((STEPS_NAME, INPUT_NAME, RUN_NAME))


def problems_of(workflow: Workflow, models: Collection[str] | None) -> tuple[Problem, ...]:
    """PROBLEMS_MAX of them at most, first those of the whole, then by step. `models`: those that
    may be asked; None where nobody knows yet."""
    found = list(islice(chain(_named_twice(workflow), _needs(workflow)), PROBLEMS_MAX))
    if found:
        return tuple(found)  # the graph would be another one than is meant
    graph = StepGraph(workflow.steps)
    knots = list(_cycles(workflow, graph))
    ways = () if knots else chain(_templates(workflow, graph), _never(workflow, graph))
    rest = chain(_defaults(workflow), _budgets(workflow), _models(workflow, models))
    everything = chain(knots, ways, rest)
    found = list(islice(everything, PROBLEMS_MAX))
    return tuple(sorted(found, key=lambda each: _order(each.place)))


def _order(place: Place) -> tuple[int, ...]:
    return tuple(each for each in place if isinstance(each, int))


def _named_twice(workflow: Workflow) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, step in enumerate(workflow.steps):
        if step.id in first:
            number = first[step.id] + 1
            yield Problem(("steps", index, "id"), f"{step.id} is step {number} already")
        first.setdefault(step.id, index)


def _needs(workflow: Workflow) -> Iterator[Problem]:
    known = {step.id: None for step in workflow.steps}
    for index, step in enumerate(workflow.steps):
        for at, need in enumerate(step.needs):
            place = ("steps", index, "needs", at)
            if need not in known:
                yield Problem(
                    place, f"{step.id} needs {need}, which is no step{nearest(need, [*known])}"
                )
            elif need in step.needs[:at]:
                yield Problem(place, f"{step.id} needs {need} twice: once is enough")


def _cycles(workflow: Workflow, graph: StepGraph) -> Iterator[Problem]:
    index_of = {step.id: index for index, step in enumerate(workflow.steps)}
    for cycle in graph.cycles():
        way = " -> ".join([*cycle, cycle[0]])
        index = min(index_of[each] for each in cycle)
        message = f"a cycle, where each waits for the next: {way}; remove one of these needs"
        yield Problem(("steps", index, "needs"), message)


def _templates(workflow: Workflow, graph: StepGraph) -> Iterator[Problem]:
    for index, step in enumerate(workflow.steps):
        above = graph.above(step.id)
        for place, text in step.templates():
            whole = ("steps", index, *place)
            yield from _template(workflow, whole, text, above, _names_in(step, place))
    everywhere = frozenset(step.id for step in workflow.steps)
    yield from _template(workflow, ("output",), workflow.output, everywhere, _ALWAYS)


def _names_in(step: Step, place: Place) -> frozenset[str]:
    """What a template there may name."""
    names = _ALWAYS
    if step.foreach is not None and place[0] not in ("foreach", "when"):
        names |= ROUND_NAMES
    if step.until is not None and place[0] not in ("foreach", "when"):
        names |= {LAST_NAME}
    return names


def _template(
    workflow: Workflow, place: Place, text: str, above: frozenset[str], names: frozenset[str]
) -> Iterator[Problem]:
    try:
        said = references(text)
    except TemplateInvalid as error:
        yield Problem(place, str(error))
        return
    for message in _unknown(workflow, said, above, names):
        yield Problem(place, message)


def _unknown(
    workflow: Workflow, said: References, above: frozenset[str], names: frozenset[str]
) -> Iterator[str]:
    for name in sorted(said.roots - names):
        yield f"a template names {name}{nearest(name, sorted(names))}"
    if said.steps_unclear:
        yield "a template names steps without saying which: write it out, as in steps.plan.output"
    missing = sorted(said.steps - above)
    known = [step.id for step in workflow.steps] if missing else []
    for step_id in missing:
        if step_id in known:
            yield f"a template names {step_id}, which may not have run yet: write it into needs"
        else:
            yield f"a template names {step_id}, which is no step{nearest(step_id, known)}"
    for name in sorted(said.inputs - workflow.input.keys()):
        yield f"a template names input.{name}, which is no input{nearest(name, [*workflow.input])}"


def _never(workflow: Workflow, graph: StepGraph) -> Iterator[Problem]:
    """Steps that no run reaches: their `when` is false, or what they need never runs."""
    switched_off = {step.id for step in workflow.steps if step.when is False}
    for index, step in enumerate(workflow.steps):
        if step.id in switched_off:
            yield Problem(("steps", index, "when"), f"{step.id} never runs: remove it, or its when")
        elif behind := sorted(graph.above(step.id) & switched_off):
            yield Problem(
                ("steps", index, "needs"), f"{step.id} is never reached: {behind[0]} never runs"
            )


def _defaults(workflow: Workflow) -> Iterator[Problem]:
    for name, said in workflow.input.items():
        if said.default is not None and not said.fits(said.default):
            yield Problem(("input", name, "default"), f"the default of {name} is no {said.type}")


def _budgets(workflow: Workflow) -> Iterator[Problem]:
    of_run = {limit.identity: limit for limit in workflow.budget}
    moved: Counter[Dimension] = Counter()
    for index, step in enumerate(workflow.steps):
        for at, limit in enumerate(step.budget):
            above = of_run.get(limit.identity)
            if above is not None and limit.amount > above.amount:
                yield Problem(
                    ("steps", index, "budget", at),
                    f"{step.id} may spend {_amount(limit)} and its run {_amount(above)}: "
                    "a step's limit is at most its run's",
                )
        if not step.guaranteed:
            continue
        moved.update({each.dimension: each.amount for each in step.budget if _is_total(each)})
        if not step.budget:
            yield Problem(
                ("steps", index, "guaranteed"),
                f"{step.id} has no budget that could be guaranteed: write one",
            )
    for limit in filter(_is_total, workflow.budget):
        of_steps = moved[limit.dimension]
        if of_steps > limit.amount:
            told = _amount_of(of_steps, limit.dimension)
            message = f"{told} are guaranteed to steps, and the run has {_amount(limit)}"
            yield Problem(("budget",), message)


def _is_total(limit: Limit) -> bool:
    """Whether it is one that can be moved, and says how much there is in all."""
    return limit.window == "total" and moves_aside(limit)


def _amount(limit: Limit) -> str:
    return _amount_of(limit.amount, limit.dimension)


def _amount_of(amount: int, dimension: Dimension) -> str:
    return f"{dollars(amount) if dimension == 'usd' else amount} {dimension}"


def _models(workflow: Workflow, known: Collection[str] | None) -> Iterator[Problem]:
    default = workflow.defaults.model
    if default is not None:
        yield from _model(default, known, ("defaults", "model"))
    for index, step in enumerate(workflow.steps):
        place: Place = ("steps", index)
        for at, name in enumerate(step.models):
            yield from _pattern(name, known, (*place, "models", at))
        call = step.action.call(default)
        if call is None:
            continue
        if call.model is None:
            yield Problem(
                (*place, step.action.kind),
                f"{step.id} names no model: write one into it, or into defaults",
            )
            continue
        if call.model != default:
            yield from _model(call.model, known, (*place, step.action.kind, "model"))
        if step.models and not any(fnmatchcase(call.model, each) for each in step.models):
            yield Problem(
                (*place, "models"), f"{step.id} asks {call.model}, which is none of its models"
            )


def _pattern(name: str, known: Collection[str] | None, place: Place) -> Iterator[Problem]:
    """Of a list as keys have it, where `openai/*` stands for all that begin so."""
    if known is None or not any(fnmatchcase(each, name) for each in known):
        yield from _model(name, known, place)


def _model(name: str, known: Collection[str] | None, place: Place) -> Iterator[Problem]:
    if known is not None and name not in known:
        yield Problem(place, f"{name} is no model that may be asked{nearest(name, sorted(known))}")
