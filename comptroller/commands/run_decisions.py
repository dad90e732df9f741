"""`comptroller run cancel`, `pause`, `resume`, `retry`, `fork`, `approve`, `reject`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.money import parse_limit
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import show_pairs
from comptroller.commands.run_inputs import LIST, inputs, run_id, step_of
from comptroller.commands.run_schedules import OfSchedule, decide_schedule
from comptroller.commands.runs import InputFile, InputOption, RunArgument
from comptroller.exits import USAGE_ERROR

_APPROVE = "comptroller run approve --help"
_FORK = "comptroller run fork --help"
_SHOWN = ("id", "status", "wanted", "error")
StepArgument = Annotated[
    str, typer.Argument(metavar="[STEP]", help="The step that asks, or an entry: search[3].")
]
OrScheduleArgument = Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id.")]
ScheduleOption = Annotated[str, typer.Option(help="A schedule's name, in place of a run.")]
Comment = Annotated[str, typer.Option(help="Why: the step and the records have it.")]


@told()
def cancel_command(
    run: RunArgument, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """End a run and all inside it, for good; its keys are dead at their next call."""
    _decide(run, "cancel", None, (admin_url, data_dir), as_json=as_json)


@told()
def pause_command(  # options of a command
    run: OrScheduleArgument = "",
    schedule: ScheduleOption = "",
    organisation: OfSchedule = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Begin nothing new of a run; what is at work ends, and keeps its result. Or a schedule."""
    _decide_either(run, schedule, "pause", organisation, (admin_url, data_dir), as_json=as_json)


@told()
def resume_command(  # options of a command
    run: OrScheduleArgument = "",
    schedule: ScheduleOption = "",
    organisation: OfSchedule = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Let a paused run go on, or a schedule."""
    _decide_either(run, schedule, "resume", organisation, (admin_url, data_dir), as_json=as_json)


@told()
def retry_command(
    run: RunArgument, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Try again what has failed; what is done stays."""
    _decide(run, "retry", None, (admin_url, data_dir), as_json=as_json)


@told()
def fork_command(  # options of a command
    run: RunArgument,
    step: Annotated[str, typer.Option("--from", help="The first step that is done anew.")],
    given: InputOption = None,
    input_file: InputFile = None,
    name: Annotated[str, typer.Option(help="The same fork under it is one run.")] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Begin a new run from a step on, with another one's results above it."""
    id_ = run_id(run)
    look = f"comptroller run show {id_}"
    with admin(admin_url, data_dir, look, usage=_FORK) as client:
        document: dict[str, Any] = {"step": step_of(step, id_)[0]}
        if given or input_file:
            before = client.run(id_)["input"] or {}
            document["input"] = _inputs(given, input_file, before)
        if name:
            document["name"] = name
        made = client.decide_run(id_, "fork", document)
    show_pairs(made.items(), made, as_json=as_json)


@told()
def approve_command(  # options of a command
    run: RunArgument,
    step: StepArgument = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Of a run that asks for more: what it may spend in all, as in usd=5.00."),
    ] = None,
    comment: Comment = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say yes to a step that asks, or give more to a run that asks for budget."""
    if bool(step) == bool(budget):
        message = "name the step that asks, or --budget for a run that asks for more"
        raise CommandFailed(message, _APPROVE, USAGE_ERROR)
    limits = {"limits": [parse_limit(each, _APPROVE) for each in budget]} if budget else {}
    document = {**_step(step, run), **limits, "approved": True, "comment": comment}
    _decide(run, "approve", document, (admin_url, data_dir), as_json=as_json)


@told()
def reject_command(
    run: RunArgument,
    step: StepArgument = "",
    comment: Comment = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say no to a step that asks; without a step, to a run that asks for budget: it is halted."""
    document = {**_step(step, run), "approved": False, "comment": comment}
    _decide(run, "approve", document, (admin_url, data_dir), as_json=as_json)


def _step(step: str, run: str) -> dict[str, Any]:
    if not step:
        return {}
    name, entry = step_of(step, run_id(run))
    return {"step": name} | ({} if entry is None else {"entry": entry})


def _inputs(given: list[str] | None, file: Path | None, before: dict[str, Any]) -> dict[str, Any]:
    """Texts where the run that is forked has one."""
    return inputs(given or [], file, lambda name: isinstance(before.get(name, ""), str), _FORK)


def _decide_either(
    run: str,
    schedule: str,
    act: str,
    organisation: str,
    where: tuple[str, str | None],
    *,
    as_json: bool,
) -> None:
    if bool(run) == bool(schedule):
        message = "name a run, or a schedule with --schedule"
        raise CommandFailed(message, f"comptroller run {act} --help", USAGE_ERROR)
    if schedule:
        decide_schedule(schedule, act, organisation, where, as_json=as_json)
    else:
        _decide(run, act, None, where, as_json=as_json)


def _decide(
    run: str,
    act: str,
    document: dict[str, Any] | None,
    where: tuple[str, str | None],
    *,
    as_json: bool,
) -> None:
    id_ = run_id(run)
    look = f"comptroller run show {id_}"
    with admin(*where, look, usage=_APPROVE if act == "approve" else LIST) as client:
        found = client.decide_run(id_, act, document)
    show_pairs([(name, found[name]) for name in _SHOWN], found, as_json=as_json)
