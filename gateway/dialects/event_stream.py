"""What the readers of all streams share: bytes in, whole events out (WHATWG HTML, 9.2.6).

A chunk that ends with an event and has nothing to look at is passed on as it came: each reader says
what that is. All else is taken apart here, and what has to wait for the stream's end is held.
"""

import re
from abc import ABC, abstractmethod

EVENT_BYTES_MAX = 1024 * 1024
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class EventPieces:
    """Pieces of a stream, until their event has ended: no byte is searched again for each of them,
    however long the event."""

    __slots__ = ("_pending", "_pending_bytes", "_seam")

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # pieces of an event that has not ended
        self._pending_bytes = 0
        self._seam = b""

    def _ended_in(self, chunk: bytes) -> list[bytes]:
        """The events that end in this chunk, whole."""
        seam = self._seam + chunk
        self._seam = seam[-3:]
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if _EVENT_END.search(seam) is None:
            return []  # still inside an event
        data = self._taken_pending()
        ended: list[bytes] = []
        at = 0
        for end in _EVENT_END.finditer(data):
            ended.append(data[at : end.end()])
            at = end.end()
        rest = data[at:]
        self._pending = [rest] if rest else []
        self._pending_bytes = len(rest)
        return ended

    def _taken_pending(self) -> bytes:
        """What is left, as at the stream's end: an event without its empty line, or half of one."""
        pending = b"".join(self._pending)
        self._pending = []
        self._pending_bytes = 0
        return pending


class EventStream(EventPieces, ABC):
    """Of an event that grows beyond `event_bytes_max`, the pieces are passed on."""

    __slots__ = ("_held",)
    event_bytes_max = EVENT_BYTES_MAX

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []

    @abstractmethod
    def _passes(self, event: bytes) -> bool:
        """Whether a whole event goes to the client now."""

    def _by_event(self, chunk: bytes) -> bytes:
        """What goes to the client now, of the events that end in this chunk."""
        passed = [event for event in self._ended_in(chunk) if self._passes(event)]
        if self._pending_bytes > self.event_bytes_max:
            passed.append(self._taken_pending())
        return b"".join(passed)


def payload_of(event: bytes) -> bytes:
    """The data of an event; comments and other fields are left out."""
    lines = (line.strip() for line in event.splitlines())
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
