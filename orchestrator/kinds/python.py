"""A function of a module beside the definition, in a process of its own."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Attempt, Kind

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
FUNCTION = rf"^{_NAME}(\.{_NAME})*:{_NAME}$"


class Python(Kind):
    """`function`: as `package.module:function`; it is called with `arguments`."""

    short: ClassVar[str] = "function"
    written_out: ClassVar[frozenset[str]] = frozenset(("function",))
    by_value: ClassVar[frozenset[str]] = frozenset(("arguments",))
    kind: Literal["python"]
    function: Annotated[str, Field(pattern=FUNCTION, max_length=512)]
    arguments: dict[str, Any] = Field(default_factory=dict)

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: what the function returns."""
        argv = (*attempt.function_runner, self.function)
        return await attempt.run_program(argv, {}, given=self.arguments)
