"""What a kind of step says of itself in a definition."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from orchestrator.problems import Place


class Kind(BaseModel):
    """The fields of one kind; `kind` is the field of the step that they stand in.

    `short`: the field that a plain value stands for (`prompt: "..."`). `written_out`: fields whose
    texts are no templates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    short: ClassVar[str]
    written_out: ClassVar[frozenset[str]] = frozenset()
    kind: str

    def templates(self) -> Iterator[tuple[Place, str]]:
        """Every text that is a template, and its place below the step."""
        values = self.model_dump(exclude={"kind", *self.written_out})
        for place, text in texts_in(values):
            yield (self.kind, *place), text

    def models(self) -> tuple[str, ...]:
        """Models that the step itself asks for, beside those of the programs that it starts."""
        return ()


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
