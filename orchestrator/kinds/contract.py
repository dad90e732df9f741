"""What a kind of step says of itself in a definition."""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from orchestrator.problems import Place


class Call(NamedTuple):
    """Of a model: None where nobody has named one, and no cap."""

    model: str | None
    max_tokens: int | None


class Kind(BaseModel):
    """The fields of one kind; `kind` is the field of the step that they stand in.

    `short`: the field that a plain value stands for (`prompt: "..."`). `written_out`: fields whose
    texts are no templates. `is_free`: nothing of it can cost money.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    short: ClassVar[str]
    written_out: ClassVar[frozenset[str]] = frozenset()
    is_free: ClassVar[bool] = False
    kind: str

    def templates(self) -> Iterator[tuple[Place, str]]:
        """Every text that is a template, and its place below the step."""
        values = self.model_dump(exclude={"kind", *self.written_out})
        for place, text in texts_in(values):
            yield (self.kind, *place), text

    def call(self, default_model: str | None) -> Call | None:  # noqa: ARG002  # see the kinds
        """The one call that it makes; None where it makes none, or a program as many as it likes.
        `default_model`: of who names none."""
        return None


def texts_in(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """The texts of a JSON value, with their places in it."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_in(each, (*place, name))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from texts_in(each, (*place, index))
