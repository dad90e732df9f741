"""Reads the outbox into batches of bounded size."""

from collections.abc import Sequence

import msgspec

from budgets.recording import Bounds, Recording
from clickhouse.events import decode_written
from clickhouse.stream import Entry, read_entry
from recorder.batch import Head
from recorder.packing import same_day

RECORDED_BYTES_MAX = 8 * 1024 * 1024
"""What a gateway keeps of one payload at most."""


class Outbox:
    """One organisation's outbox. `events_max` and `payload_bytes_max` bound a batch; a single
    event is a batch, however large."""

    def __init__(
        self, recording: Recording, organisation: str, events_max: int, payload_bytes_max: int
    ) -> None:
        self._recording = recording
        self._organisation = organisation
        self._events_max = events_max
        self._payload_bytes_max = payload_bytes_max

    async def next_entries(self, head: Head) -> list[Entry]:
        """What comes after the head, without payloads, as far as one batch goes."""
        first = f"{head.epoch}-{head.seq + 1}"
        found = await self._recording.events(self._organisation, first, "+", self._events_max)
        entries = [read_entry(entry_id, fields) for entry_id, fields in found]
        return self._bounded(entries) if entries else []

    def _bounded(self, entries: Sequence[Entry]) -> list[Entry]:
        epoch = entries[0].epoch
        kept: list[Entry] = []
        payload_bytes = 0
        for entry in same_day(entries):
            payload_bytes += _payload_bytes(entry)
            if kept and (entry.epoch != epoch or payload_bytes > self._payload_bytes_max):
                break
            kept.append(entry)
        return kept

    async def entries(self, bounds: Bounds) -> list[Entry]:
        """Exactly these, with their payloads."""
        first, last = f"{bounds.epoch}-{bounds.first}", f"{bounds.epoch}-{bounds.last}"
        count = bounds.last - bounds.first + 1
        found = await self._recording.events(self._organisation, first, last, count)
        payloads = await self._recording.payloads(self._organisation, first, last)
        return [
            read_entry(entry_id, fields, payloads.get(entry_id, b"")) for entry_id, fields in found
        ]

    async def leftovers(self, head: Head) -> Bounds | None:
        """Entries at or below the head: recorded, but not confirmed (a crash came between)."""
        last = f"{head.epoch}-{head.seq}"
        found = await self._recording.events(self._organisation, "-", last, 1)
        if not found:
            return None
        entry = read_entry(*found[0])
        return Bounds(entry.epoch, entry.seq, min(head.seq, entry.seq + self._events_max - 1))


def _payload_bytes(entry: Entry) -> int:
    """What the writer says of its payload's size, an upper bound of what is kept of it."""
    try:
        written = decode_written(entry.event)
    except msgspec.MsgspecError:
        return RECORDED_BYTES_MAX
    size = written.request_bytes if entry.event_type == "llm_request" else written.response_bytes
    return min(size, RECORDED_BYTES_MAX)
