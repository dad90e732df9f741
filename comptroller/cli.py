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
    run_decisions,
    run_schedules,
    runs,
    signing_key,
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
for _name, _command in (
    ("submit", runs.submit_command),
    ("list", runs.list_command),
    ("show", runs.show_command),
    ("watch", runs.watch_command),
    ("follow", runs.follow_command),
    ("output", runs.output_command),
    ("history", runs.history_command),
    ("compare", runs.compare_command),
    ("schedule", run_schedules.schedule_command),
    ("schedules", run_schedules.schedules_command),
    ("unschedule", run_schedules.unschedule_command),
    ("cancel", run_decisions.cancel_command),
    ("pause", run_decisions.pause_command),
    ("resume", run_decisions.resume_command),
    ("retry", run_decisions.retry_command),
    ("fork", run_decisions.fork_command),
    ("approve", run_decisions.approve_command),
    ("reject", run_decisions.reject_command),
    ("signing-key", signing_key.signing_key_command),
):
    run.app.command(_name)(_command)
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
