"""`comptroller run follow`: what a run's steps say while they work, until it has ended."""

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from comptroller.commands.outcome import shown
from comptroller.commands.watch import AWAY_S_MAX, CODES, EVERY_S
from comptroller.exits import FAILED

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient
    from comptroller.admin_stream import Streamed

SAID = ("text", "log")
Who = tuple[str, int | None]


def follow(client: "AdminClient", run: str, who: Who | None, *, as_json: bool) -> int:
    """Prints what a step (all of its entries, where none is named; all steps, where no step is)
    says; the exit code that says how the run ended. Interrupted, the run goes on."""
    following = _Following(who, as_json=as_json)
    try:
        while (code := following.some_of(client, run)) is None:
            time.sleep(EVERY_S)  # the stream broke off: nothing tells when the API is back
    except KeyboardInterrupt:
        typer.echo(f"it goes on: comptroller run follow {run}", err=True)
        raise
    return code


class _Following:
    """What was printed until now."""

    def __init__(self, who: Who | None, *, as_json: bool) -> None:
        self._who = who
        self._as_json = as_json
        self._place = ""
        self._heard_s = time.monotonic()
        self._speaker: tuple[object, ...] = ()
        self._ends_line = True

    def some_of(self, client: "AdminClient", run: str) -> int | None:
        """Until the stream breaks off; the exit code at the run's end. Raises AdminAbsent where
        there was nothing but silence for too long: an admin API that was there is started again."""
        from comptroller.admin_client import AdminAbsent

        try:
            with client.run_stream(run, self._place) as events:
                return self._end_of(events)
        except AdminAbsent:
            if not self._place or time.monotonic() > self._heard_s + AWAY_S_MAX:
                raise
        return None

    def _end_of(self, events: "Iterator[Streamed]") -> int | None:
        for number, each in enumerate(events):
            self._place = each.place or self._place
            if each.name == "end":
                return self._ended(each.data)
            if each.name == "error":
                self._fail(each.data["error"]["message"])
            if number:  # the first one only says where it begins
                self._heard_s = time.monotonic()
            if each.name in SAID:
                self._print(each.name, each.data)
        return None

    def _fail(self, message: str) -> NoReturn:
        from comptroller.admin_client import AdminAbsent

        raise AdminAbsent(message)

    def _print(self, kind: str, said: dict[str, Any]) -> None:
        step, entry = self._who or (None, None)
        if step not in (None, said["step"]) or entry not in (None, said["entry"]):
            return
        if self._as_json:
            typer.echo(json.dumps({"kind": kind, **said}))
        else:
            self._introduce(said)
            text = shown(said["text"])
            self._ends_line = text.endswith("\n")
            sys.stdout.write(text)
        sys.stdout.flush()

    def _introduce(self, said: dict[str, Any]) -> None:
        """Who speaks, where it is somebody else than before."""
        speaker = (said["step"], said["entry"], said["attempt"])
        if speaker == self._speaker:
            return
        self._end_line()
        sys.stdout.flush()
        entry = "" if said["entry"] is None else f"[{said['entry']}]"
        attempt = f", attempt {said['attempt']}" if said["attempt"] > 1 else ""
        typer.echo(f"==> {shown(said['step'])}{entry}{attempt}", err=True)
        self._speaker = speaker

    def _end_line(self) -> None:
        if not self._ends_line:
            sys.stdout.write("\n")
            self._ends_line = True

    def _ended(self, end: dict[str, Any]) -> int:
        self._end_line()
        sys.stdout.flush()
        why = f": {shown(end['error'])}" if end["error"] else ""
        typer.echo(f"{end['status']}{why}", err=True)
        return CODES.get(end["status"], FAILED)
