"""The stream format: what the ledger appends to an organisation's outbox, read.

An entry has the id `<epoch>-<seq>`, and two or three fields. `event` is the writer's part, JSON or
empty. `facts` is the ledger's: the MessagePack values type, time in ms, id, the counters touched (a
MessagePack text of their own, its values flat: field, dimension, amount for a request; field,
dimension, held, charged for an ending), output tokens granted, and nano-dollars reserved. `state`,
after an act that changed what no sum tells, is how it stands since: the MessagePack texts kind,
name and text for each thing (a scope's record, a policy, a key; an empty text: gone). Lua's
cmsgpack joins values without an array's head, and writes bytes as text.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from clickhouse.events import CounterChange

Facts = tuple[str, int, str, msgspec.Raw, int, int]
_decode_facts = msgspec.msgpack.Decoder(Facts).decode
_decode_counters: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[str | int]).decode
_ARRAY_OF_SIX = b"\x96"
_TEXT_LENGTH_BYTES = {0xD9: 1, 0xDA: 2, 0xDB: 4}


# What stands since an event: kind, name, text.
StateChange = tuple[str, str, str]


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
    state: tuple[StateChange, ...] = ()


def read_entry(entry_id: bytes, fields: Sequence[bytes], body: bytes = b"") -> Entry:
    """An entry from its id and its fields as the scripts write them: `event` and its value, then
    `facts` and its value, then perhaps `state` and its. Raises EntryMalformed."""
    try:
        epoch, seq = entry_id.split(b"-")
        _, event, _, facts, *more = fields
        kind, time_ms, id_, packed, output, nusd = _decode_facts(_ARRAY_OF_SIX + facts)
        counters = _counters(kind, _text_bytes(bytes(packed)))
        state = _state(*more) if more else ()
        return Entry(
            *(int(epoch), int(seq), kind, time_ms, id_, output, nusd, counters, event, body, state)
        )
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise EntryMalformed(f"outbox entry {entry_id!r}: {error}") from error


def _counters(kind: str, packed: bytes) -> tuple[CounterChange, ...]:
    """A request's amounts are reserved, and nothing is charged yet."""
    flat = _decode_counters(packed) if packed else []
    if not flat:
        return ()
    width = 3 if kind == "llm_request" else 4
    fields, *numbers = (flat[n::width] for n in range(width))
    # Both raise TypeError where texts and numbers do not alternate, and cost a tenth of a loop.
    "".join(fields)
    sum(map(sum, numbers))
    if width == 3:
        numbers.append([0] * len(fields))
    return tuple(zip(fields, *numbers, strict=True))


def _state(_: bytes, packed: bytes) -> tuple[StateChange, ...]:
    """Texts behind each other, without an array's head: as many as there are."""
    texts: list[str] = []
    while packed:
        head, length, wide = packed[0], 0, 0
        if head & 0xE0 == 0xA0:
            length = head & 0x1F
        else:
            wide = _TEXT_LENGTH_BYTES[head]
            length = int.from_bytes(packed[1 : 1 + wide], "big")
        start = 1 + wide
        if len(packed) < start + length:
            raise ValueError("a text of its state is cut")
        texts.append(packed[start : start + length].decode())
        packed = packed[start + length :]
    return tuple(zip(*(texts[n::3] for n in range(3)), strict=True))


def _text_bytes(packed: bytes) -> bytes:
    """The content of a MessagePack text that is not text: cmsgpack knows no binary type."""
    if packed[0] & 0xE0 == 0xA0:
        return packed[1:]
    return packed[1 + _TEXT_LENGTH_BYTES[packed[0]] :]
