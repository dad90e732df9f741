"""A workflow as a request brings it: read, checked, and whether its caller may have it run."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from budgets.policy import SEGMENTS_MAX
from console.errors import BodyTooLarge, InvalidRequest, ProgramsNotAllowed
from console.token_store import Token
from orchestrator.bundle import BUNDLE_BYTES_MAX, Bundle, read_bundle
from orchestrator.bundle_checks import bundle_problems, programs_of, segments_below
from orchestrator.plain import VALUES_MAX
from orchestrator.problems import DefinitionInvalid

DEPTH_MAX = 128
"""Of all of it: workflows inside workflows, and what may be nested in each."""
_INSIDE: Mapping[tuple[str, str], str] = {
    ("bundle", "workflow"): "workflow",
    ("bundle", "files"): "files",
    ("workflow", "budget"): "money",
    ("workflow", "steps"): "steps",
    ("step", "budget"): "money",
}
_INSIDE_ANY: Mapping[str, str] = {"files": "bundle", "steps": "step", "money": "money"}


def read(document: object, models: Collection[str] | None) -> Bundle:
    """Raises DefinitionInvalid with all that is wrong, InvalidRequest. Takes as long as it is
    large: not for the loop."""
    bundle = read_bundle(plain(document, "bundle"))
    if len(bundle.text) > BUNDLE_BYTES_MAX:
        most = f"{BUNDLE_BYTES_MAX // 2**20} MiB"
        raise BodyTooLarge(f"a definition has at most {most}, as JSON", param="definition")
    if problems := bundle_problems(bundle, models):
        raise DefinitionInvalid(problems)
    return bundle


def plain(document: object, kind: str = "") -> Any:  # noqa: ANN401  # JSON
    """The same with floats for decimals, but for money, which stays as it was written. Raises
    InvalidRequest for what is nested too deep, or has too many values."""
    return _Plain().of(document, kind, 0)


class _Plain:
    def __init__(self) -> None:
        self._left = VALUES_MAX

    def of(self, value: object, kind: str, depth: int) -> object:
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest(f"a definition or input has at most {VALUES_MAX} values")
        if depth > DEPTH_MAX:
            raise InvalidRequest(f"a definition or input is nested at most {DEPTH_MAX} deep")
        if isinstance(value, dict):
            return {
                name: self.of(each, _INSIDE.get((kind, name), _INSIDE_ANY.get(kind, "")), depth + 1)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self.of(each, _INSIDE_ANY.get(kind, ""), depth + 1) for each in value]
        if isinstance(value, Decimal):
            return str(value) if kind == "money" else float(value)
        return value


def check_scope_holds(scope: str, bundle: Bundle) -> None:
    """Whether there is room below it for what the workflow's runs need. Raises InvalidRequest."""
    own, below = scope.count("/") + 1, segments_below(bundle)
    if own + below > SEGMENTS_MAX:
        raise InvalidRequest(
            f"a scope has at most {SEGMENTS_MAX} segments, and a run of {bundle.workflow.name} "
            f"needs {below} below its project's, which has {own}: submit it further up",
            param="scope",
        )


def kept_folder(caller: Token, bundle: Bundle, folder: str, programs_folder: Path | None) -> str:
    """What is kept of the folder that a definition comes from: it, where its programs may be run;
    else nothing, so that workflows which it starts by name run none there. Raises
    ProgramsNotAllowed."""
    is_allowed = not caller.organisation and _is_inside(folder, programs_folder)
    programs = sorted(set(programs_of(bundle)))
    if is_allowed or not programs:
        return folder if is_allowed else ""
    steps = ", ".join(programs[:8])
    raise ProgramsNotAllowed(
        f"{steps} would run programs on this server: {_why_not(caller, programs_folder)}",
        param="definition",
    )


def _why_not(caller: Token, programs_folder: Path | None) -> str:
    if programs_folder is None:
        return "it runs none; start it with the folder whose may: `comptroller up --workflows .`"
    if caller.organisation:
        return (
            f"token {caller.name} is for the organisation {caller.organisation} only; a token for "
            "all organisations may have them run"
        )
    return f"only those of workflows in {programs_folder} are run; submit the file from there"


def _is_inside(folder: str, programs_folder: Path | None) -> bool:
    if programs_folder is None or not folder.startswith("/"):
        return False
    try:
        return Path(folder).resolve().is_relative_to(programs_folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
        return False
