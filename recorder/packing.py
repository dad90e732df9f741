"""Packs entries of the outbox into a batch: the bytes to insert, and the chain through them.

Pure: the same entries on the same head give the same bytes.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import takewhile

import msgspec

from clickhouse.chain import link
from clickhouse.events import (
    COLUMNS,
    DERIVED_COLUMNS,
    Derived,
    EventRow,
    chained,
    whole,
)
from clickhouse.stream import Entry
from recorder.batch import Batch, Head
from recorder.rows import Rows, rows_of

DAY_MS = 86_400_000
_BESIDE = ("hash", "prev_hash", *DERIVED_COLUMNS)


def insert_events(column_count: int = len(COLUMNS)) -> str:
    """The statement for lines that have so many of the row's columns: those of a batch that an
    earlier version has left on the disk have fewer."""
    return f"INSERT INTO comptroller.events ({', '.join((*_BESIDE, *COLUMNS[:column_count]))})"


INSERT_BODIES = "INSERT INTO comptroller.bodies (org, epoch, seq, time, request_id, kind, body)"
INSERT_STATES = "INSERT INTO comptroller.states (org, kind, name, epoch, seq, time_ms, text)"
_encode = msgspec.json.Encoder().encode
_ITSELF = _encode(Derived())[1:-1]
_FIXED = struct.Struct("<IQq")
_REQUEST, _RESPONSE = b"\x01", b"\x02"


class OutboxGap(RuntimeError):
    """The outbox does not go on where the records end: something is lost; nothing is skipped."""


def same_day(entries: Sequence[Entry]) -> list[Entry]:
    """The first of them that lie on one UTC day: a batch never crosses a partition."""
    day = entries[0].time_ms // DAY_MS
    return list(takewhile(lambda each: each.time_ms // DAY_MS == day, entries))


def follows(head: Head, epoch: int, seq: int) -> bool:
    """Whether an event comes next after the head. A later epoch goes on above the head's seq, also
    above nothing: an organisation may be recovered before its first event."""
    if epoch in (head.epoch, 1):
        return (epoch, seq) == (max(head.epoch, 1), head.seq + 1)
    return epoch > head.epoch and seq > head.seq


def pack(organisation: str, head: Head, entries: Sequence[Entry]) -> Batch:
    """The batch of these entries, which lie in one epoch and on one day. Raises OutboxGap."""
    lines: list[bytes] = []
    bodies: list[bytes] = []
    states: list[bytes] = []
    payload_bytes = 0
    first = entries[0]
    for entry in entries:
        if not follows(head, entry.epoch, entry.seq):
            raise OutboxGap(
                f"{organisation}: event {entry.epoch}-{entry.seq} does not follow "
                f"{head.epoch}-{head.seq}: the records or the ledger have lost events"
            )
        rows = rows_of(organisation, entry)
        text = whole(rows.event)
        hash_ = link(head.hash, chained(text))
        lines.append(b'["%b","%b",%b,%b' % (hash_.encode(), head.hash.encode(), _ITSELF, text[1:]))
        lines += _derived_lines(rows)
        if rows.body:
            bodies.append(_body(organisation, entry, rows))
        states += _state_lines(organisation, entry)
        payload_bytes += len(entry.body)
        head = Head(entry.epoch, entry.seq, hash_, entry.time_ms)
    return Batch(
        organisation=organisation,
        first_seq=first.seq,
        head=head,
        events=b"\n".join(lines),
        bodies=b"".join(bodies),
        payload_bytes=payload_bytes,
        body_count=len(bodies),
        states=b"\n".join(states),
        state_count=len(states),
        column_count=len(COLUMNS),
    )


def _state_lines(organisation: str, entry: Entry) -> Iterable[bytes]:
    """Rows of INSERT_STATES."""
    for kind, name, text in entry.state:
        yield _encode((organisation, kind, name, entry.epoch, entry.seq, entry.time_ms, text))


def _derived_lines(rows: Rows) -> Iterable[bytes]:
    """Rows of type `tool_called` at the same seq: who, when and where of their event, no money."""
    if not rows.derived:
        return
    event = rows.event
    about = EventRow(
        org=event.org,
        epoch=event.epoch,
        seq=event.seq,
        time_ms=event.time_ms,
        event_type="tool_called",
        request_id=event.request_id,
        correlation_id=event.correlation_id,
        scope=event.scope,
        project=event.project,
        workflow=event.workflow,
        workflow_version=event.workflow_version,
        run_id=event.run_id,
        step_id=event.step_id,
        attempt=event.attempt,
        agent=event.agent,
        key_id=event.key_id,
        provider=event.provider,
        model=event.model,
        trace_id=event.trace_id,
    )
    text = whole(about)[1:]
    for each in rows.derived:
        yield b'["","",%b,%b' % (_encode(each)[1:-1], text)


def _body(organisation: str, entry: Entry, rows: Rows) -> bytes:
    """One row of RowBinary, the columns of INSERT_BODIES."""
    return b"%b%b%b%b%b" % (
        _string(organisation.encode()),
        _FIXED.pack(entry.epoch, entry.seq, entry.time_ms),
        _string(rows.event.request_id.encode()),
        _REQUEST if entry.event_type == "llm_request" else _RESPONSE,
        _string(rows.body),
    )


def _string(content: bytes) -> bytes:
    """A length as LEB128, and the bytes."""
    length = len(content)
    if length < 0x80:
        return b"%c%b" % (length, content)
    head = bytearray()
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content
