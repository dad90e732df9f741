"""The command line: `comptroller up`, and the questions that can be asked of the records."""

import os
from pathlib import Path
from typing import Annotated

import typer

from budgets.embedded import EmbeddedServerFailed
from budgets.transport import LedgerUnavailable
from comptroller import records_cli
from comptroller.document import ConfigInvalid
from comptroller.exits import FAILED, USAGE_ERROR
from comptroller.serve import CONFIG_VARIABLE
from comptroller.settings import load_settings
from comptroller.supervise import RecorderFailed
from comptroller.up import up

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="An LLM gateway that cannot overspend."
)
app.command("sql")(records_cli.sql_command)
app.command("tail")(records_cli.tail_command)
app.command("verify")(records_cli.verify_command)


@app.callback()
def _callback() -> None:
    """An LLM gateway that cannot overspend."""


@app.command("up")
def up_command(
    config: Annotated[
        Path | None, typer.Option(help="comptroller.yaml", envvar=CONFIG_VARIABLE)
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where everything keeps its files.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the data plane.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes.")] = None,
) -> None:
    """Start everything on this machine and run until SIGTERM."""
    environment = dict(os.environ)
    for name, value in (("DATA_DIR", data_dir), ("PORT", port), ("WORKERS", workers)):
        if value is not None:
            environment[f"COMPTROLLER_{name}"] = str(value)
    try:
        up(load_settings(config, environment), config)
    except ConfigInvalid as error:
        typer.echo(f"comptroller: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    except (EmbeddedServerFailed, LedgerUnavailable, RecorderFailed, OSError) as error:
        typer.echo(f"comptroller: {error}", err=True)
        raise typer.Exit(FAILED) from None


def main() -> None:
    """The entry point of the `comptroller` command."""
    app()
