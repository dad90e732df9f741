"""Says whether an organisation's log is what was written, and if not, which event is wrong first.

Pure: lines of the log and signed heads go in, a verdict comes out. Each event's content is proven
by its hash; order and completeness by the hash before it and a sequence without gaps; and what a
whole new chain would hide by the heads that were signed while the log was written.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

import msgspec

from clickhouse.chain import GENESIS
from clickhouse.events import COLUMNS, EventRow, canonical
from recorder import findings
from recorder.batch import Head
from recorder.findings import Place, Verdict, Wrong, place_of
from recorder.heads import SignedHead

# EventRow's columns as `chain.sql` selects them.
_READ_AS = {"time_ms": "toUnixTimestamp64Milli(time)"}
CHAIN_COLUMNS = ", ".join(_READ_AS.get(each, each) for each in COLUMNS)
PROGRESS_EVERY = 10_000
LOOK_AHEAD_ROWS = 10_000
_hashes = re.compile(rb'\s*\["([0-9a-f]{64})", ?"([0-9a-f]{64})", ?').match
_decode = msgspec.json.Decoder(EventRow, strict=False).decode  # 64-bit integers may be quoted


class RowUnreadable(ValueError):
    """A line of the log that no event of ours makes."""


class Row(NamedTuple):
    """One event as it was read; `text` is what its hash covers."""

    hash: str
    prev_hash: str
    event: EventRow
    text: bytes

    @property
    def place(self) -> Place:
        """Epoch and seq."""
        return self.event.epoch, self.event.seq

    @property
    def head(self) -> Head:
        """As the end of a chain."""
        return Head(self.event.epoch, self.event.seq, self.hash, self.event.time_ms)


def read_row(line: bytes) -> Row:
    """A line of `chain.sql`: hash, hash before, and CHAIN_COLUMNS. Whatever escapes and spaces the
    engine writes, the text is ours again. Raises RowUnreadable."""
    match = _hashes(line)
    if match is None:
        raise RowUnreadable("its hash, or the hash before it, is no SHA-256")
    try:
        event = _decode(b"[" + line[match.end() :])
        return Row(match[1].decode(), match[2].decode(), event, canonical(event))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RowUnreadable(str(error)) from error


def verify(
    rows: Iterable[bytes],
    heads: Sequence[SignedHead],
    public_key_hex: str,
    progress: Callable[[int], None] = lambda _: None,
    kept_since_ms: int | None = None,
) -> Verdict:
    """The verdict on one organisation's log, from the first event that is kept. `rows` are lines of
    `chain.sql` in its order; `progress` is told how many are right, now and then and at the end.

    A log may begin later if its first event stands on the last signed head before it: those days
    were dropped. With `kept_since_ms`, from when on all is kept, only older days may be."""
    walk = _Walk(filter(bytes.strip, rows), heads, kept_since_ms)
    wrong: Wrong | None = None
    try:
        _check_signatures(heads, public_key_hex)
        walk.run(progress)
    except Wrong as found:
        wrong = found
    verdict = walk.verdict(wrong)
    progress(verdict.events)
    return verdict


def _check_signatures(heads: Sequence[SignedHead], public_key_hex: str) -> None:
    for each in heads:
        if not each.is_signed_by(public_key_hex):
            raise findings.forged_head(place_of(each.head), each.key, public_key_hex)


class _Walk:
    """Through the log, row by row, with the signed heads beside it."""

    def __init__(
        self, lines: Iterator[bytes], heads: Sequence[SignedHead], kept_since_ms: int | None
    ) -> None:
        self._lines = lines
        self._organisation = heads[0].organisation if heads else None
        # The next one last. A key that signed two heads for one event has both looked at.
        self._ahead = sorted((each.head for each in heads), key=place_of, reverse=True)
        self._kept_since_ms = kept_since_ms
        self._signed: Head | None = None
        self._before: Row | None = None
        self._last: Row | None = None
        self._count = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """To the end, or raises Wrong."""
        for line in self._lines:
            row, last = self._readable(line), self._last
            event = row.event
            if sha256(row.prev_hash.encode() + b"\n" + row.text).hexdigest() != row.hash:
                raise findings.changed(row.place, "its hash is not that of its content")
            if (
                last is None
                or row.prev_hash != last.hash
                or event.seq != last.event.seq + 1
                or event.epoch != last.event.epoch
                or event.org != self._organisation
            ):
                self._check_place(row)
            if self._ahead:
                self._check_head(row)
            self._before, self._last = last, row
            self._count += 1
            if self._count % PROGRESS_EVERY == 0:
                progress(self._count)
        self._check_end()

    def verdict(self, wrong: Wrong | None) -> Verdict:
        """What the walk came to."""
        last, count = self._last, self._count
        if wrong is not None and wrong.before_last:
            last, count = self._before, count - 1
        end = last.head if last else None
        if wrong is None:
            return Verdict(count, end, self._signed, findings.all_right(count, end, self._signed))
        return Verdict(count, end, self._signed, str(wrong), wrong.fault, wrong.place)

    def _readable(self, line: bytes) -> Row:
        try:
            return read_row(line)
        except RowUnreadable as error:
            raise findings.changed(_place_in(line) or self._expected(), str(error)) from error

    def _expected(self) -> Place:
        last = self._last
        return (last.event.epoch, last.event.seq + 1) if last else (1, 1)

    def _check_place(self, row: Row) -> None:
        """A row that is not simply the next one: the first, one of a new epoch, or a wrong one."""
        event, last = row.event, self._last
        self._organisation = self._organisation or event.org
        if event.org != self._organisation:
            raise findings.of_another(row.place, event.org, self._organisation)
        if last is None:
            self._check_first(row)
        elif row.place <= last.place:
            raise findings.repeated(last.head, row.place, row.hash)
        elif event.epoch == last.event.epoch and event.seq > last.event.seq + 1:
            raise self._gap()
        elif event.seq <= last.event.seq:
            raise findings.epoch_went_back(last.place, row.place)
        elif row.prev_hash != last.hash and event.seq > last.event.seq + 1:
            raise findings.epoch_cut(self._expected(), last.place, row.place)
        elif row.prev_hash != last.hash:
            raise self._replaced(last, row)

    def _check_first(self, row: Row) -> None:
        """It is the first of all, or stands on the last signed head before it."""
        while self._ahead and place_of(self._ahead[-1]) < row.place:
            self._signed = self._ahead.pop()
        base = self._signed
        if base is None:
            # A later epoch may be the first: recovered before anything had happened.
            if row.prev_hash != GENESIS or (row.event.epoch == 1 and row.event.seq != 1):
                raise findings.no_beginning(row.place)
            return
        signed = place_of(base)
        if row.event.epoch == base.epoch and row.event.seq != base.seq + 1:
            raise findings.removed_before(signed, row.place, kept=False)
        if self._kept_since_ms is not None and base.time_ms >= self._kept_since_ms:
            raise findings.removed_before(signed, row.place, kept=True)
        if row.prev_hash != base.hash:
            raise findings.other_base(signed, row.place)

    def _gap(self) -> Wrong:
        expected = self._expected()
        later = islice(self._lines, LOOK_AHEAD_ROWS)
        return findings.gap(expected, found_later=expected in map(_place_in, later))

    def _replaced(self, last: Row, row: Row) -> Wrong:
        """Which of the two is odd: not the one that is signed, nor the one that the next event
        stands on."""
        following = _hashes(next(self._lines, b""))
        stands_on_row = following is None or following[2].decode() == row.hash
        row_is_odd = self._signed == last.head or not stands_on_row
        return findings.replaced(last.place, row.place, row_is_odd=row_is_odd)

    def _check_head(self, row: Row) -> None:
        """Signed heads up to this row are of this row."""
        while self._ahead and place_of(self._ahead[-1]) <= row.place:
            head = self._ahead.pop()
            if place_of(head) != row.place:
                raise self._cut(head)
            if head.hash != row.hash:
                signed = place_of(self._signed) if self._signed else None
                raise findings.not_as_signed(row.place, signed)
            self._signed = head

    def _check_end(self) -> None:
        if not self._ahead:
            return
        newest = self._ahead[0]
        if self._last is not None:
            raise self._cut(self._ahead[-1])
        if self._kept_since_ms is None or newest.time_ms >= self._kept_since_ms:
            raise findings.all_gone(place_of(newest))

    def _cut(self, head: Head) -> Wrong:
        assert self._last is not None
        last, signed = self._last.place, place_of(head)
        place = self._expected() if head.epoch == last[0] else signed
        return findings.cut_off(place, last, signed)


def _place_in(line: bytes) -> Place | None:
    """Epoch and seq of a line, as far as it can be read."""
    try:
        _, _, _, epoch, seq, *_ = json.loads(line)
        return int(epoch), int(seq)
    except (ValueError, TypeError):
        return None
