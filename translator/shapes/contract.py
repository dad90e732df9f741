"""What must be known of a provider's wire format before a request in it may leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A wire format. To add one is to add a file, and its line in `SHAPES`.

    `api`: a key of `pricing.usage.APIS`. `recognises(path, body)`: whether a POST to this path is
    of it. `cap(body)`, `choices(body)`: output tokens at most, and how many answers of that many;
    0 where the body does not say. `usage(document)`: what an answer, or an event of a stream, says
    was used: later events add to what earlier ones have said. `ends(event)`: whether an event says
    that the answer is whole.
    """

    name: str
    api: str
    recognises: Callable[[str, Document], bool]
    cap: Callable[[Document], int]
    choices: Callable[[Document], int]
    usage: Callable[[Document], Document]
    ends: Callable[[Document], bool]


def inside(body: Document, *names: str) -> Document:
    """The object under the first of these names; empty where there is none."""
    for name in names:
        value = body.get(name)
        if isinstance(value, dict):
            return value
    return {}


def whole(value: object) -> int:
    """A whole number above 0, else 0."""
    return value if type(value) is int and value > 0 else 0


def items(value: object) -> list[Document]:
    """The objects in a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def only(caps: list[object]) -> int:
    """The cap where it is said once, or several times alike: of two that differ nobody knows which
    one the provider obeys."""
    said = {whole(each) for each in caps if each is not None}
    return said.pop() if len(said) == 1 else 0
