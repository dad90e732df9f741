"""A workflow as it is submitted: its definition, and those of the files that its steps start. Pure.

`{"workflow": {...}, "files": {"publish.yaml": {"workflow": {...}}}}`
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from orchestrator.definition import Workflow, read_definition
from orchestrator.problems import PROBLEMS_MAX, DefinitionInvalid, Problem

BUNDLE_BYTES_MAX = 4 * 1024 * 1024
DEPTH_MAX = 3
"""Workflows inside workflows: a scope has 16 segments, and each run takes three of them."""
_FIELDS = frozenset(("workflow", "files"))


@dataclass(frozen=True, slots=True)
class Bundle:
    """`files`: by the name that a step gives; `document`: all of it, as JSON has it."""

    workflow: Workflow
    files: "Mapping[str, Bundle]"
    document: Mapping[str, Any] = field(repr=False)

    @property
    def text(self) -> str:
        """What is kept of it: the same for the same definition."""
        return json.dumps(self.document, sort_keys=True, separators=(",", ":"))

    def definition_id(self, organisation: str, folder: str) -> str:
        """Of this definition in an organisation: another text is another definition."""
        parts = f"{organisation}\n{self.workflow.name}\n{folder}\n{self.text}"
        return sha256(parts.encode()).hexdigest()


def read_bundle(document: object, depth: int = 0) -> Bundle:
    """Of the plain values of a document. Raises DefinitionInvalid with all that is wrong with its
    form: places are those of the workflow, and of a file inside `("files", <name>, ...)`."""
    if not isinstance(document, dict) or not document.keys() <= _FIELDS:
        raise DefinitionInvalid((Problem((), "a definition has the fields workflow and files"),))
    if depth > DEPTH_MAX:
        message = f"workflows are at most {DEPTH_MAX} deep inside each other"
        raise DefinitionInvalid((Problem(("files",), message),))
    given = document.get("files", {})
    if not isinstance(given, dict):
        raise DefinitionInvalid((Problem(("files",), "files has a definition for each name"),))
    problems: list[Problem] = []
    files: dict[str, Bundle] = {}
    for name, each in given.items():
        try:
            files[name] = read_bundle(each, depth + 1)
        except DefinitionInvalid as error:
            problems += in_file(name, error.problems)
    try:
        workflow = read_definition(document.get("workflow"))
    except DefinitionInvalid as error:
        raise DefinitionInvalid((*error.problems, *problems)[:PROBLEMS_MAX]) from None
    if problems:
        raise DefinitionInvalid(tuple(problems[:PROBLEMS_MAX]))
    return Bundle(workflow, files, document)


def in_file(name: str, problems: Iterable[Problem]) -> list[Problem]:
    """The same, as the workflow says it that the file is inside of."""
    return [Problem(("files", name, *each.place), each.message) for each in problems]


def bundle_from(text: str) -> Bundle:
    """Of a text that was checked when it was submitted."""
    return read_bundle(json.loads(text))
