"""`comptroller prices learned`: what was learned of routes by what they have billed."""

from typing import Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import told
from comptroller.commands.output import Column, field, show_rows

app = typer.Typer(no_args_is_help=True, help="What was learned of routes by what they billed.")
Organisation = Annotated[str, typer.Option(help="One organisation's; else all.")]
_LIST = "comptroller prices learned list"
_RESET = "comptroller prices learned reset --help"


@app.command("list")
@told()
def list_command(
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List routes: how many times its bound each bills, and whether it is on probation."""
    with admin(admin_url, data_dir, _LIST) as client:
        rows = list(client.routes(organisation))
    show_rows(rows, _COLUMNS, as_json=as_json)


@app.command("reset")
@told()
def reset_command(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="As the list names it.")],
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Forget what was learned of a route: it begins anew, on probation. Prints what was known."""
    with admin(admin_url, data_dir, _LIST, usage=_RESET) as client:
        rows = client.reset_route(route, organisation)
    show_rows(rows, _COLUMNS, as_json=as_json)


def _factor(name: str, title: str) -> Column:
    """Times the bound, as the log of the gateway has it: 1.5."""

    def text(row: Any) -> str:  # noqa: ANN401  # a row
        from budgets.learning import factor_text

        return factor_text(row[name])

    return Column(title, text, is_number=True)


def _bound(row: Any) -> str:  # noqa: ANN401  # a row
    """Bytes, or the share of them that was learned."""
    share = row["bound_thousandths"]
    return f"calibrated, {share / 10:g} % of bytes" if share else "bytes"


def _state(row: Any) -> str:  # noqa: ANN401  # a row
    at_once = row["concurrency"]
    if at_once is None:
        return "holds"
    return f"probation, {at_once} at a time" if at_once else "stopped"


_COLUMNS = (
    field("organisation"),
    field("route"),
    _factor("input_thousandths", "input times"),
    _factor("output_thousandths", "output times"),
    Column("bound", _bound, is_number=True),
    Column("state", _state),
)
