"""`comptroller doctor`: why it does not start, does not answer, or soon will not."""

import json
import sys
from typing import TYPE_CHECKING

import typer

from comptroller.commands.findings import Finding, warn
from comptroller.commands.options import Config, DataDir, Json
from comptroller.commands.outcome import CommandFailed, printable, told
from comptroller.commands.records import settings_of

if TYPE_CHECKING:
    from comptroller.settings import ModelEntry

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


@told()
def doctor_command(config: Config = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check this machine and what runs on it. Exits 1 where something must be done."""
    from comptroller.commands.machine import machine_findings
    from comptroller.commands.stack import stack_findings

    settings = settings_of(config, data_dir, models=True)
    findings = [*machine_findings(settings), *stack_findings(settings, config)]
    findings += [each for entry in settings.models for each in _bound(entry)]
    for finding in findings:
        typer.echo(json.dumps(finding.as_json()) if as_json else _line(finding))
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        names = ", ".join(finding.check for finding in failed)
        raise CommandFailed(f"must be put right: {names}", failed[0].do)


def _bound(entry: "ModelEntry") -> list[Finding]:
    """A bound that can be wrong is said wherever somebody looks."""
    if not entry.calibrated:
        return []
    message = f"model {entry.name} is bounded by what it has billed: a request may exceed that"
    return warn(
        "bound", message, "remove bound: calibrated from its model_info to be bounded by bytes"
    )


def _line(finding: Finding) -> str:
    do = f" -> {finding.do}" if finding.do else ""
    message = printable(finding.message + do)
    if not sys.stdout.isatty():
        return f"{finding.status}\t{finding.check}\t{message}"
    status = typer.style(f"{finding.status:<4}", fg=_COLOURS[finding.status], bold=True)
    return f"{status}  {finding.check:<16}  {message}"
