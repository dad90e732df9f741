"""Requests that have not ended, as a recovery needs them: what a lease holds, and no more. Pure.

There can be hundreds of thousands, and a snapshot keeps every one: they are read, kept and written
again without what only the log needs.
"""

from operator import attrgetter
from typing import Any

import msgspec

from clickhouse.events import COLUMNS, FIRST_COLUMNS, CounterChange, EventRow, WrittenEvent

_TAG = "~1"  # no organisation begins so: what earlier versions kept was the canonical event
_NEEDED = ("request_id", "seq", "time_ms", "output_tokens_max", "reserved_nusd", "counters")
# Later columns are about answers: an open request has none of them.
_ABOUT = tuple(
    each
    for each in msgspec.structs.fields(WrittenEvent)
    if each.name in COLUMNS[:FIRST_COLUMNS] and each.name != "overrun"
)
OPEN_NAMES = (*_NEEDED, *(each.name for each in _ABOUT))
_READ_AS = {"time_ms": "toUnixTimestamp64Milli(time)"}
OPEN_COLUMNS = ", ".join(_READ_AS.get(each, each) for each in OPEN_NAMES)
"""What `clickhouse/queries/open_requests.sql` selects of each."""


class OpenRequest(msgspec.Struct, frozen=True, array_like=True, tag=_TAG, gc=False):
    """`counters` (name, dimension, reserved, charged); `about` is the writer's part of its event, a
    JSON object without what is empty: for whoever ends it in nobody's name."""

    id: str
    seq: int
    time_ms: int
    output_tokens_max: int
    reserved_nusd: int
    counters: tuple[CounterChange, ...]
    about: str


_About: Any = msgspec.defstruct(
    "_About",
    [(each.name, each.type, each.default) for each in _ABOUT],
    frozen=True,
    omit_defaults=True,
)
_Row: Any = msgspec.defstruct(
    "_Row",
    [
        *zip(
            (f"its_{name}" for name in _NEEDED),
            (str, int, int, int, int, tuple[CounterChange, ...]),
            strict=True,
        ),
        *((each.name, each.type) for each in _ABOUT),
    ],
    array_like=True,
)
_decode_row = msgspec.json.Decoder(_Row, strict=False).decode  # 64-bit integers may be quoted
_decode_kept = msgspec.json.Decoder(OpenRequest).decode
_decode_event = msgspec.json.Decoder(EventRow).decode
_encode = msgspec.json.Encoder().encode
_of_event = attrgetter(*OPEN_NAMES)


def read(line: bytes) -> OpenRequest:
    """One of a line of OPEN_COLUMNS."""
    return _made(msgspec.structs.astuple(_decode_row(line)))


def kept(text: str) -> OpenRequest:
    """One that a snapshot has kept."""
    if text.startswith(f'["{_TAG}"'):
        return _decode_kept(text)
    values = list(_of_event(_decode_event(text)))
    at = OPEN_NAMES.index("streamed")
    values[at] = bool(values[at])
    return _made(tuple(values))


def keep(requests: tuple[OpenRequest, ...]) -> list[str]:
    """What a snapshot keeps of them."""
    return [_encode(each).decode() for each in requests]


def _made(values: tuple[object, ...]) -> OpenRequest:
    about = _encode(_About(*values[len(_NEEDED) :])).decode()
    whole: Any = (*values[: len(_NEEDED)], about)
    return OpenRequest(*whole)
