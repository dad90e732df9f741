"""Workflow files: read and checked, with those that they start; every complaint has its line."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from comptroller.document import (
    ConfigInvalid,
    DecimalText,
    Value,
    Written,
    document_of,
    read_written,
)
from orchestrator.checks import problems_of
from orchestrator.definition import Workflow, read_definition
from orchestrator.kinds.workflow import SubWorkflow
from orchestrator.problems import DefinitionInvalid, Place, Problem, nearest
from orchestrator.templates import is_template

SUFFIXES = (".yaml", ".yml", ".json")
DEPTH_MAX = 8
"""Workflows inside workflows."""


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """`inside`: those that its steps start, by the step; `depth`: how many are inside each other
    there, 0 where none is."""

    path: Path
    workflow: Workflow
    inside: "dict[str, WorkflowFile]"
    depth: int


class WorkflowInvalid(ValueError):
    """One or more files cannot run; a line for each reason."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def read_workflow(path: Path, models: Collection[str] | None) -> WorkflowFile:
    """`models`: those that may be asked, None where nobody knows. Raises WorkflowInvalid."""
    return _Reading(models).read(path, ())


@dataclass(frozen=True, slots=True)
class _Reading:
    """Of a file and those inside it, each of them once: a step for each of 1,000 workflows that
    have 1,000 such steps would else be read a million times. `known`: None for one that cannot run,
    which has been said."""

    models: Collection[str] | None
    known: dict[Path, WorkflowFile | None] = field(default_factory=dict)

    def read(self, path: Path, above: tuple[Path, ...]) -> WorkflowFile:
        """`above`: the files that start it. Raises WorkflowInvalid."""
        document, workflow = _read(path)
        lines = list(_lines(document, problems_of(workflow, self.models)))
        inside: dict[str, WorkflowFile] = {}
        for index, step in enumerate(workflow.steps):
            if isinstance(step.action, SubWorkflow) and step.action.name.endswith(SUFFIXES):
                try:
                    found = self._inside(path, step.action, (*above, path))
                    if found is not None:
                        inside[step.id] = found
                except WorkflowInvalid as error:
                    lines += error.lines
                except ConfigInvalid as error:
                    place = ("steps", index, "workflow")
                    lines.append(str(_value_at(document, place).error(str(error))))
        if lines:
            raise WorkflowInvalid(tuple(lines))
        depth = max((1 + each.depth for each in inside.values()), default=0)
        return WorkflowFile(path, workflow, inside, depth)

    def _inside(
        self, path: Path, action: SubWorkflow, above: tuple[Path, ...]
    ) -> WorkflowFile | None:
        """None for one that cannot run, which has been said. Raises ConfigInvalid for what the
        outer file has to say differently."""
        if Path(action.name).is_absolute() or ".." in Path(action.name).parts:
            raise ConfigInvalid(f"{action.name} is not beside this file, or in a folder there")
        file = path.parent / action.name
        if not _is_file(file):
            raise ConfigInvalid(f"there is no file {file}")
        if any(file.samefile(each) for each in above):
            raise ConfigInvalid(f"{file} starts itself, and would without end")
        _check_depth(len(above))  # before it is read: a chain may have any length
        name = file.resolve()
        if name not in self.known:
            self.known[name] = None
            self.known[name] = self.read(file, above)
        found = self.known[name]
        if found is not None:
            _check_depth(len(above) + found.depth)  # it may have been read for one further up
            _check_input(file, found.workflow, action)
        return found


def _read(path: Path) -> tuple[Value, Workflow]:
    """The document and what it says. Raises WorkflowInvalid."""
    try:
        document, said = _written(path)
    except ConfigInvalid as error:
        raise WorkflowInvalid((str(error),)) from None
    try:
        return document, read_definition(_with_numbers(said))
    except DefinitionInvalid as error:
        raise WorkflowInvalid(_lines(document, error.problems)) from None


def _written(path: Path) -> tuple[Value, object]:
    """The tree that knows the lines, and the plain values. Raises ConfigInvalid."""
    written = read_written(path)
    is_json = path.suffix == ".json"
    if is_json:  # tabs are JSON's between values, and not YAML's
        written = Written(written.file, written.text.replace("\t", " "))
    document = document_of(written)
    if document is None:
        message = "empty: a workflow has a name, a budget and steps"
        raise ConfigInvalid(message, file=written.file, line=1)
    return document, _json(written) if is_json else document.plain()


def _json(written: Written) -> object:
    """What JSON's own readers have, where they and YAML's differ: 1e5 is a number, and a pair of
    escapes one character. Raises ConfigInvalid."""
    try:
        return json.loads(written.text, parse_float=DecimalText)
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg}"
        raise ConfigInvalid(message, file=written.file, line=error.lineno) from None


def _with_numbers(value: object, place: Place = ()) -> object:
    """With floats for decimals, but for money, which stays as it was written."""
    if place == ("budget",) or (len(place) == 3 and place[::2] == ("steps", "budget")):
        return value
    if isinstance(value, dict):
        return {name: _with_numbers(each, (*place, name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_numbers(each, (*place, index)) for index, each in enumerate(value)]
    return float(value) if isinstance(value, DecimalText) else value


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long, a folder that may not be read
        return False


def _check_depth(depth: int) -> None:
    """Raises ConfigInvalid."""
    if depth > DEPTH_MAX:
        raise ConfigInvalid(f"workflows are at most {DEPTH_MAX} deep inside each other")


def _check_input(file: Path, workflow: Workflow, action: SubWorkflow) -> None:
    """Raises ConfigInvalid."""
    for name, value in action.input.items():
        if name not in workflow.input:
            raise ConfigInvalid(f"{file} has no input {name}{nearest(name, [*workflow.input])}")
        is_known = not (isinstance(value, str) and is_template(value))
        if is_known and not workflow.input[name].fits(value):
            raise ConfigInvalid(f"{file} wants {name} as {workflow.input[name].type}")
    for name, said in workflow.input.items():
        if said.required and said.default is None and name not in action.input:
            raise ConfigInvalid(f"{file} needs the input {name}: write it into workflow.input")


def _lines(document: Value, problems: tuple[Problem, ...]) -> tuple[str, ...]:
    return tuple(str(_value_at(document, each.place).error(each.message)) for each in problems)


def _value_at(value: Value, place: Place) -> Value:
    """The innermost value that is written there: a short form ends before its place
    does, or is the list that its place names by a field."""
    for each in place:
        content = value.content
        if isinstance(content, dict) and each in content:
            value = content[str(each)]
        elif isinstance(content, list) and isinstance(each, int) and each < len(content):
            value = content[each]
        elif not (isinstance(content, list) and isinstance(each, str)):
            break
    return value
