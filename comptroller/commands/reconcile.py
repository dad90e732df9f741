"""`comptroller reconcile`: a provider's own export beside what was recorded."""

from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import CommandFailed, printable, told
from comptroller.commands.output import Column, field, show_pairs, show_rows
from comptroller.exits import USAGE_ERROR

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient
    from comptroller.exports import Export
    from comptroller.reconciliation import Named, Reconciled, Row, Side

_HELP = "comptroller reconcile --help"


@told()
def reconcile_command(
    provider: Annotated[str, typer.Argument(help="Whose export: openai or anthropic.")],
    file: Annotated[Path, typer.Argument(help="Usage or costs by day and model: JSON or CSV.")],
    models: Annotated[
        str, typer.Option(help="Only recorded models of such names, as in 'gpt-*'.")
    ] = "*",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare what a provider says that it has billed with what was recorded, by day and model, and
    name what of the difference can be named."""
    from comptroller.exports import DIALECTS, ExportInvalid, read

    if provider not in DIALECTS:
        message = f"exports of {provider[:40]!r} are not known; there are {', '.join(DIALECTS)}"
        raise CommandFailed(message, _HELP, USAGE_ERROR)
    try:
        export = read(provider, file)
    except (ExportInvalid, OSError) as error:
        raise CommandFailed(f"{file}: {error}", _HELP, USAGE_ERROR) from None
    with admin(admin_url, data_dir, _HELP) as client:
        found = _compared(client, export, models)
    _show(found, export, as_json=as_json)


def _compared(client: "AdminClient", export: "Export", models: str) -> "Reconciled":
    from clickhouse.query import load_query
    from comptroller.reconciliation import Recorded, StillOpen, reconciled

    span = {"since_ms": _ms(export.from_day), "until_ms": _ms(export.until_day)}
    ended, still_open = (
        [row for row in client.sql(load_query(name), span) if _is_wanted(row["model"], models)]
        for name in ("reconcile_ended", "reconcile_open")
    )
    return reconciled(
        export, (Recorded(**each) for each in ended), (StillOpen(**each) for each in still_open)
    )


def _is_wanted(model: str, pattern: str) -> bool:
    return fnmatchcase(model, pattern)


def _ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def _show(found: "Reconciled", export: "Export", *, as_json: bool) -> None:
    document = _document(found, export)
    if as_json:
        show_pairs((), document, as_json=True)
        return
    show_rows(document["rows"], tuple(_columns(found)), as_json=False)
    for each in document["residual"]:
        typer.echo(printable(_residual_text(each)), err=True)
    for note in export.notes:
        typer.echo(note, err=True)
    typer.echo("explained" if found.explained else "not explained", err=True)


def _document(found: "Reconciled", export: "Export") -> dict[str, Any]:
    rows = [_row(each, has_amounts=found.has_amounts) for each in found.rows]
    return {
        "from": export.from_day,
        "until": export.until_day,
        "rows": rows,
        "difference_nusd": sum(each["difference_nusd"] for each in rows)
        if found.has_amounts
        else None,
        "residual": [_named(each) for each in found.residual],
        "explained": found.explained,
        "notes": list(export.notes),
    }


def _row(row: "Row", *, has_amounts: bool) -> dict[str, Any]:
    from pricing import dollars

    nusd = row.difference_nusd if has_amounts else None
    return {
        "day": row.day,
        "model": row.model,
        **_side("export", row.export),
        **_side("recorded", row.recorded),
        "difference_nusd": nusd,
        "difference_usd": None if nusd is None else dollars(nusd),
    }


def _side(name: str, side: "Side | None") -> dict[str, Any]:
    from pricing import dollars

    nusd = side.amount_nusd if side else None
    return {
        f"{name}_requests": side.requests if side else None,
        f"{name}_input_tokens": side.input_tokens if side else None,
        f"{name}_output_tokens": side.output_tokens if side else None,
        f"{name}_nusd": nusd,
        f"{name}_usd": None if nusd is None else dollars(nusd),
    }


def _named(each: "Named") -> dict[str, Any]:
    from pricing import dollars

    bounds = {"least": each.least_nusd, "most": each.most_nusd}
    return {
        "name": each.name,
        "requests": each.requests,
        "models": list(each.models),
        **{f"{name}_nusd": nusd for name, nusd in bounds.items()},
        **{f"{name}_usd": None if nusd is None else dollars(nusd) for name, nusd in bounds.items()},
    }


def _residual_text(each: dict[str, Any]) -> str:
    """`models that only the export has: 3 requests, $0.12 (gpt-5)`."""
    said = [f"{each['requests']} requests"] if each["requests"] else []
    least, most = each["least_usd"], each["most_usd"]
    if least is not None:
        said.append(f"${least}" if least == most else f"${least} to ${most}")
    models = f" ({', '.join(each['models'])})" if each["models"] else ""
    return f"{each['name']}: {', '.join(said)}{models}"


def _columns(found: "Reconciled") -> Iterator[Column]:
    yield field("day", is_id=True)
    yield field("model")
    compared = {
        "requests": found.has_requests,
        "input_tokens": found.has_tokens,
        "output_tokens": found.has_tokens,
        "usd": found.has_amounts,
    }
    for name, is_said in compared.items():
        if is_said:
            title = name.replace("_", " ")
            yield field(f"export_{name}", f"{title}, export", is_number=True)
            yield field(f"recorded_{name}", f"{title}, recorded", is_number=True)
    if found.has_amounts:
        yield field("difference_usd", "difference", is_number=True)
