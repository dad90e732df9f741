"""Events of a stream, taken apart and put together (WHATWG HTML, 9.2)."""

from typing import Any

import msgspec

from gateway.dialects.event_stream import EventPieces, payload_of

EVENT_BYTES_MAX = 8 * 1024 * 1024


class Events(EventPieces):
    """Takes a stream apart into the JSON objects of its events; what is none is left out."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """The objects of the events that are whole by now. An event without an end is given up."""
        if not chunk:  # what is read of the provider's stream does not pass at once
            return []
        found = [_object(each) for each in self._ended_in(chunk)]
        if self._pending_bytes > EVENT_BYTES_MAX:
            self._taken_pending()
        return [each for each in found if each is not None]


def _object(event: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(payload_of(event))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def data_event(value: object) -> bytes:
    """An event as OpenAI writes it: data alone."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named_event(value: dict[str, Any]) -> bytes:
    """An event that is named after its `type`, as Anthropic and OpenAI's Responses write it."""
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), msgspec.json.encode(value))
