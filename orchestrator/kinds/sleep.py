"""Time that passes, at no cost: days and months, too."""

from typing import ClassVar, Literal

from orchestrator.durations import DurationS
from orchestrator.kinds.contract import Kind


class Sleep(Kind):
    """`duration`: from the moment that the step is ready."""

    short: ClassVar[str] = "duration"
    is_free: ClassVar[bool] = True
    kind: Literal["sleep"]
    duration: DurationS
