"""`comptroller sql`, `tail` and `verify`: the records, asked from the command line.

What they stand on is imported when they run: gateway workers import the command line, too.
"""

import asyncio
import codecs
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from clickhouse.query import load_query
from comptroller.commands.options import Config, DataDir, Json, Organisation
from comptroller.commands.outcome import CommandFailed, printable, shown, told
from comptroller.commands.records import records_client, records_told, settings_of
from comptroller.exits import NOT_VERIFIED, USAGE_ERROR

TAIL_EVERY_S = 0.5
TAIL_ROWS_MAX = 10_000
_PIECE_BYTES = 64 * 1024


@told()
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
    if not text.strip(" \t\r\n;"):
        raise CommandFailed("there is no query", "comptroller sql --help", USAGE_ERROR)
    _refuse_format(text)
    with records_told('comptroller sql "SHOW TABLES"'):
        client = records_client(settings_of(config, data_dir), organisation)
        with client.raw_stream(text, fmt=chosen) as answer:
            write = _for_terminal() if sys.stdout.isatty() else sys.stdout.buffer.write
            while piece := answer.read(_PIECE_BYTES):
                write(piece)
        sys.stdout.flush()


def _for_terminal() -> Callable[[bytes], object]:
    """Writes without what a terminal would obey: a prompt or a name may hold anything."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    return lambda piece: sys.stdout.write(shown(decoder.decode(piece)))


def _refuse_format(text: str) -> None:
    """The driver puts a FORMAT of its own behind the query, and two are a syntax error."""
    from clickhouse.sqltext import tokens, without_format

    stripped = text.rstrip().rstrip(";")
    head, named = without_format(stripped, tokens(stripped))
    if named:
        raise CommandFailed(
            f"a query names no FORMAT here: use --format {named}",
            f"comptroller sql {shlex.quote(head)} --format {named}",
            USAGE_ERROR,
        )


@told()
def tail_command(
    config: Config = None,
    data_dir: DataDir = None,
    organisation: Organisation = "",
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, max=TAIL_ROWS_MAX, help="Begin this far back.")
    ] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what comes.")] = True,
    json_lines: Json = False,
) -> None:
    """Show events as they are recorded."""
    with contextlib.suppress(KeyboardInterrupt), records_told("comptroller doctor"):
        client = records_client(settings_of(config, data_dir), organisation)
        for event in _events(client, lines, follow=follow):
            typer.echo(json.dumps(event) if json_lines else _line(event))


@told()
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
    from comptroller.verifying import verify_records

    with records_told("comptroller doctor"):
        verdicts = asyncio.run(
            verify_records(
                settings_of(config, data_dir), organisation, export, show_progress=not json_lines
            )
        )
    for each in verdicts:
        typer.echo(json.dumps(each.as_json()) if json_lines else printable(each.text))
    if not all(each.verdict.ok for each in verdicts):
        raise typer.Exit(NOT_VERIFIED)


def _format_of_output() -> str:
    return "PrettyCompactMonoBlock" if sys.stdout.isatty() else "TabSeparatedWithNames"


def _events(client: Any, lines: int, *, follow: bool) -> Iterator[dict[str, Any]]:  # noqa: ANN401  # untyped driver
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


def _rows(client: Any, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ANN401  # untyped driver
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
    return printable(" ".join(word for word in words if word))
