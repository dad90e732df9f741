"""What is to be run, as requests bring it: now, or again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from console import definitions
from console.parts import Parts
from console.scopes import check_open
from console.token_store import Token
from console.wire import SCOPE_CHARS_MAX, Wanted
from orchestrator.bundle import Bundle
from orchestrator.inputs import filled

FOLDER_CHARS_MAX = 4_096


class WorkflowWanted(Wanted):
    """A workflow to be run: `definition`: `{workflow, files?}`; `folder`: where the definition is
    from, for its programs."""

    scope: Annotated[str, Field(min_length=1, max_length=SCOPE_CHARS_MAX)]
    definition: dict[str, Any]
    input: dict[str, Any] = Field(default_factory=dict)
    folder: Annotated[str, Field(max_length=FOLDER_CHARS_MAX)] = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """One that may run. `given`: with defaults; `folder`: what is kept of it."""

    bundle: Bundle
    given: Mapping[str, Any]
    folder: str


def checked(parts: Parts, caller: Token, wanted: WorkflowWanted) -> Checked:
    """Takes as long as it is large: not for the loop. Raises DefinitionInvalid, ConsoleError."""
    workflows = parts.workflows
    bundle = definitions.read(wanted.definition, workflows.models())
    definitions.check_scope_holds(wanted.scope, bundle)
    folder = definitions.kept_folder(caller, bundle, wanted.folder, workflows.programs_folder)
    return Checked(bundle, filled(bundle.workflow, definitions.plain(wanted.input)), folder)


async def begin_below(parts: Parts, scope: str) -> None:
    """An organisation that is new is created. Raises Conflict where nothing may begin."""
    await parts.session.begin_organisation(scope.split("/", 1)[0])
    await check_open(parts, scope)
