"""`comptroller sql`, `tail` and `verify`: the records, asked from the command line.

What they stand on is imported when they run: gateway workers import the command line, too.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from budgets.policy import PolicyInvalid
from clickhouse.query import load_query
from comptroller.document import ConfigInvalid
from comptroller.exits import FAILED, NOT_VERIFIED, USAGE_ERROR
from comptroller.serve import CONFIG_VARIABLE
from comptroller.settings import Settings, load_settings

TAIL_EVERY_S = 0.5
TAIL_ROWS_MAX = 1000
_PIECE_BYTES = 64 * 1024

Config = Annotated[Path | None, typer.Option(help="comptroller.yaml", envvar=CONFIG_VARIABLE)]
DataDir = Annotated[str | None, typer.Option(help="The data dir of `comptroller up`.")]
Organisation = Annotated[str, typer.Option(help="Only this organisation's rows.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object in each line.")]


def sql_command(
    query: Annotated[str, typer.Argument(help="A SELECT; `-` reads it from standard input.")],
    config: Config = None,
    data_dir: DataDir = None,
    organisation: Organisation = "",
    format_name: Annotated[
        str, typer.Option("--format", help="Any format of ClickHouse: CSV, JSON, Parquet ...")
    ] = "",
    json_lines: Json = False,
) -> None:
    """Ask the records in SQL, read-only: tables events, bodies; views usage, requests, ..."""
    chosen = format_name or ("JSONEachRow" if json_lines else _format_of_output())
    text = sys.stdin.read() if query == "-" else query

    def ask() -> None:
        client = _client(_settings(config, data_dir), organisation)
        with client.raw_stream(text, fmt=chosen) as answer:
            while piece := answer.read(_PIECE_BYTES):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    _run(ask)


def tail_command(
    config: Config = None,
    data_dir: DataDir = None,
    organisation: Organisation = "",
    lines: Annotated[int, typer.Option("-n", "--lines", help="Begin this far back.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what comes.")] = True,
    json_lines: Json = False,
) -> None:
    """Show events as they are recorded."""

    def ask() -> None:
        client = _client(_settings(config, data_dir), organisation)
        for event in _events(client, lines, follow=follow):
            typer.echo(json.dumps(event) if json_lines else _line(event))

    _run(ask)


def verify_command(
    config: Config = None,
    data_dir: DataDir = None,
    organisation: Organisation = "",
    export: Annotated[
        Path | None, typer.Option(help="Write the evidence to this folder, for a third party.")
    ] = None,
    json_lines: Json = False,
) -> None:
    """Check that nothing in the log was changed, removed or moved. Exits 4 where it was."""

    def check() -> None:
        from comptroller.verifying import verify_records  # noqa: PLC0415

        settings = _settings(config, data_dir)
        verdicts = asyncio.run(
            verify_records(settings, organisation, export, show_progress=not json_lines)
        )
        for each in verdicts:
            typer.echo(json.dumps(each.as_json()) if json_lines else each.text)
        if not all(each.verdict.ok for each in verdicts):
            raise typer.Exit(NOT_VERIFIED)

    _run(check)


def _settings(config: Path | None, data_dir: str | None) -> Settings:
    environment = dict(os.environ)
    if data_dir is not None:
        environment["COMPTROLLER_DATA_DIR"] = data_dir
    return load_settings(config, environment)


def _client(settings: Settings, organisation: str) -> Any:  # noqa: ANN401  # the driver's, untyped
    from clickhouse_connect import get_client  # noqa: PLC0415
    from clickhouse_connect.driver.httputil import get_pool_manager  # noqa: PLC0415

    from comptroller.reading import records_address  # noqa: PLC0415

    address = records_address(settings, organisation)
    embedded = not settings.records.clickhouse_url
    return get_client(
        dsn=f"{address.url}/comptroller",
        username=address.user,
        password=address.password,
        autogenerate_session_id=False,
        # Never through a proxy that the environment names; a server is told not to write either.
        pool_mgr=get_pool_manager() if embedded else None,
        settings={} if embedded else {"readonly": 2},
    )


def _format_of_output() -> str:
    return "PrettyCompactMonoBlock" if sys.stdout.isatty() else "TabSeparatedWithNames"


def _events(client: Any, lines: int, *, follow: bool) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """The last events, then those that come: each organisation's in its own order, because each is
    recorded by itself, and one that is late must not be passed over."""
    started_ms = time.time_ns() // 1_000_000
    seen: dict[str, tuple[int, int]] = {}
    for row in _rows(client, "last_events", {"limit": lines}) if lines else ():
        seen[row["org"]] = row["epoch"], row["seq"]
        yield row
    while follow:
        for active in _rows(client, "active_organisations", {"before_ms": started_ms}):
            epoch, seq = seen.setdefault(active["org"], tuple(active["last"]))
            place = {"org": active["org"], "epoch": epoch, "seq": seq, "limit": TAIL_ROWS_MAX}
            for row in _rows(client, "next_events", place):
                seen[row["org"]] = row["epoch"], row["seq"]
                yield row
        time.sleep(TAIL_EVERY_S)  # the records have no way to call


def _rows(client: Any, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ANN401
    settings = {"output_format_json_quote_64bit_integers": 0}
    answer = client.raw_query(load_query(query), parameters, settings=settings, fmt="JSONEachRow")
    return [json.loads(line) for line in answer.splitlines()]


def _line(event: dict[str, Any]) -> str:
    """`12:00:01.123 llm_response acme/research openai/gpt-5 200 $0.000123`."""
    money = f"${event['charged_nusd'] / 10**9:.6f}" if event["charged_nusd"] else ""
    words = (
        *(event["time"], event["event_type"], event["scope"] or event["org"], event["agent"]),
        *(event["model"], str(event["status"] or ""), event["tool_name"], money, event["error"]),
    )
    return " ".join(word for word in words if word)


def _run(command: Callable[[], None]) -> None:
    try:
        command()
    except (ConfigInvalid, PolicyInvalid) as error:
        _end(error, USAGE_ERROR)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _troubles() as error:
        _end(error, FAILED)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _troubles() -> tuple[type[Exception], ...]:
    """What the user is told in a line: anything else is a fault of ours, and is shown whole."""
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415

    from clickhouse.errors import RecordsError  # noqa: PLC0415
    from comptroller.reading import RecordsAbsent  # noqa: PLC0415
    from recorder.heads import HeadsDamaged, SigningKeyUnusable  # noqa: PLC0415

    return ClickHouseError, RecordsError, RecordsAbsent, HeadsDamaged, SigningKeyUnusable, OSError


def _end(error: Exception, code: int) -> NoReturn:
    typer.echo(f"comptroller: {error}", err=True)
    raise typer.Exit(code)
