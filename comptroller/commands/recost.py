"""`comptroller prices recost`: charges of the past by the price of today; differences booked."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import CommandFailed, printable, told
from comptroller.commands.output import field, show_pairs, show_rows
from comptroller.commands.report import since_time
from comptroller.exits import FAILED, USAGE_ERROR

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

_HELP = "comptroller prices recost --help"
_AMOUNTS = ("charged", "owed", "difference")


@told()
def recost_command(  # noqa: PLR0913, PLR0917  # options of a command
    since: Annotated[str, typer.Option(help="From when on: 30m, 12h, 7d, 4w, or a date (UTC).")],
    until: Annotated[str, typer.Option(help="Until when, the same; else now.")] = "",
    model: Annotated[str, typer.Option(help="Only this one, as in model_list.")] = "",
    organisation: Annotated[str, typer.Option(help="Only this organisation.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what differs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Book without asking.")] = False,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put right what was charged by a price that was wrong: each difference is booked as a
    correction of its request. Run again, it changes nothing."""
    now = datetime.now(UTC)
    wanted = {
        "since_ms": _ms(since_time(since, now, again=_HELP)),
        "until_ms": _ms(since_time(until, now, "--until", again=_HELP) if until else now),
        "model": model,
        "organisation": organisation,
    }
    asks = not (dry_run or yes)
    if asks and not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = "nobody is here to confirm it: say --yes to book, or --dry-run to look"
        raise CommandFailed(message, _HELP, USAGE_ERROR)
    with admin(admin_url, data_dir, _HELP) as client:
        found = _gone_through(client, {**wanted, "book": False})
        if not dry_run and found["differences"] and (yes or _confirmed(found)):
            found = _gone_through(client, {**wanted, "book": True})
        elif asks and found["differences"]:
            raise CommandFailed("nothing was booked", _HELP)
    _show(found, as_json=as_json, dry_run=dry_run, is_shown=asks)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _gone_through(client: "AdminClient", wanted: dict[str, Any]) -> dict[str, Any]:
    """All pages as one: sums by day and model, counts, and what was left as it is."""
    whole: dict[str, Any] = {"examined": 0, "booked": 0, "already": 0, "refused": []}
    sums: dict[tuple[str, str, str], dict[str, Any]] = {}
    unpriced: dict[tuple[str, str], int] = {}
    for page in client.recost(wanted):
        for name in ("examined", "booked", "already", "refused"):
            whole[name] += page[name]
        for each in page["differences"]:
            key = (each["day"], each["model"], each["price_version"])
            into = sums.setdefault(key, dict.fromkeys(("requests", *_nusd()), 0))
            for name in into:
                into[name] += each[name]
        for each in page["unpriced"]:
            reason = (each["model"], each["reason"])
            unpriced[reason] = unpriced.get(reason, 0) + each["requests"]
    whole["differences"] = list(_rows(sums))
    whole["unpriced"] = [
        {"model": name, "requests": count, "reason": why}
        for (name, why), count in sorted(unpriced.items())
    ]
    return whole


def _rows(sums: dict[tuple[str, str, str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from pricing import dollars

    for (day, model, version), each in sorted(sums.items()):
        usd = {f"{name}_usd": dollars(each[f"{name}_nusd"]) for name in _AMOUNTS}
        yield {"day": day, "model": model, "price_version": version, **each, **usd}


def _nusd() -> Iterator[str]:
    return (f"{name}_nusd" for name in _AMOUNTS)


def _confirmed(found: dict[str, Any]) -> bool:
    show_rows(found["differences"], _COLUMNS, as_json=False)
    count = sum(each["requests"] for each in found["differences"])
    return typer.confirm(f"book these corrections of {count} requests?", err=True)


def _show(found: dict[str, Any], *, as_json: bool, dry_run: bool, is_shown: bool) -> None:
    if as_json:
        show_pairs((), found, as_json=True)
    else:
        if not (is_shown and found["differences"]):  # who was asked has seen them
            show_rows(found["differences"], _COLUMNS, as_json=False)
        done = "" if dry_run else f", {found['booked']} corrections booked"
        already = f", {found['already']} already" if found["already"] else ""
        typer.echo(f"{found['examined']} requests priced again{done}{already}", err=True)
        for each in found["unpriced"]:
            left = f"{each['requests']} of {each['model']} are left as they are: {each['reason']}"
            typer.echo(printable(left), err=True)
    if found["refused"]:
        first = found["refused"][0]
        message = (
            f"{len(found['refused'])} corrections could not be booked; the first, of request "
            f"{first['request_id']}: {first['reason']}"
        )
        raise CommandFailed(message, "comptroller doctor", FAILED)


_COLUMNS = (
    field("day", is_id=True),
    field("model"),
    field("requests", is_number=True),
    field("charged_usd", "charged", is_number=True),
    field("owed_usd", "owed", is_number=True),
    field("difference_usd", "difference", is_number=True),
)
