"""Pages that go through one organisation after the other, in order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from console.parts import Parts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """An organisation on the way; `resumes` where the last page ended inside it."""

    organisation: str
    resumes: bool


async def over_organisations(
    parts: Parts,
    organisation: str,
    begun_in: str,
    limit: int,
    ask: Callable[[Place, int], Awaitable[list[T]]],
) -> list[tuple[str, T]]:
    """At most `limit` things, each with its organisation: of one, or of all ("") from the one that
    the last page had begun on ("": from the first)."""
    names = [organisation] if organisation else await parts.overview.organisations()
    found: list[tuple[str, T]] = []
    for name in names:
        if name >= begun_in and len(found) < limit:
            place = Place(name, resumes=name == begun_in)
            found += [(name, each) for each in await ask(place, limit - len(found))]
    return found
