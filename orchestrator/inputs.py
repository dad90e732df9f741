"""What a run is given: checked against what its workflow asks for. Pure."""

from collections.abc import Mapping
from typing import Any

from orchestrator.definition import Workflow
from orchestrator.plain import not_plain
from orchestrator.problems import DefinitionInvalid, Problem, nearest


def filled(workflow: Workflow, given: object) -> dict[str, Any]:
    """With defaults. Raises DefinitionInvalid, with places below `input`."""
    if not isinstance(given, Mapping):
        raise DefinitionInvalid((Problem(("input",), "an input is a mapping of names to values"),))
    if problem := not_plain(dict(given)):
        raise DefinitionInvalid((Problem(("input", *problem.place), problem.message),))
    problems = [*_unknown(workflow, given)]
    values: dict[str, Any] = {}
    for name, said in workflow.input.items():
        value = given.get(name, said.default)
        if value is None:
            if said.required:
                message = f"{workflow.name} needs the input {name} ({said.type})"
                problems.append(Problem(("input",), message))
        elif not said.fits(value):
            problems.append(Problem(("input", name), f"{name} is to be {said.type}"))
        values[name] = value
    if problems:
        raise DefinitionInvalid(tuple(problems))
    return values


def _unknown(workflow: Workflow, given: Mapping[str, Any]) -> list[Problem]:
    known = [*workflow.input]
    return [
        Problem(("input",), f"{workflow.name} has no input {name}{nearest(str(name), known)}")
        for name in given
        if name not in workflow.input
    ]
