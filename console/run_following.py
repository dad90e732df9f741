"""Follows one run: its events as they are recorded, what its steps say while they work, and its
end.

A place is that in the log, and, behind `!`, that of what was said. What is said is the ledger's, by
the run's name alone: only who sees the run in the database gets it.
"""

import asyncio
import re
from typing import Any

import msgspec

from console.errors import InvalidRequest
from console.event_log import Filter
from console.feeds import Told
from console.following import Following
from console.parts import Parts
from console.token_store import Token
from orchestrator.places import PLAIN
from orchestrator.progress import ENDED
from orchestrator.running import live, showing
from orchestrator.running.database import DatabaseAway
from orchestrator.running.deciding import NoSuchRun
from orchestrator.running.live import LiveText

COMPLETED = "run_completed"
END = "end"
QUIET_MS = 1_000
"""How long nothing was told of a run that has ended: then all is."""
COMPLETED_MS_MAX = 10_000
"""How long the log may take to say so where it ends before our eyes."""
_SAID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class RunFollowing:
    """One stream's places in the log and in what is said."""

    def __init__(self, parts: Parts, caller: Token, wanted: Filter) -> None:
        self._parts = parts
        self._caller = caller
        self._wanted = wanted
        self._log = Following(parts, caller, wanted)
        self._said = ""
        self._run: showing.RunLine | None = None
        self._was_at_work = False
        self._ending = _Ending()
        self._look_at_s = 0.0
        self.is_over = False

    async def begin(self, resumed_at: str, param: str) -> None:
        """After this place; without one, with what steps have said that is still kept, and with
        what is recorded from now on. A run that the database does not know, or not for this caller,
        is followed in the log alone. Raises InvalidRequest, DatabaseAway."""
        of_log, mark, self._said = resumed_at.partition("!")
        if mark and not _SAID.fullmatch(self._said):
            raise InvalidRequest(
                f"{param} is the id of an event, or of a stream, as it was given", param=param
            )
        wanted = self._wanted
        try:
            self._run = await self._line()
        except NoSuchRun:
            self._run = None
        else:
            self._was_at_work = self._run.status not in ENDED
            wanted = Filter(self._run.organisation, run=self._run.id)
        self._log = Following(self._parts, self._caller, wanted)
        await self._log.begin(of_log, param)

    @property
    def place(self) -> str:
        """Where a client that comes back goes on."""
        return self._place(self._said)

    @property
    def poll_ms(self) -> int:
        """Text is to come while it is said."""
        return min(self._parts.options.stream_poll_ms, live.LOOK_EVERY_MS)

    async def more(self) -> list[Told]:
        """What was said, and at times what was recorded; at last that it has ended, and how."""
        found = await self._more_said() if self._run else []
        now_s = asyncio.get_running_loop().time()
        if not found and now_s >= self._look_at_s:  # records that are away take no text with them
            self._look_at_s = now_s + self._parts.options.stream_poll_ms / 1000
            await self._look()
            found = await self._more_recorded()
        if found:
            self._ending.told(now_s)
        if self._run and self._has_ended(self._run, now_s):
            self.is_over = True
            found.append(Told(self.place, _end(self._run), END))
        return found

    async def _look(self) -> None:
        """While the database is away, nobody knows better."""
        if self._run is None:
            return
        try:
            self._run = await self._line()
        except (DatabaseAway, NoSuchRun):
            return
        if self._run.status not in ENDED:  # again, where somebody has it tried again
            self._was_at_work = True
            self._ending = _Ending()

    async def _line(self) -> showing.RunLine:
        of, run = self._wanted.organisation, self._wanted.run
        return await self._parts.runs.read(lambda database: showing.line(database, of, run))

    async def _more_said(self) -> list[Told]:
        transport = self._parts.session.transport
        said = await live.follow(transport, self._wanted.run, self._said, wait_ms=0)
        # Of pieces that share a place only the last one has it: who is cut off between them gets
        # them again, and loses none.
        found = [
            Told(self._place(before), _text(each), each.kind)
            for each, before in zip(said, _places_after(said, self._said), strict=True)
        ]
        self._said = said[-1].at if said else self._said
        return found

    async def _more_recorded(self) -> list[Told]:
        found = await self._log.more()
        if any(each.data["event_type"] == COMPLETED for each in found):
            self._ending.is_recorded = True
        return [Told(f"{each.place}{self._mark()}", each.data) for each in found]

    def _has_ended(self, run: showing.RunLine, now_s: float) -> bool:
        return run.status in ENDED and self._ending.is_told(now_s, waits=self._was_at_work)

    def _place(self, said: str) -> str:
        return f"{self._log.place}!{said}" if said else self._log.place

    def _mark(self) -> str:
        return f"!{self._said}" if self._said else ""


class _Ending:
    """Since when nothing was told of a run that has ended."""

    def __init__(self) -> None:
        self.is_recorded = False
        self._seen_s: float | None = None
        self._told_s = 0.0

    def told(self, now_s: float) -> None:
        """Something was."""
        self._told_s = now_s

    def is_told(self, now_s: float, *, waits: bool) -> bool:
        """Asked of a run that has ended. `waits`: the log is going to say so."""
        if self._seen_s is None:
            self._seen_s = now_s
        if waits and not self.is_recorded and now_s < self._seen_s + COMPLETED_MS_MAX / 1000:
            return False
        return now_s >= max(self._told_s, self._seen_s) + QUIET_MS / 1000


def _places_after(said: list[LiveText], before: str) -> list[str]:
    """Of each piece, where one goes on who has it."""
    places = []
    for number, each in enumerate(said, 1):
        if number == len(said) or said[number].at != each.at:
            before = each.at
        places.append(before)
    return places


def _text(said: LiveText) -> dict[str, Any]:
    return {
        "step": said.step_id,
        "entry": None if said.entry == PLAIN else said.entry,
        "attempt": said.attempt,
        "text": said.text,
    }


def _end(run: showing.RunLine) -> dict[str, Any]:
    fields = msgspec.structs.asdict(run)
    return {name: fields[name] for name in ("status", "error", "ended_ms")}
