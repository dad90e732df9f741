"""Definitions for tests: the shortest ones that are accepted, and more of them on demand."""

from typing import Any

from orchestrator.checks import problems_of
from orchestrator.definition import Workflow, read_definition
from orchestrator.problems import DefinitionInvalid, Problem

USD = [{"usd": "1.00"}]


def of_steps(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A workflow of these steps, with a budget and a model."""
    return {
        "name": "w",
        "budget": USD,
        "defaults": {"model": "m"},
        "steps": list(steps),
        **fields,
    }


def step(step_id: str = "a", *needs: str, **fields: Any) -> dict[str, Any]:
    """A step that sleeps, where no other kind is given."""
    kinds = {"prompt", "command", "python", "http", "approval", "workflow", "sleep"}
    return {"id": step_id, "needs": list(needs), **fields} | (
        {} if kinds & fields.keys() else {"sleep": "1s"}
    )


def read(*steps: dict[str, Any], **fields: Any) -> Workflow:
    """The same, read."""
    return read_definition(of_steps(*steps, **fields))


def complaints(*steps: dict[str, Any], **fields: Any) -> list[Problem]:
    """What the checks say of it, where nobody knows which models there are."""
    return list(problems_of(read(*steps, **fields), None))


def refused(document: object) -> list[Problem]:
    """What is wrong with its form; none where nothing is."""
    try:
        read_definition(document)
    except DefinitionInvalid as error:
        return list(error.problems)
    return []
