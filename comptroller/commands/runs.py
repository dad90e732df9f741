"""`comptroller run submit`, `list`, `show`, `watch`, `follow`, `output`, `history`, `compare`: runs
of a running stack. What is decided about them is in `comptroller.commands.run_decisions`."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import printable, told
from comptroller.commands.output import Column, field, show_pairs, show_rows, time_text
from comptroller.commands.run_inputs import (
    LIST,
    FileArgument,
    inputs,
    run_id,
    step_of,
    workflow_in,
)

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

LISTED = 50
_SUBMIT = "comptroller run submit --help"
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]
ScopeOption = Annotated[str, typer.Option(help="Where it spends, as in acme/research.")]
InputOption = Annotated[
    list[str] | None, typer.Option("--input", help="name=value; JSON where it is no text.")
]
InputFile = Annotated[
    Path | None, typer.Option("--input-file", help="A JSON file of inputs by name.")
]


@told()
def submit_command(  # noqa: PLR0913, PLR0917  # options of a command
    file: FileArgument,
    scope: ScopeOption,
    given: InputOption = None,
    input_file: InputFile = None,
    name: Annotated[str, typer.Option(help="The same submission under it is one run.")] = "",
    start_in: Annotated[str, typer.Option(help="Not before, as in 10m.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Submit a run of a workflow. With --watch the exit code says how it ended."""
    document = to_run(file, scope, given, input_file)
    document |= {key: each for key, each in (("name", name), ("start_in", start_in)) if each}
    with admin(admin_url, data_dir, LIST, usage=_SUBMIT) as client:
        with problems_told():
            run = client.submit_run(document)
        if not watch:
            show_pairs(_pairs(run), run, as_json=as_json)
            return
        typer.echo(f"run {run['id']}", err=True)
        _watched(client, run["id"], as_json=as_json)


