"""One call of a model."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.kinds.contract import Call, Kind

OUTPUT_TOKENS_MAX = 10**7


class Prompt(Kind):
    """`text` goes to the model as a user's message, after `system`; its answer is the output."""

    short: ClassVar[str] = "text"
    written_out: ClassVar[frozenset[str]] = frozenset(("model", "output"))
    kind: Literal["prompt"]
    text: Annotated[str, Field(min_length=1)]
    system: str = ""
    model: str | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=OUTPUT_TOKENS_MAX)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    output: Literal["text", "json"] = "text"

    def call(self, default_model: str | None) -> Call:
        """See Kind."""
        return Call(self.model or default_model, self.max_tokens)
