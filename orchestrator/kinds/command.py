"""A process of its own: any SDK, any language."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Attempt, Kind

ARGUMENTS_MAX = 256
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_Variable = Annotated[str, Field(pattern=VARIABLE)]


class Command(Kind):
    """`argv`: program and arguments, without a shell. `env`: variables beside those that every step
    gets. `input`: what it finds in the file of COMPTROLLER_INPUT."""

    short: ClassVar[str] = "argv"
    by_value: ClassVar[frozenset[str]] = frozenset(("input",))
    kind: Literal["command"]
    argv: Annotated[tuple[str, ...], Field(min_length=1, max_length=ARGUMENTS_MAX)]
    env: dict[_Variable, str] = Field(default_factory=dict)
    input: Any = None

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: what it wrote to COMPTROLLER_OUTPUT, else what it printed."""
        return await attempt.run_program(self.argv, self.env, given=self.input)
