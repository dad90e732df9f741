"""`comptroller report`: named questions to the records. A report is one file,
`clickhouse/queries/report_<name>.sql`; its first comment line says what it shows."""

import json
import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Annotated, Any

import typer

from comptroller.commands.options import Config, DataDir, Json, Organisation
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import Column, field, show_rows
from comptroller.commands.records import records_client, records_told, settings_of
from comptroller.exits import USAGE_ERROR

LIST = "list"
_PREFIX = "report_"
_BACK = re.compile(r"([1-9][0-9]{0,5})(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDS = ("at", "last", "last_used", "key", "request_id")
_NUMBERS = re.compile(r"(Nullable\()?(U?Int|Decimal|Float)")


@told()
def report_command(
    name: Annotated[str, typer.Argument(help="Which; `list` says what there is.")],
    since: Annotated[str, typer.Option(help="How far back: 30m, 12h, 7d, 4w, or a date.")] = "7d",
    organisation: Organisation = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Answer a named question about what was spent, refused and slow."""
    reports = load_reports()
    if name == LIST:
        rows = [{"name": each, "shows": _description(text)} for each, text in reports.items()]
        show_rows(rows, (field("name"), field("shows")), as_json=as_json)
        return
    if name not in reports:
        known = ", ".join(reports)
        message = f"there is no report {name!r}; there are {known}"
        raise CommandFailed(message, "comptroller report list", USAGE_ERROR)
    start = since_time(since, datetime.now(UTC))
    with records_told("comptroller report list"):
        client = records_client(settings_of(config, data_dir), organisation)
        answer = client.raw_query(
            reports[name],
            {"since": f"{start:%Y-%m-%d %H:%M:%S}"},
            settings={"output_format_json_quote_64bit_integers": 0},
            fmt="JSONCompact",
        )
    columns, rows = _table(json.loads(answer))
    show_rows(rows, columns, as_json=as_json)


def load_reports() -> dict[str, str]:
    """Name -> SQL, by name."""
    files = (resources.files("clickhouse") / "queries").iterdir()
    return {
        each.name.removeprefix(_PREFIX).removesuffix(".sql"): each.read_text(encoding="utf-8")
        for each in sorted(files, key=lambda file: file.name)
        if each.name.startswith(_PREFIX) and each.name.endswith(".sql")
    }


def _description(text: str) -> str:
    return text.partition("\n")[0].removeprefix("--").strip()


def since_time(
    text: str,
    now: datetime,
    option: str = "--since",
    again: str = "comptroller report spend --since 7d",
) -> datetime:
    """`12h` before now, or a date or time in ISO 8601 (UTC where it names no zone). Raises
    CommandFailed (2) that accuses `option` and says to try `again`."""
    back = _BACK.fullmatch(text)
    try:
        if back:
            return max(_EPOCH, now - timedelta(**{_UNITS[back[2]]: int(back[1])}))
        moment = datetime.fromisoformat(text)
        return max(_EPOCH, moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{option} is how far back, as in 30m, 12h, 7d or 2026-11-01, not {text[:40]!r}"
        raise CommandFailed(message, again, USAGE_ERROR) from None


def _table(document: dict[str, Any]) -> tuple[tuple[Column, ...], list[dict[str, Any]]]:
    names = [each["name"] for each in document["meta"]]
    columns = tuple(
        field(
            each["name"],
            is_number=bool(_NUMBERS.match(each["type"])) or "usd" in each["name"],
            is_id=each["name"] in _IDS or each["type"] == "Date",
        )
        for each in document["meta"]
    )
    return columns, [dict(zip(names, row, strict=True)) for row in document["data"]]
