"""A run of another workflow, inside this one's budget."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Kind


class SubWorkflow(Kind):
    """`name`: of a workflow that is known, or a file beside this one."""

    short: ClassVar[str] = "name"
    written_out: ClassVar[frozenset[str]] = frozenset(("name",))
    kind: Literal["workflow"]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    input: dict[str, Any] = Field(default_factory=dict)
