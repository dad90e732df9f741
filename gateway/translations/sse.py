"""Events of a stream, taken apart and put together (WHATWG HTML, 9.2)."""

from typing import Any

import msgspec

EVENT_BYTES_MAX = 8 * 1024 * 1024


class Events:
    """Takes a stream apart into the JSON objects of its events; what is none is left out."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """The objects of the events that are whole by now. An event without an end is given up."""
        *whole, rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        self._rest = rest if len(rest) <= EVENT_BYTES_MAX else b""
        found = (_object(each) for each in whole)
        return [each for each in found if each is not None]


def _object(event: bytes) -> dict[str, Any] | None:
    lines = (line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    try:
        value = msgspec.json.decode(b"\n".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def data_event(value: object) -> bytes:
    """An event as OpenAI writes it: data alone."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named_event(value: dict[str, Any]) -> bytes:
    """An event that is named after its `type`, as Anthropic and OpenAI's Responses write it."""
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), msgspec.json.encode(value))