@told()
def list_command(  # options of a command
    scope: Annotated[str, typer.Option(help="Only at this scope and below.")] = "",
    workflow: Annotated[str, typer.Option(help="Only of this workflow.")] = "",
    status: Annotated[str, typer.Option(help="Only those that are so: running, failed, ...")] = "",
    inside: Annotated[str, typer.Option(help="Those that steps of this run have started.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = LISTED,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    of = run_id(inside) if inside else ""
    with admin(admin_url, data_dir, LIST) as client:
        found = client.runs(scope=scope, workflow=workflow, status=status, inside=of)
        rows = list(islice(found, limit))
    show_rows(rows, _RUNS, as_json=as_json)


@told()
def show_command(
    run: RunArgument, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Show a run with its steps."""
    with admin(admin_url, data_dir, LIST) as client:
        found = client.run(run_id(run))
    if as_json:
        typer.echo(json.dumps(found))
        return
    from comptroller.commands.run_frame import STEPS
    from comptroller.commands.run_rows import hints, spent_words, step_rows

    pairs = _pairs({name: each for name, each in found.items() if name not in _APART})
    show_pairs([*pairs, ("spent", spent_words(found))], found, as_json=False)
    show_rows(step_rows(found, time.time_ns() // 1_000_000), STEPS, as_json=False)
    for each in hints(found):
        typer.echo(printable(each), err=True)


@told()
def watch_command(
    run: RunArgument, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Watch a run until it has ended; the exit code says how."""
    with admin(admin_url, data_dir, LIST) as client:
        _watched(client, run_id(run), as_json=as_json)


@told()
def follow_command(
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="[STEP]", help="Only a step, or an entry as in search[3].")
    ] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print what a run's steps say while they work; the exit code says how it ended."""
    from comptroller.commands.follow import follow

    who = step_of(step, run_id(run)) if step else None
    with admin(admin_url, data_dir, LIST) as client:
        id_ = str(client.run(run_id(run))["id"])  # the log of one that is not there says nothing
        code = follow(client, id_, who, as_json=as_json)
    if code:
        raise typer.Exit(code)


@told()
def output_command(
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="[STEP]", help="A step, or an entry as in search[3].")
    ] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print what a run, or one of its steps, has said: a text as it is, else JSON."""
    name, entry = step_of(step, run_id(run)) if step else ("", None)
    with admin(admin_url, data_dir, f"comptroller run show {run}") as client:
        found = client.run_output(run_id(run), name, entry)
    is_text = isinstance(found, str) and not as_json
    typer.echo(found if is_text else json.dumps(found, indent=None if as_json else 2))


@told()
def history_command(
    run: RunArgument, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Tell what happened in a run, from the log of events."""
    with admin(admin_url, data_dir, LIST) as client:
        rows = list(client.run_history(run_id(run)))
    show_rows(rows, _EVENTS, as_json=as_json)


@told()
def compare_command(
    left: Annotated[str, typer.Argument(metavar="LEFT", help="A run's id.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="Another one's.")],
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare two runs step by step: status, duration, cost, and whether they said the same."""
    with admin(admin_url, data_dir, LIST) as client:
        found = client.compare_runs(run_id(left), run_id(right))
    if as_json:
        typer.echo(json.dumps(found))
        return
    show_rows(found["steps"], _PAIRS, as_json=False)


def to_run(
    file: Path, scope: str, given: list[str] | None, input_file: Path | None
) -> dict[str, Any]:
    """What the admin API is to be asked for. Raises CommandFailed (2)."""
    found = workflow_in(file, None)  # models are the server's to know
    fields = found.workflow.input
    values = inputs(
        given or [],
        input_file,
        lambda each: each not in fields or fields[each].type == "string",
        f"comptroller run check {file}",
    )
    folder = str(file.absolute().parent)
    return {"scope": scope, "definition": found.bundle(), "input": values, "folder": folder}


@contextlib.contextmanager
def problems_told() -> Iterator[None]:
    """All that is wrong with a definition, before its refusal."""
    from comptroller.admin_client import AdminRefused

    try:
        yield
    except AdminRefused as error:
        for place, message in error.problems:
            typer.echo(printable(f"{place}: {message}" if place else message), err=True)
        raise


def _watched(client: "AdminClient", run: str, *, as_json: bool) -> None:
    from comptroller.commands.watch import watch

    code = watch(client, run, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _pairs(run: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        (name.removesuffix("_ms"), _text(name, value))
        for name, value in run.items()
        if name != "duration_ms"
    ]


def _text(name: str, value: object) -> object:
    if name.endswith("_ms"):
        return time_text(value)
    return json.dumps(value) if name in ("input", "output") and value is not None else value


def _seconds(row: Mapping[str, Any]) -> str:
    from comptroller.commands.run_rows import duration_words

    return duration_words(row["created_ms"], row["ended_ms"], time.time_ns() // 1_000_000)


def _side(name: str) -> tuple[Column, ...]:
    def said(row: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401  # JSON
        return (row[name] or {}).get(what)

    def took(row: Mapping[str, Any]) -> str:
        took_ms = said(row, "duration_ms")
        return "" if took_ms is None else f"{took_ms / 1000:.1f}s"

    def cost(row: Mapping[str, Any], what: str) -> str:
        return str((said(row, "cost") or {}).get(what, ""))

    def tokens(row: Mapping[str, Any]) -> str:
        found = said(row, "cost")
        return str(found["input_tokens"] + found["output_tokens"]) if found else ""

    return (
        Column(f"{name} status", lambda row: str(said(row, "status") or "")),
        Column(f"{name} took", took, is_number=True),
        Column(f"{name} tokens", tokens, is_number=True, untold=("", "0"), spare=1),
        Column(f"{name} usd", lambda row: cost(row, "charged_usd"), is_number=True),
    )


_APART = frozenset(("steps", "limits", "cost", "has_output"))
_SAME = {True: "same", False: "differs", None: ""}
_PAIRS = (
    field("step"),
    *_side("left"),
    *_side("right"),
    Column("output", lambda row: _SAME[row["is_same"]]),
)
_RUNS = (
    field("id", is_id=True),
    *map(field, ("workflow", "status", "scope", "by", "name")),
    Column("submitted", lambda row: time_text(row["created_ms"]), is_id=True, spare=1),
    Column("took", _seconds, is_number=True),
    field("error"),
)
_EVENTS = (
    Column("time", lambda row: time_text(row["time_ms"]), is_id=True),
    *map(field, ("type", "step")),
    Column("attempt", lambda row: str(row["attempt"] or ""), is_number=True),
    *map(field, ("by", "agent", "model")),
    Column("usd", lambda row: row["charged_usd"] if row["charged_nusd"] else "", is_number=True),
    field("error"),
    Column("detail", lambda row: json.dumps(row["detail"]) if row["detail"] else "", spare=2),
)
