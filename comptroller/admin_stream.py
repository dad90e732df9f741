"""Server-sent events of the admin API, as they come. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

BLOCK_BYTES_MAX = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Streamed:
    """One event: `name` is its type, empty for one of the log; `data` is None where it has only a
    place."""

    place: str
    name: str
    data: Any


def streamed(pieces: Iterable[bytes]) -> Iterator[Streamed]:
    """Only line feeds end lines: the API sends no others. What is no JSON, or longer than anything
    that it says, ends it."""
    rest = b""
    for piece in pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            found = _event(block)
            if found is None:
                return
            yield found
        if len(rest) > BLOCK_BYTES_MAX:
            return


def _event(block: bytes) -> Streamed | None:
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")
    try:
        data = json.loads(fields[b"data"]) if b"data" in fields else None
        return Streamed(fields.get(b"id", b"").decode(), fields.get(b"event", b"").decode(), data)
    except ValueError:
        return None
