"""Time that passes, at no cost: days and months, too."""

from typing import Any, ClassVar, Literal

from orchestrator.durations import DurationS
from orchestrator.kinds.contract import Attempt, Kind, Waits


class Sleep(Kind):
    """`duration`: from the moment that the step is ready."""

    short: ClassVar[str] = "duration"
    is_free: ClassVar[bool] = True
    has_key: ClassVar[bool] = False
    kind: Literal["sleep"]
    duration: DurationS

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: no output."""
        until_ms = attempt.begun_ms + self.duration * 1000
        if attempt.now_ms < until_ms:
            raise Waits(until_ms)
