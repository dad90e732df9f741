"""Budgets that are used up, told at once to whoever runs the workflow whose calls were refused.

A refusal costs the path of a request one look into a dict, and only where its key works for a run.
What is told is told again at the next refusal, once a second at most: a write that is lost is no
loss. The record of a refusal is another one: see `gateway.refusal_log`.
"""

import asyncio
import contextlib
import logging

from budgets.exhausted import Exhausted, tell
from budgets.session import Clock
from budgets.transport import LedgerTransport, LedgerUnavailable

AGAIN_MS = 1_000
KNOWN_MAX = 1_000
"""Of what was told within AGAIN_MS; what is beyond is not told until there is room."""
_log = logging.getLogger("comptroller.refusals")


class HardStops:
    """Of one worker."""

    def __init__(self, transport: LedgerTransport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._told_ms: dict[tuple[str, str, str, int], int] = {}
        self._untold: list[Exhausted] = []
        self._telling: asyncio.Task[None] | None = None

    def note(self, exhausted: Exhausted) -> None:
        """A caller is told this now; so is whoever runs the workflow, beside all requests."""
        now_ms = self._clock.now_ms()
        name = (exhausted.scope, exhausted.run_id, exhausted.step_id, exhausted.attempt)
        if now_ms - self._told_ms.get(name, now_ms - AGAIN_MS) < AGAIN_MS:
            return
        if name not in self._told_ms and not self._has_room(now_ms):
            return
        self._told_ms[name] = now_ms
        self._untold.append(exhausted)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    def _has_room(self, now_ms: int) -> bool:
        if len(self._told_ms) >= KNOWN_MAX:
            recent = {name: at for name, at in self._told_ms.items() if now_ms - at < AGAIN_MS}
            self._told_ms = recent
        return len(self._told_ms) < KNOWN_MAX

    async def _tell(self) -> None:
        try:
            while self._untold:
                untold, self._untold = self._untold, []
                await asyncio.gather(*(self._tell_one(each) for each in untold))
        finally:
            self._telling = None

    async def _tell_one(self, exhausted: Exhausted) -> None:
        try:
            await tell(self._transport, exhausted)
        except LedgerUnavailable as error:
            _log.debug("that %s is used up is told later: %s", exhausted.scope, error)

    async def close(self) -> None:
        """What is under way is given up."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
