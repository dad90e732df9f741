"""The stream format: what the ledger appends to an organisation's outbox, read.

An entry has the id `<epoch>-<seq>`, and two fields. `event` is the writer's part, JSON or empty.
`facts` is the ledger's: the MessagePack values type, time in ms, id, the counters touched (a
MessagePack text of their own, its values flat: field, dimension, amount for a request; field,
dimension, held, charged for an ending), output tokens granted, and nano-dollars reserved. Lua's
cmsgpack joins values without an array's head, and writes bytes as text.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from clickhouse.events import CounterChange

Facts = tuple[str, int, str, msgspec.Raw, int, int]
_decode_facts = msgspec.msgpack.Decoder(Facts).decode
_decode_counters = msgspec.msgpack.Decoder(list[str | int]).decode
_ARRAY_OF_SIX = b"\x96"
_TEXT_LENGTH_BYTES = {0xD9: 1, 0xDA: 2, 0xDB: 4}


class EntryMalformed(ValueError):
    """The outbox holds something that no script of the ledger writes."""


class Entry(NamedTuple):
    """One event of the outbox, with what its payload stream holds for it."""

    epoch: int
    seq: int
    event_type: str
    time_ms: int
    id: str
    output_tokens: int
    reserved_nusd: int
    counters: tuple[CounterChange, ...]
    event: bytes
    body: bytes


def read_entry(entry_id: bytes, fields: Iterable[bytes], body: bytes = b"") -> Entry:
    """An entry from its id and its flat fields (name, value, ...). Raises EntryMalformed."""
    try:
        epoch, seq = map(int, entry_id.split(b"-"))
        pairs = iter(fields)
        values = dict(zip(pairs, pairs, strict=True))
        kind, time_ms, id_, packed, output, nusd = _decode_facts(_ARRAY_OF_SIX + values[b"facts"])
        counters = _counters(kind, _text_bytes(bytes(packed)))
        return Entry(epoch, seq, kind, time_ms, id_, output, nusd, counters, values[b"event"], body)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise EntryMalformed(f"outbox entry {entry_id!r}: {error}") from error


def _counters(kind: str, packed: bytes) -> tuple[CounterChange, ...]:
    """A request's amounts are reserved, and nothing is charged yet."""
    flat = _decode_counters(packed) if packed else []
    if kind == "llm_request":
        return tuple(
            (str(flat[n]), int(flat[n + 1]), int(flat[n + 2]), 0) for n in range(0, len(flat), 3)
        )
    return tuple(
        (str(flat[n]), int(flat[n + 1]), int(flat[n + 2]), int(flat[n + 3]))
        for n in range(0, len(flat), 4)
    )


def _text_bytes(packed: bytes) -> bytes:
    """The content of a MessagePack text that is not text: cmsgpack knows no binary type."""
    if packed[0] & 0xE0 == 0xA0:
        return packed[1:]
    return packed[1 + _TEXT_LENGTH_BYTES[packed[0]] :]
