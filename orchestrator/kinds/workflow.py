"""A run of another workflow, inside this one's budget."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Attempt, Kind


class SubWorkflow(Kind):
    """`name`: of a workflow that is known, or a file beside this one."""

    short: ClassVar[str] = "name"
    written_out: ClassVar[frozenset[str]] = frozenset(("name",))
    by_value: ClassVar[frozenset[str]] = frozenset(("input",))
    has_key: ClassVar[bool] = False
    works_elsewhere: ClassVar[bool] = True
    retries_by_default: ClassVar[bool] = False
    kind: Literal["workflow"]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    input: dict[str, Any] = Field(default_factory=dict)

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: the output of the run."""
        return await attempt.run_workflow(self.name, self.input)
