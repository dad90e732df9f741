"""Splits a recorded event stream into its events: once, for every surface that streams.

The format is WHATWG HTML, section 9.2 (server-sent events). One rule differs: an event that is cut
off at the end is handed out too, marked as such, because a record keeps what arrived.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_PREFIX = b"data:"
_EVENT_END = re.compile(rb"\n\n+")
_FIRST_LINE = re.compile(rb"\s*+(?::|(?:data|event|id|retry)(?::|[\r\n]))")


class SseEvent(NamedTuple):
    """The data of one event, its lines joined by a line feed. `whole` is False for the last one if
    the empty line that ends it never came."""

    data: bytes
    whole: bool


def is_event_stream(body: bytes) -> bool:
    """Whether a body starts like an event stream: with a comment or a field of one."""
    return _FIRST_LINE.match(body.removeprefix(_BOM)) is not None


def events(body: bytes) -> Iterator[SseEvent]:
    """The events with data, in order. Lines may end in LF, CRLF or CR. Linear in the body."""
    body = body.removeprefix(_BOM)
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    at = 0
    for end in _EVENT_END.finditer(body):
        data = _data(body[at : end.start()])
        if data:
            yield SseEvent(data, whole=True)
        at = end.end()
    data = _data(body[at:])
    if data:
        yield SseEvent(data, whole=False)


def _data(block: bytes) -> bytes:
    """The data of the lines of one event; comments and other fields are left out."""
    if b"\n" not in block:  # what nearly every event looks like
        return block[len(_PREFIX) :].removeprefix(b" ") if block.startswith(_PREFIX) else b""
    lines = (line[len(_PREFIX) :] for line in block.split(b"\n") if line.startswith(_PREFIX))
    return b"\n".join(line.removeprefix(b" ") for line in lines)
