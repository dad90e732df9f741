"""What live streams are made of: things that are told, each with the place after it."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

# Ends of lines to some readers, and to none in JSON's escapes.
_ENDS_OF_LINES = {each: f"\\u{ord(each):04x}".encode() for each in "\x85\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a stream. `name`: of its type, empty for an event of the log."""

    place: str
    data: Any
    name: str = ""

    def block(self) -> bytes:
        """As it is sent."""
        data = msgspec.json.encode(self.data)
        for each, escaped in _ENDS_OF_LINES.items():
            data = data.replace(each.encode(), escaped)
        name = f"event: {self.name}\n".encode() if self.name else b""
        return b"id: %b\n%bdata: %b\n\n" % (self.place.encode(), name, data)


class Feed(Protocol):
    """Where a stream has it from."""

    @property
    def place(self) -> str:
        """Where a client that comes back goes on."""
        ...

    @property
    def is_over(self) -> bool:
        """Nothing more will come."""
        ...

    @property
    def poll_ms(self) -> int:
        """How long to wait where there was nothing."""
        ...

    async def more(self) -> list[Told]:
        """What there is by now; what was told is not told again."""
        ...
