"""What is wrong with a definition, and where: whoever has its text finds the line."""

from dataclasses import dataclass
from difflib import get_close_matches

Place = tuple[str | int, ...]
"""Names of fields and numbers of entries, from the root: ("steps", 2, "needs", 0)."""
NAMES_SHOWN_MAX = 12
PROBLEMS_MAX = 100
"""More are found once these are mended: to look for the nearest of many names takes its time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One of them. `message` says what to write instead."""

    place: Place
    message: str


class DefinitionInvalid(ValueError):
    """A definition that cannot run; all that is known to be wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(each.message for each in problems))


def nearest(name: str, known: list[str]) -> str:
    """`: did you mean x?`, or what there is."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f": did you mean {close[0]}?"
    if not known:
        return ": there is none"
    rest = len(known) - NAMES_SHOWN_MAX
    more = f" and {rest} more" if rest > 0 else ""
    return f": there is {', '.join(known[:NAMES_SHOWN_MAX])}{more}"
