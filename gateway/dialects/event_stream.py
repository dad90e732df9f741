"""What the readers of all streams share: bytes in, whole events out (WHATWG HTML, 9.2.6).

A chunk that ends with an event and has nothing to look at is passed on as it came: each reader says
what that is. All else is taken apart here, and what has to wait for the stream's end is held.
"""

import re
from abc import ABC, abstractmethod

EVENT_BYTES_MAX = 1024 * 1024
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class EventStream(ABC):
    """Of an event that grows beyond `event_bytes_max`, the pieces are passed on."""

    __slots__ = ("_held", "_pending", "_pending_bytes", "_seam")
    event_bytes_max = EVENT_BYTES_MAX

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # pieces of an event that has not ended
        self._pending_bytes = 0
        self._held: list[bytes] = []
        self._seam = b""

    @abstractmethod
    def _passes(self, event: bytes) -> bool:
        """Whether a whole event goes to the client now."""

    def _by_event(self, chunk: bytes) -> bytes:
        """What goes to the client now, of the events that end in this chunk."""
        seam = self._seam + chunk
        self._seam = seam[-3:]
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if _EVENT_END.search(seam) is None and self._pending_bytes <= self.event_bytes_max:
            return b""  # still inside an event: it is not searched again for each of its pieces
        data = b"".join(self._pending)
        passed: list[bytes] = []
        at = 0
        for end in _EVENT_END.finditer(data):
            event = data[at : end.end()]
            at = end.end()
            if self._passes(event):
                passed.append(event)
        rest = data[at:]
        if len(rest) > self.event_bytes_max:
            passed.append(rest)
            rest = b""
        self._pending = [rest] if rest else []
        self._pending_bytes = len(rest)
        return b"".join(passed)

    def _taken_pending(self) -> bytes:
        """What is left at the stream's end: an event without its empty line, or half of one."""
        pending = b"".join(self._pending)
        self._pending = []
        return pending


def payload_of(event: bytes) -> bytes:
    """The data of an event; comments and other fields are left out."""
    lines = (line.strip() for line in event.splitlines())
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
