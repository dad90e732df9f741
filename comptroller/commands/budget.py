"""`comptroller budget`: budgets of a running stack."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.bars import bar_of
from comptroller.commands.money import amount_words, limit_words, parse_limit, written_words
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import printable, told
from comptroller.commands.output import Column, show_pairs, show_rows, text_of, time_text
from comptroller.commands.tree import scope_column

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

app = typer.Typer(no_args_is_help=True, help="Budgets: what each scope may spend, and has.")
Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="As in acme/research.")]
_LIST = "comptroller budget list"
_SET = "comptroller budget set --help"


@app.command("set")
@told()
def set_command(
    scope: Scope,
    limits: Annotated[
        list[str],
        typer.Argument(
            metavar="LIMIT...",
            help="5.00, usd=5.00/day, tokens=100000/hour, requests=600/minute, concurrency=20.",
        ),
    ],
    on_exceed: Annotated[str, typer.Option(help="clamp (lower the output cap) or refuse.")] = "",
    per_child: Annotated[
        list[str] | None, typer.Option(help="A limit of each child without limits of its own.")
    ] = None,
    payloads: Annotated[str, typer.Option(help="full, redacted, hash or off.")] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replace the budget of a scope. What was spent on limits that stay is kept."""
    document: dict[str, Any] = {
        "scope": scope,
        "limits": [parse_limit(each, _SET) for each in limits],
    }
    more = {
        "on_exceed": on_exceed,
        "per_child": [parse_limit(each, _SET) for each in per_child or ()],
        "payloads": payloads,
    }
    document |= {name: value for name, value in more.items() if value}
    with admin(admin_url, data_dir, _SET) as client:
        before = _standing(client, scope)
        after = client.set_budget(document)
    _show(after, as_json=as_json)
    _tell_gone(before, after)


@app.command("show")
@told()
def show_command(
    scope: Scope, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Show a scope's limits, and what each has left."""
    with admin(admin_url, data_dir, _LIST) as client:
        _show(client.budget(scope), as_json=as_json)


@app.command("list")
@told()
def list_command(
    scope: Annotated[str, typer.Argument(metavar="[SCOPE]", help="Only this and below.")] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List budgets as a tree: spent, reserved and free of each limit."""
    with admin(admin_url, data_dir, _LIST) as client:
        budgets = list(client.budgets(scope))
    if as_json:
        show_rows(budgets, (), as_json=True)
        return
    budgets.sort(key=lambda row: str(row["scope"]).split("/"))
    rows = limit_rows(budgets)
    show_rows(rows, (scope_column(rows), *_COLUMNS), as_json=False)


@app.command("freeze")
@told()
def freeze_command(
    scope: Scope, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Stop a scope and all below it at once, until it is thawed."""
    with admin(admin_url, data_dir, _LIST) as client:
        _show(client.freeze(scope), as_json=as_json)


@app.command("thaw")
@told()
def thaw_command(
    scope: Scope, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Let a frozen scope go on."""
    with admin(admin_url, data_dir, _LIST) as client:
        _show(client.thaw(scope), as_json=as_json)


@app.command("unset")
@told()
def unset_command(
    scope: Scope, admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Take the whole budget of a scope away; those above it still hold."""
    with admin(admin_url, data_dir, _LIST) as client:
        before = client.budget(scope)
        after = client.unset_budget(scope)
    _show(after, as_json=as_json)
    _tell_gone(before, after)


def _standing(client: "AdminClient", scope: str) -> dict[str, Any]:
    """The budget that is there, if any."""
    from comptroller.admin_client import AdminRefused

    try:
        return client.budget(scope)
    except AdminRefused as error:
        if error.status in (400, 404):  # a scope that is new, or none: setting it says which
            return {}
        raise


def _tell_gone(before: dict[str, Any], after: dict[str, Any]) -> None:
    """On stderr: what a budget said that it does not say any more. Whoever raises one limit may
    have forgotten that another, or a payload policy, stood beside it."""
    kept = [_identity(each) for each in after.get("limits", ())]
    gone = [limit_words(each) for each in before.get("limits", ()) if _identity(each) not in kept]
    if "per_child" in before and "per_child" not in after:
        gone += [f"per_child {written_words(each)}" for each in before["per_child"]]
    beside = [name for name in _BESIDE if name in before and name not in after]
    gone += [f"{name} {before[name]}" for name in beside]
    if gone:
        typer.echo(f"gone: {printable('; '.join(gone))}", err=True)


def _identity(limit: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two limits the same one."""
    return limit["dimension"], limit["window"], limit.get("models")


def limit_rows(budgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each limit, with its scope and state; one for a budget without limits."""
    return [
        {"scope": budget["scope"], "state": budget.get("state"), **limit}
        for budget in budgets
        for limit in budget.get("limits") or [{}]
    ]


def _amount(name: str) -> Column:
    def text(row: Any) -> str:  # noqa: ANN401  # a row
        if name not in row:
            return ""
        return amount_words("usd", row[name]) if row["dimension"] == "usd" else str(row[name])

    return Column(name, text, is_number=True, untold=("", "0", "$0.00") if name in _RARE else ())


_RARE = ("allotted",)
_BESIDE = ("on_exceed", "share_of_free", "output_tokens_default", "payloads", "kind")
_COLUMNS = (
    Column("limit", lambda row: limit_words(row) if "dimension" in row else ""),
    *map(_amount, ("spent", "reserved", "allotted", "free")),
    Column("spent|reserved|free", bar_of, is_id=True, spare=1),
    Column("resets at", lambda row: time_text(row.get("resets_at")), spare=2),
    Column("state", lambda row: text_of(row.get("state")), untold=("", "open")),
)


def _show(budget: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_pairs((), budget, as_json=True)
        return
    rows = limit_rows([budget])
    show_rows(rows, (scope_column(rows), *_COLUMNS), as_json=False)
    said = {name: budget.get(name) for name in _BESIDE}
    per_child = [written_words(each) for each in budget.get("per_child") or ()]
    show_pairs([("per_child", text_of(per_child)), *said.items()], budget, as_json=False)
