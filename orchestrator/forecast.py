"""What a run can cost at most, before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from orchestrator.definition import Step, Workflow, total_nusd

BoundBy = Literal["calls", "budget", "run"]
CallCeiling = Callable[[str, int | None], int | None]
"""Nano-dollars of the dearest single call of a model with that output cap, whatever it is asked;
None where nobody knows."""
_NONE_INSIDE: Mapping[str, int | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StepForecast:
    """`ceiling_nusd`: what the step cannot cost more than; None where no amount of money bounds it.
    `bound_by`: what says so: the dearest calls that it can make, its own budget, or its run's; None
    with the ceiling."""

    step_id: str
    ceiling_nusd: int | None
    bound_by: BoundBy | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """`ceiling_nusd`: of all steps together, and never more than the run's budget."""

    steps: tuple[StepForecast, ...]
    ceiling_nusd: int | None


def forecast(
    workflow: Workflow, call_ceiling: CallCeiling, inside: Mapping[str, int | None] = _NONE_INSIDE
) -> Forecast:
    """Every step at its dearest: each attempt fails at its end, each round is the last allowed.
    `inside`: ceilings of the runs that steps start, by the step, where they are known."""
    of_run = total_nusd(workflow.budget)
    steps = tuple(
        _step(workflow, step, of_run, _one_nusd(workflow, step, call_ceiling, inside))
        for step in workflow.steps
    )
    ceilings = [each.ceiling_nusd for each in steps]
    known = [each for each in ceilings if each is not None]
    total = sum(known) if len(known) == len(ceilings) else of_run
    if total is not None and of_run is not None:
        total = min(total, of_run)
    return Forecast(steps, total)


def _step(workflow: Workflow, step: Step, of_run: int | None, one: int | None) -> StepForecast:
    """`one`: of one attempt."""
    bounds: list[tuple[int, BoundBy]] = []
    times = 0 if one == 0 else _times(workflow, step)  # what costs nothing may be done at will
    if one is not None and times is not None:
        bounds.append((one * times, "calls"))
    own = total_nusd(step.budget)
    if own is not None:
        bounds.append((own, "budget"))
    if of_run is not None:
        bounds.append((of_run, "run"))
    if not bounds:
        return StepForecast(step.id, None, None)
    ceiling, by = min(bounds, key=lambda each: each[0])
    return StepForecast(step.id, ceiling, by)


def _one_nusd(
    workflow: Workflow, step: Step, call_ceiling: CallCeiling, inside: Mapping[str, int | None]
) -> int | None:
    """What one attempt can cost; None for a program's, which makes as many calls as it likes."""
    if step.action.is_free:
        return 0
    call = step.action.call(workflow.defaults.model)
    if call is None:
        return inside.get(step.id)
    return None if call.model is None else call_ceiling(call.model, call.max_tokens)


def _times(workflow: Workflow, step: Step) -> int | None:
    """How many attempts it can have in all; None where an output says so."""
    entries = 1
    if step.foreach is not None:
        if isinstance(step.foreach.items, str):
            return None
        entries = len(step.foreach.items)
    rounds = 1 if step.until is None else step.until.most
    return entries * rounds * (1 + workflow.retries_of(step).most)
