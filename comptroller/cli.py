"""The command line: which commands there are. What each does is in `comptroller.commands`."""

import typer

from comptroller import records_cli
from comptroller.commands import (
    budget,
    check,
    doctor,
    key,
    learned,
    prices,
    quote,
    reconcile,
    recost,
    reload,
    report,
    run,
    snippet,
    start,
    top,
)

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="An LLM gateway that cannot overspend."
)
app.command("up")(start.up_command)
app.command("check")(check.check_command)
app.command("reload")(reload.reload_command)
app.command("doctor")(doctor.doctor_command)
app.add_typer(key.app, name="key")
app.add_typer(budget.app, name="budget")
app.add_typer(run.app, name="run")
prices.app.command("recost")(recost.recost_command)
prices.app.add_typer(learned.app, name="learned")
app.add_typer(prices.app, name="prices")
app.command("top")(top.top_command)
app.command("tail")(records_cli.tail_command)
app.command("sql")(records_cli.sql_command)
app.command("report")(report.report_command)
app.command("reconcile")(reconcile.reconcile_command)
app.command("quote")(quote.quote_command)
app.command("verify")(records_cli.verify_command)
app.command("snippet")(snippet.snippet_command)


@app.callback()
def _callback() -> None:
    """An LLM gateway that cannot overspend."""


def main() -> None:
    """The entry point of the `comptroller` command."""
    app()
