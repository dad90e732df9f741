"""Workflows written in Python: the same definition as in YAML, with functions as its steps.

report = Workflow("report", budget=[{"usd": "2.00"}], input={"topic": {"type": "string"}})
report.add("plan", prompt="Outline a report on {{ input.topic }}")

@report.step(needs=["plan"], arguments={"outline": "{{ steps.plan.output }}"})
def write(outline: str) -> str:
    ...
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from orchestrator.definition import Workflow as Definition
from orchestrator.definition import read_definition

_Function = TypeVar("_Function", bound=Callable[..., Any])
_CALLER = 2
"""Frames from `_note` to who has written the step."""


class Workflow:
    """`fields`, of this and of its steps, are those of the definition (docs/workflows.md). `lines`:
    where in its file each step is written, for complaints."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.lines: list[int] = []
        self._fields: Mapping[str, Any] = {"name": name, **fields}
        self._steps: list[dict[str, Any]] = []

    def add(self, id: str, **fields: Any) -> None:  # noqa: A002  # as a definition has it
        """A step of any kind: `add("plan", prompt="...", needs=[...])`."""
        self._note({"id": id, **fields})

    def step(
        self, *, arguments: Mapping[str, Any] | None = None, **fields: Any
    ) -> Callable[[_Function], _Function]:
        """A function that is a step, named as it is: it is called in a process of its own, with
        `arguments`, and what it returns is the step's output. It must be at the top of its file."""

        def decorated(function: _Function) -> _Function:
            if "." in function.__qualname__:
                raise ValueError(f"{function.__name__} must stand at the top of its file")
            called: dict[str, Any] = {"function": f"{function.__module__}:{function.__qualname__}"}
            if arguments:
                called["arguments"] = dict(arguments)
            self._note({"id": function.__name__, "python": called, **fields})
            return function

        return decorated

    @property
    def document(self) -> dict[str, Any]:
        """As YAML or JSON would have it."""
        return {**self._fields, "steps": list(self._steps)}

    def definition(self) -> Definition:
        """Raises DefinitionInvalid for its form."""
        return read_definition(self.document)

    def _note(self, step: dict[str, Any]) -> None:
        self._steps.append(step)
        self.lines.append(sys._getframe(_CALLER).f_lineno)  # noqa: SLF001  # CPython's own way
