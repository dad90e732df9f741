"""Endings as bytes of a file: what can be read again after any crash, and is known for damaged.

A file begins with MAGIC and a mark of its own, by chance; each record with that mark, its length
and its checksum. So a record that was cut short is told from damage in the middle, and behind such
damage reading goes on at the next mark, which no payload can have guessed. Pure.
"""

import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import cast

import msgspec

from budgets.answers import Truth

MAGIC = b"comptroller-endings-1\n"
MARK_BYTES = 8
HEADER_BYTES = len(MAGIC) + MARK_BYTES
_HEAD = struct.Struct(f"<{MARK_BYTES}sII")  # mark, length of the content, CRC-32 of the content
_TIME_DIGITS = 12  # of an id, see Session.new_id


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """How one reservation ends: `truth` settles it, None releases it; `mark` names its mark;
    `known` is the (epoch, seq) of its grant: a ledger that is behind that was rolled back. Fields
    are only ever added at the end, with a default."""

    organisation: str
    id: str
    truth: Truth | None
    event: bytes
    body: bytes
    mark: str
    known: tuple[int, int] = (0, 0)


_Content = tuple[int, Ending | None]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


@dataclass(slots=True)
class Found:
    """What a file holds: the endings that the ledger has not taken, by number; how many of its
    bytes are whole; whether something between them is not what was written."""

    endings: dict[int, Ending] = field(default_factory=dict)
    mark: bytes = b""
    whole_bytes: int = 0
    is_damaged: bool = False


def new_header() -> bytes:
    """The first bytes of a new file."""
    return MAGIC + os.urandom(MARK_BYTES)


def mark_in(header: bytes) -> bytes:
    """The mark that the records of this file begin with."""
    return header[len(MAGIC) : HEADER_BYTES]


def kept_record(mark: bytes, number: int, ending: Ending) -> bytes:
    """An ending that waits, under a number that the file has once."""
    return _record(mark, (number, ending))


def taken_record(mark: bytes, number: int) -> bytes:
    """The ledger has taken the ending with this number."""
    return _record(mark, (number, None))


def _record(mark: bytes, value: _Content) -> bytes:
    content = _encode(value)
    return _HEAD.pack(mark, len(content), zlib.crc32(content)) + content


def read_records(content: bytes) -> Found:
    """Everything that is whole. What ends too early at the end was never kept, and is no damage."""
    if len(content) < HEADER_BYTES:
        return Found(is_damaged=not (MAGIC.startswith(content) or content.startswith(MAGIC)))
    if not content.startswith(MAGIC):
        return Found(is_damaged=True)
    found = Found(mark=mark_in(content), whole_bytes=HEADER_BYTES)
    at = HEADER_BYTES
    while at < len(content):
        end = _add(found, content, at)
        if end:
            found.is_damaged |= at != found.whole_bytes
            found.whole_bytes = at = end
        else:
            at = content.find(found.mark, at + 1)
            if at < 0:
                break
    return found


def _add(found: Found, content: bytes, at: int) -> int:
    """The end of the record that begins here; 0 where none does."""
    start = at + _HEAD.size
    if start > len(content):
        return 0
    mark, length, crc = cast(tuple[bytes, int, int], _HEAD.unpack_from(content, at))
    packed = content[start : start + length]
    if mark != found.mark or len(packed) != length or zlib.crc32(packed) != crc:
        return 0
    try:
        number, ending = _decode(packed)
        if ending is not None:
            int(ending.id[:_TIME_DIGITS], 16)
    except (ValueError, msgspec.MsgspecError):  # another version wrote it
        found.is_damaged = True
        return start + length
    if ending is None:
        found.endings.pop(number, None)
    else:
        found.endings[number] = ending
    return start + length
