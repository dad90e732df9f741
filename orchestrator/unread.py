"""JSON values that nobody has read yet: a run has more of them than it needs, and reading them
takes far more time and memory than carrying them. Pure."""

import json
from dataclasses import dataclass
from typing import Any

REFERENCE = "@"  # no JSON text begins with it
_SIZE = "."


@dataclass(frozen=True, slots=True)
class Unread:
    """`text`: JSON, or a reference to JSON that is kept apart."""

    text: str

    @property
    def is_apart(self) -> bool:
        """Whether it is a reference."""
        return self.text.startswith(REFERENCE)

    @property
    def size(self) -> int:
        """Of the JSON, in bytes, wherever it is."""
        return int(self.text.partition(_SIZE)[2]) if self.is_apart else len(self.text)


def unread(value: Any) -> Unread:
    """As text. Nothing in it is beyond ASCII."""
    return Unread(json.dumps(value, separators=(",", ":")))


def reference(digest: str, size: int) -> Unread:
    """To JSON of so many bytes."""
    return Unread(f"{REFERENCE}{digest}{_SIZE}{size}")


def value_of(said: Any) -> Any:
    """The value itself. What is kept apart has to be fetched first."""
    return json.loads(said.text) if isinstance(said, Unread) else said
