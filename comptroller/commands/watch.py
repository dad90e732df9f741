"""`comptroller run watch`: a run from now to its end."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from comptroller.commands.outcome import printable
from comptroller.exits import FAILED, RUN_CANCELLED, RUN_HALTED

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

EVERY_S = 0.5
AWAY_S_MAX = 30.0
"""How long an admin API that was there may be away: it is started again."""
CODES = {"done": 0, "failed": FAILED, "halted": RUN_HALTED, "cancelled": RUN_CANCELLED}


def watch(client: "AdminClient", run: str, *, as_json: bool) -> int:
    """Shows it until it has ended; the exit code that says how. Interrupted, the run goes on."""
    last: dict[str, Any] = {}
    try:
        for last in _shown(client, run, as_json=as_json):
            if last["status"] in CODES:
                return CODES[last["status"]]
    except KeyboardInterrupt:
        typer.echo(f"it goes on: comptroller run watch {run}", err=True)
        raise
    return FAILED


def _shown(client: "AdminClient", run: str, *, as_json: bool) -> Iterator[dict[str, Any]]:
    if as_json or not sys.stdout.isatty():
        yield from _in_lines(client, run, as_json=as_json)
        return
    from rich.live import Live

    from comptroller.commands.run_frame import frame

    with Live(auto_refresh=False, transient=False) as live:
        for each in _states(client, run):
            live.update(frame(each, _now_ms()), refresh=True)
            yield each


def _in_lines(client: "AdminClient", run: str, *, as_json: bool) -> Iterator[dict[str, Any]]:
    """What has changed, as it does."""
    from comptroller.commands.run_rows import changes

    before: dict[str, Any] | None = None
    for each in _states(client, run):
        lines = list(changes(before, each))
        if as_json and lines:
            typer.echo(json.dumps(each))
        elif not as_json:
            for line in lines:
                typer.echo("\t".join(map(printable, line.split("\t"))))
        sys.stdout.flush()
        before = each
        yield each


def _states(client: "AdminClient", run: str) -> Iterator[dict[str, Any]]:
    """Again and again."""
    yield client.run(run)
    while True:
        time.sleep(EVERY_S)  # also what no event tells is shown: a time, a cost
        yield _patiently(lambda: client.run(run))


def _patiently(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from comptroller.admin_client import AdminAbsent

    until_s = time.monotonic() + AWAY_S_MAX
    while True:
        try:
            return ask()
        except AdminAbsent:
            if time.monotonic() > until_s:
                raise
            time.sleep(EVERY_S)  # nothing tells when it is back


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
