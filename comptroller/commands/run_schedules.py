"""`comptroller run schedule`, `schedules`, `unschedule`: workflows that run by the clock."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json, Organisation
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import Column, field, show_pairs, show_rows, time_text
from comptroller.commands.run_inputs import FileArgument
from comptroller.commands.runs import (
    InputFile,
    InputOption,
    ScopeOption,
    problems_told,
    to_run,
)
from comptroller.exits import USAGE_ERROR

_LIST = "comptroller run schedules"
_SCHEDULE = "comptroller run schedule --help"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
OfSchedule = Annotated[
    str, typer.Option("--organisation", help="Whose schedule, where several have this name.")
]


@told()
def schedule_command(  # noqa: PLR0913, PLR0917  # options of a command
    file: FileArgument,
    scope: ScopeOption,
    cron: Annotated[str, typer.Option(help="Five fields, as in '0 6 * * *'.")],
    name: Annotated[str, typer.Option(help="One of this name is replaced.")],
    zone: Annotated[str, typer.Option(help="A time zone, as in Europe/Berlin.")] = "UTC",
    given: InputOption = None,
    input_file: InputFile = None,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Submit runs of a workflow again and again, by the clock."""
    document = to_run(file, scope, given, input_file)
    document |= {"name": name, "cron": cron, "zone": zone}
    with admin(admin_url, data_dir, _LIST, usage=_SCHEDULE) as client, problems_told():
        found = client.put_schedule(document)
    _show(found, as_json=as_json)


@told()
def schedules_command(
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List schedules, with when they are due and their last run."""
    with admin(admin_url, data_dir, _LIST) as client:
        rows = list(client.schedules(organisation))
    show_rows(rows, _COLUMNS, as_json=as_json)


@told()
def unschedule_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A schedule's name.")],
    organisation: OfSchedule = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove a schedule; runs that it has submitted go on."""
    decide_schedule(name, "", organisation, (admin_url, data_dir), as_json=as_json)


def decide_schedule(
    name: str, act: str, organisation: str, where: tuple[str, str | None], *, as_json: bool
) -> None:
    """`act` as the API names it; empty: it is removed."""
    if not _NAME.fullmatch(name):
        raise CommandFailed(f"{name[:60]!r} is no name of a schedule", _LIST, USAGE_ERROR)
    with admin(*where, _LIST) as client:
        found = client.decide_schedule(name, act, organisation)
    _show(found, as_json=as_json)


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    pairs = [(name.removesuffix("_ms"), _text(name, value)) for name, value in found.items()]
    show_pairs(pairs, found, as_json=as_json)


def _text(name: str, value: object) -> object:
    return time_text(value) if name.endswith("_ms") else value


_COLUMNS = (
    field("name", is_id=True),
    *map(field, ("workflow", "scope", "cron", "zone")),
    Column("next", lambda row: "paused" if row["is_paused"] else time_text(row["next_ms"])),
    field("last_run", "last run", is_id=True),
    field("by"),
    field("error"),
)
