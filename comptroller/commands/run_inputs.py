"""What people write of runs: a file, `topic=x`, `search[3]`, an id."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.outcome import CommandFailed, printable
from comptroller.exits import USAGE_ERROR
from orchestrator.places import RUN_ID, STEP_ID

if TYPE_CHECKING:
    from comptroller.workflow_files import WorkflowFile

LIST = "comptroller run list"
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow, as YAML or JSON.")]
_RUN = re.compile(RUN_ID)
_STEP = re.compile(rf"({STEP_ID})(?:\[([0-9]{{1,6}})\])?")


def run_id(text: str) -> str:
    """What could be one: anything else might name another call. Raises CommandFailed."""
    if not _RUN.fullmatch(text):
        raise CommandFailed(f"{text[:60]!r} is no id of a run", LIST, USAGE_ERROR)
    return text


def workflow_in(file: Path, models: set[str] | None, options: str = "") -> "WorkflowFile":
    """A workflow that can run. `models`: those that there are, None where others know;
    `options`: of `run check`, that shows the same again. Raises CommandFailed (2), after a line for
    each reason."""
    from comptroller.workflow_files import WorkflowInvalid, read_workflow

    try:
        found = read_workflow(file, models)
        found.bundle()
    except WorkflowInvalid as error:
        for line in error.lines:
            typer.echo(printable(line), err=True)
        message = f"{file} cannot run, for the reasons above ({len(error.lines)})"
        again = f"comptroller run check {file}{options}"
        raise CommandFailed(message, again, USAGE_ERROR) from None
    return found


def step_of(text: str, run: str) -> tuple[str, int | None]:
    """`search`, or an entry as in `search[3]`. Raises CommandFailed."""
    found = _STEP.fullmatch(text)
    if found is None:
        look = f"comptroller run show {run}"
        raise CommandFailed(
            f"{text[:60]!r} is no step, as in search or search[3]", look, USAGE_ERROR
        )
    return found[1], None if found[2] is None else int(found[2])


def inputs(
    texts: list[str], file: Path | None, is_text: Callable[[str], bool], again: str
) -> dict[str, Any]:
    """Of a JSON file, and over it `name=value`, whose values are texts, or JSON. Raises
    CommandFailed (2)."""
    values = _of_file(file, again) if file else {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            message = f"--input is name=value, not {text[:60]!r}"
            raise CommandFailed(message, again, USAGE_ERROR)
        values[name] = value if is_text(name) else _json(name, value, again)
    return values


def _of_file(file: Path, again: str) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        message = f"{file} cannot be read as JSON: {error}"
        raise CommandFailed(message, again, USAGE_ERROR) from None
    if not isinstance(values, dict):
        raise CommandFailed(f"{file} is an object of inputs by name", again, USAGE_ERROR)
    return values


def _json(name: str, value: str, again: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        message = f"{name} is no text: write it as JSON, as in {name}=5 or {name}='[\"a\"]'"
        raise CommandFailed(message, again, USAGE_ERROR) from None
