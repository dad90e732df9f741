"""A process of its own: any SDK, any language."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Kind

ARGUMENTS_MAX = 256
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_Variable = Annotated[str, Field(pattern=VARIABLE)]


class Command(Kind):
    """`argv`: program and arguments, without a shell. `env`: variables beside those that every step
    gets."""

    short: ClassVar[str] = "argv"
    kind: Literal["command"]
    argv: Annotated[tuple[str, ...], Field(min_length=1, max_length=ARGUMENTS_MAX)]
    env: dict[_Variable, str] = Field(default_factory=dict)
