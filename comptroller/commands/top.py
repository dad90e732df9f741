"""`comptroller top`: what is spent, refused and in flight, second by second."""

import json
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.commands.admin import admin
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import told

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

EVERY_S = 1.0
KEYS_MAX = 64


@told()
def top_command(
    once: Annotated[bool, typer.Option("--once", help="One frame, and end.")] = False,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Watch spending, refusals, what is in flight and the tightest budgets. `q` quits."""
    with admin(admin_url, data_dir, "comptroller doctor") as client, suppress(KeyboardInterrupt):
        if as_json:
            _print_json(client, once=once)
        elif once or not sys.stdout.isatty():
            _print_frame(client)
        else:
            _live(client)


def _print_json(client: "AdminClient", *, once: bool) -> None:
    from comptroller.commands.figures import figures

    with _keys() as fd:
        while True:
            typer.echo(json.dumps(figures(client)))
            sys.stdout.flush()
            if once or _quits(fd):
                return


def _print_frame(client: "AdminClient") -> None:
    from rich.console import Console

    from comptroller.commands.figures import figures
    from comptroller.commands.frame import frame

    Console().print(frame(figures(client), datetime.now(UTC)))


def _live(client: "AdminClient") -> None:
    from rich.live import Live

    from comptroller.commands.figures import figures
    from comptroller.commands.frame import frame

    with _keys() as fd, Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(figures(client), datetime.now(UTC)), refresh=True)
            if _quits(fd):
                return


@contextmanager
def _keys() -> Iterator[int | None]:
    """Standard input, if it is a terminal, without waiting for line ends; restored at the end."""
    if not sys.stdin.isatty():
        yield None
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _quits(fd: int | None) -> bool:
    """Waits for the next frame's time, or for a key: whether it was `q`."""
    waiting = [] if fd is None else [fd]
    ready, _, _ = select.select(waiting, [], [], EVERY_S)
    if not ready or fd is None:
        return False
    pressed = os.read(fd, KEYS_MAX)
    return not pressed or b"q" in pressed.lower()
