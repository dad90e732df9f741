"""Reads the outbox into batches of bounded size."""

from collections.abc import Sequence

import msgspec

from budgets.recording import Bounds, Recording
from clickhouse.stream import Entry, read_entry
from recorder.batch import Head
from recorder.packing import same_day

RECORDED_BYTES_MAX = 8 * 1024 * 1024
"""What a gateway keeps of one payload at most."""


class OutboxMoved(Exception):
    """The outbox does not go on where this recorder was: another one went on meanwhile, or events
    are lost. It looks again before it calls that a gap."""


class Outbox:
    """One organisation's outbox. `events_max` and `bytes_max` (writers' parts and payloads) bound
    a batch; a single event is a batch, however large."""

    def __init__(
        self, recording: Recording, organisation: str, events_max: int, bytes_max: int
    ) -> None:
        self._recording = recording
        self._organisation = organisation
        self._events_max = events_max
        self._bytes_max = bytes_max

    async def next_entries(self, head: Head) -> list[Entry]:
        """What comes after the head, without payloads, as far as one batch goes."""
        first = f"{head.epoch}-{head.seq + 1}"
        found = await self._recording.events(self._organisation, first, "+", self._events_max)
        entries = [read_entry(entry_id, fields) for entry_id, fields in found]
        return self._bounded(entries) if entries else []

    def _bounded(self, entries: Sequence[Entry]) -> list[Entry]:
        epoch = entries[0].epoch
        kept: list[Entry] = []
        size_bytes = 0
        for entry in same_day(entries):
            size_bytes += len(entry.event) + _payload_bytes(entry)
            if kept and (entry.epoch != epoch or size_bytes > self._bytes_max):
                break
            kept.append(entry)
        return kept

    async def entries(self, bounds: Bounds, read: Sequence[Entry] = ()) -> list[Entry]:
        """Exactly these, with their payloads; `read` may be the same ones, already read."""
        first, last = f"{bounds.epoch}-{bounds.first}", f"{bounds.epoch}-{bounds.last}"
        payloads = await self._recording.payloads(self._organisation, first, last)
        if read and (read[0].seq, read[-1].seq) == (bounds.first, bounds.last):
            body_of = payloads.get
            return [
                entry._replace(body=body_of(b"%d-%d" % (entry.epoch, entry.seq), b""))
                for entry in read
            ]
        count = bounds.last - bounds.first + 1
        found = await self._recording.events(self._organisation, first, last, count)
        if len(found) < count:
            raise OutboxMoved(f"{self._organisation}: the outbox has {len(found)} of {bounds}")
        return [
            read_entry(entry_id, fields, payloads.get(entry_id, b"")) for entry_id, fields in found
        ]

    async def leftovers(self, head: Head) -> Bounds | None:
        """Entries at or below the head, of one epoch: recorded, but not confirmed (a crash came
        between)."""
        last = f"{head.epoch}-{head.seq}"
        found = await self._recording.events(self._organisation, "-", last, self._events_max)
        if not found:
            return None
        places = [tuple(map(int, entry_id.split(b"-"))) for entry_id, _ in found]
        epoch, first = places[0]
        return Bounds(epoch, first, max(seq for of, seq in places if of == epoch))


class _Sizes(msgspec.Struct):
    """Of a written event only this; the rest is skipped."""

    request_bytes: int = 0
    response_bytes: int = 0


_decode_sizes = msgspec.json.Decoder(_Sizes).decode


def _payload_bytes(entry: Entry) -> int:
    """What the writer says of its payload's size, an upper bound of what is kept of it."""
    try:
        sizes = _decode_sizes(entry.event) if entry.event else _Sizes()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return RECORDED_BYTES_MAX
    size = sizes.request_bytes if entry.event_type == "llm_request" else sizes.response_bytes
    return min(size, RECORDED_BYTES_MAX)
