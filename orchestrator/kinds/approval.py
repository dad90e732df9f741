"""A person says whether the run goes on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.durations import DurationS
from orchestrator.kinds.contract import Kind


class Approval(Kind):
    """`message`: what is asked; nobody's answer within `timeout` is a no. It waits at no cost."""

    short: ClassVar[str] = "message"
    is_free: ClassVar[bool] = True
    kind: Literal["approval"]
    message: Annotated[str, Field(min_length=1, max_length=10_000)]
    timeout: DurationS | None = None
