"""Workflows in Python files: the file is run, as its author would run it, and the one
`orchestrator.authoring.Workflow` that it has is read."""

import contextlib
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from comptroller.document import ConfigInvalid, Value
from orchestrator.authoring import Workflow

SUFFIX = ".py"


def read_python(path: Path) -> tuple[Value, object]:
    """A tree that knows the lines of its steps, and the plain values. What it prints goes to
    stderr. Raises ConfigInvalid."""
    workflow = _only(path, _run(path))
    document = workflow.document
    steps = [
        _tree(f"step {n + 1}", step, path, line)
        for n, (step, line) in enumerate(zip(document["steps"], workflow.lines, strict=True))
    ]
    whole = _tree("the workflow", {**document, "steps": []}, path, 1)
    assert isinstance(whole.content, dict)
    fields = {**whole.content, "steps": Value("steps", str(path), 1, steps)}
    return Value("the workflow", str(path), 1, fields), document


def _run(path: Path) -> dict[str, Any]:
    """Its names. Functions in it have its own name as their module, as where a step calls them."""
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return runpy.run_path(str(path), run_name=path.stem)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever its author has written
        frames = traceback.extract_tb(error.__traceback__)
        lines = [each.lineno or 0 for each in frames if each.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 0)
        what = f"{type(error).__name__}: {error}"
        raise ConfigInvalid(what, file=str(path), line=line) from None
    finally:
        sys.path.remove(folder)


def _only(path: Path, names: dict[str, Any]) -> Workflow:
    found = {id(each): each for each in names.values() if isinstance(each, Workflow)}
    if len(found) != 1:
        message = f"a file has one Workflow of orchestrator.authoring; this one has {len(found)}"
        raise ConfigInvalid(message, file=str(path), line=1)
    return next(iter(found.values()))


def _tree(name: str, said: Any, path: Path, line: int) -> Value:  # noqa: ANN401  # of its author
    content = said
    if isinstance(said, dict):
        content = {str(each): _tree(str(each), value, path, line) for each, value in said.items()}
    elif isinstance(said, list | tuple):
        content = [_tree(name, each, path, line) for each in said]
    return Value(name, str(path), line, content)
