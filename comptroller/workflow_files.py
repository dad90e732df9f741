"""Workflow files: read and checked, with those that they start; every complaint has its line."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comptroller.document import (
    ConfigInvalid,
    DecimalText,
    Value,
    Written,
    document_of,
    read_written,
)
from comptroller.python_workflows import SUFFIX, read_python
from orchestrator.bundle import BUNDLE_BYTES_MAX, DEPTH_MAX
from orchestrator.bundle_checks import input_complaint, is_file
from orchestrator.checks import problems_of
from orchestrator.definition import Workflow, read_definition
from orchestrator.kinds.workflow import SubWorkflow
from orchestrator.problems import DefinitionInvalid, Place, Problem


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """`inside`: those that its steps start, by the step; `depth`: how many are inside each other
    there, 0 where none is; `document`: the plain values that it says, as JSON has them."""

    path: Path
    workflow: Workflow
    inside: "dict[str, WorkflowFile]"
    depth: int
    document: object = field(repr=False, default=None)

    def bundle(self) -> dict[str, Any]:
        """As it is submitted (`orchestrator.bundle`): with the files inside, by the name that a
        step gives. Raises WorkflowInvalid where that is too much."""
        if _bundle_bytes(self, {}) > BUNDLE_BYTES_MAX:
            limit = f"{BUNDLE_BYTES_MAX // 2**20} MiB"
            message = f"{self.path}: with the files inside it has more than {limit}: make it less"
            raise WorkflowInvalid((message,))
        return _bundled(self, {})


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
        document, said, workflow = _read(path)
        lines = list(_lines(document, problems_of(workflow, self.models)))
        inside: dict[str, WorkflowFile] = {}
        for index, step in enumerate(workflow.steps):
            if isinstance(step.action, SubWorkflow) and is_file(step.action):
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
        return WorkflowFile(path, workflow, inside, depth, said)

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
            if message := input_complaint(str(file), found.workflow, action):
                raise ConfigInvalid(message)
        return found


def _read(path: Path) -> tuple[Value, object, Workflow]:
    """The tree that knows the lines, the plain values and what they say. Raises WorkflowInvalid."""
    try:
        document, said = _written(path)
    except ConfigInvalid as error:
        raise WorkflowInvalid((str(error),)) from None
    try:
        plain = _with_numbers(said)
        return document, plain, read_definition(plain)
    except DefinitionInvalid as error:
        raise WorkflowInvalid(_lines(document, error.problems)) from None


def _bundle_bytes(file: WorkflowFile, known: dict[Path, int]) -> int:
    """How long it is: one that is inside many counts as often, and is looked at once."""
    if file.path not in known:
        known[file.path] = len(json.dumps(file.document)) + sum(
            _bundle_bytes(each, known) for each in _by_name(file).values()
        )
    return known[file.path]


def _bundled(file: WorkflowFile, known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    if file.path not in known:
        files = {name: _bundled(each, known) for name, each in _by_name(file).items()}
        known[file.path] = {"workflow": file.document, **({"files": files} if files else {})}
    return known[file.path]


def _by_name(file: WorkflowFile) -> dict[str, WorkflowFile]:
    """Those inside, by what its steps call them."""
    actions = {step.id: step.action for step in file.workflow.steps}
    return {str(getattr(actions[each], "name", "")): found for each, found in file.inside.items()}


def _written(path: Path) -> tuple[Value, object]:
    """The tree that knows the lines, and the plain values. Raises ConfigInvalid."""
    if path.suffix == SUFFIX and _is_file(path):
        return read_python(path)
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
