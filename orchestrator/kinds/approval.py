"""A person says whether the run goes on."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.durations import DurationS
from orchestrator.kinds.contract import Attempt, Kind, Signal, Waits


class Approval(Kind):
    """`message`: what is asked; nobody's answer within `timeout` is a no. It waits at no cost."""

    short: ClassVar[str] = "message"
    is_free: ClassVar[bool] = True
    has_key: ClassVar[bool] = False
    kind: Literal["approval"]
    message: Annotated[str, Field(min_length=1, max_length=10_000)]
    timeout: DurationS | None = None

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: `{approved, by, comment, at_ms}`. A signal's payload is true or false, or
        `{approved, comment}`."""
        if attempt.signal is not None:
            return _decision(attempt.signal)
        until_ms = attempt.deadline_ms
        if self.timeout is not None:
            until_ms = min(until_ms, attempt.begun_ms + self.timeout * 1000)
        if attempt.now_ms < until_ms:
            raise Waits(until_ms)
        return {
            "approved": False,
            "by": "",
            "comment": "nobody answered in time",
            "at_ms": attempt.now_ms,
        }


def _decision(signal: Signal) -> dict[str, Any]:
    """Only what is plainly a yes is one."""
    said = signal.payload if isinstance(signal.payload, Mapping) else {"approved": signal.payload}
    comment = said.get("comment")
    return {
        "approved": said.get("approved") is True,
        "by": signal.by,
        "comment": comment if isinstance(comment, str) else "",
        "at_ms": signal.at_ms,
    }
