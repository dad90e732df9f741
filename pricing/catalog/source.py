"""What a list says about one model, in the same words for every list."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Listed:
    """One model in one list.

    `name`: as the list has it; `under`: which of the asked names led there. `info`: its
    `model_info`, money as decimal text in dollars. `confirmed_on`: ISO date, empty where the list
    has none. `changes`: the days on which the list knows the price to change, ascending.
    """

    name: str
    info: Mapping[str, object]
    confirmed_on: str = ""
    changes: tuple[date, ...] = ()
    under: str = ""


class Source(Protocol):
    """A list of prices. `version` may load it."""

    @property
    def name(self) -> str:
        """The list's own name."""

    @property
    def version(self) -> str:
        """The edition that is installed."""

    def find(self, lists: Sequence[str], names: Iterable[str], at_ms: int) -> Listed | None:
        """The first of `names` that is listed, at a moment in milliseconds since 1970."""

    def names(self, lists: Sequence[str]) -> Iterator[str]:
        """What is listed, for suggestions."""
