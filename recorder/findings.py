"""What can be wrong with a log, in plain words: the verdict, and the text of each finding.

Apart from the walk that finds them, because whoever reads a finding has never seen the code: it
says which event, what happened to it, and how far the rest is to be trusted.
"""

from dataclasses import dataclass
from typing import Literal

from recorder.batch import Head

Fault = Literal[
    "changed",  # its hash is not that of its content
    "missing",  # the sequence has a gap, or ends before a signed head
    "moved",  # it is there, but not in its place
    "replaced",  # the event after it stands on another
    "duplicated",  # it is there twice
    "inserted",  # a second, different event in its place, or one of another organisation
    "not_as_signed",  # its signed head has another hash
    "forged_head",  # a head without a valid signature of ours
]
Place = tuple[int, int]  # epoch, seq


@dataclass(frozen=True, slots=True)
class Verdict:
    """`events` are right, the last of them is `end`, and up to `signed` a signature vouches for
    them. With a fault, the event after them is the first wrong one, `place` as far as it can be
    known; `message` says what it is and what that means."""

    events: int
    end: Head | None
    signed: Head | None
    message: str
    fault: Fault | None = None
    place: Place | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None


class Wrong(Exception):
    """The first wrong event. `before_last`: it is the one that had been thought right last."""

    def __init__(
        self, fault: Fault, place: Place, message: str, *, before_last: bool = False
    ) -> None:
        super().__init__(message)
        self.fault: Fault = fault
        self.place = place
        self.before_last = before_last


def place_of(head: Head) -> Place:
    """Where a head is."""
    return head.epoch, head.seq


def name(place: Place) -> str:
    """As the outbox and all messages name an event: epoch-seq."""
    return f"{place[0]}-{place[1]}"


def all_right(count: int, end: Head | None, signed: Head | None) -> str:
    """What a verdict without a fault proves, and what it does not."""
    if end is None:
        return "There are no events."
    if signed is None:
        return (
            f"All {count} events up to {name(place_of(end))} stand on one another. No signed head "
            "vouches for any of them: whoever keeps the log could have made all of it anew."
        )
    return (
        f"All {count} events up to {name(place_of(end))} are as they were written: nothing was "
        f"changed, removed, added or moved. Up to {name(place_of(signed))} a signature vouches for "
        "that."
    )


def changed(place: Place, why: str) -> Wrong:
    """Hash and content differ, or there is no such content."""
    return Wrong(
        "changed",
        place,
        f"Event {name(place)} was changed after it was written: {why}. Everything before it is "
        "right; nothing after it was looked at.",
    )


def of_another(place: Place, organisation: str, expected: str) -> Wrong:
    """An event of another organisation."""
    return Wrong(
        "inserted",
        place,
        f"Event {name(place)} belongs to {organisation}, not to {expected}: it was put in.",
    )


def repeated(last: Head, place: Place, hash_: str) -> Wrong:
    """A place at or below that of the last event."""
    if place < place_of(last):
        return Wrong(
            "moved",
            place,
            f"Event {name(place)} comes after {name(place_of(last))}: it was moved, or is there "
            "twice.",
        )
    if hash_ == last.hash:
        return Wrong("duplicated", place, f"Event {name(place)} is there twice.")
    return Wrong(
        "inserted",
        place,
        f"There are two different events {name(place)}: one of them was put in.",
    )


def gap(place: Place, *, found_later: bool) -> Wrong:
    """Not there where it should be."""
    if found_later:
        return Wrong(
            "moved", place, f"Event {name(place)} is not in its place: later ones come before it."
        )
    return Wrong(
        "missing",
        place,
        f"Event {name(place)} is missing. The sequence has no gaps: it was there, and was removed.",
    )


def epoch_cut(expected: Place, last: Place, row: Place) -> Wrong:
    """A new epoch that does not stand on what is the end of the one before."""
    return Wrong(
        "missing",
        expected,
        f"Event {name(row)} does not stand on {name(last)}: the end of that epoch was removed, "
        f"from {name(expected)} on, or {name(last)} was replaced.",
    )


def epoch_went_back(last: Place, row: Place) -> Wrong:
    """A new epoch goes on above the highest seq of the one before."""
    return Wrong(
        "replaced",
        row,
        f"Event {name(row)} cannot follow {name(last)}, because a new epoch goes on above the last "
        "seq: it was put in the place of another.",
    )


def replaced(last: Place, row: Place, *, row_is_odd: bool) -> Wrong:
    """Two events, each sound by itself, of which one is not the one that was there."""
    place = row if row_is_odd else last
    return Wrong(
        "replaced",
        place,
        f"Event {name(row)} does not stand on the event {name(last)} that is there: {name(place)} "
        "was replaced by another with a hash of its own. Those before it may have been too, back "
        "to the last one that is signed.",
        before_last=not row_is_odd,
    )


def no_beginning(place: Place) -> Wrong:
    """The log does not begin with its first event, and nothing says that it may."""
    before = (place[0], max(place[1] - 1, 1))
    return Wrong(
        "missing",
        before,
        f"The log begins with event {name(place)}, which is not its first, and no signed head "
        f"vouches for what was before it: the events up to {name(before)} were removed, or "
        "replaced.",
    )


def removed_before(signed: Place, place: Place, *, kept: bool) -> Wrong:
    """The log begins too late: with a gap after a signed head, or on days that should be kept."""
    why = "it is of a day that is still kept" if kept else "others are missing between them"
    return Wrong(
        "missing",
        signed if kept else (signed[0], signed[1] + 1),
        f"The log begins with event {name(place)}. Event {name(signed)} was signed before it, and "
        f"{why}: events were removed.",
    )


def other_base(signed: Place, place: Place) -> Wrong:
    """The first event does not stand on the signed head before it."""
    return Wrong(
        "replaced",
        place,
        f"Event {name(place)}, the first of the log, does not stand on {name(signed)}, the last "
        "that was signed before it: events there were removed or replaced.",
    )


def not_as_signed(place: Place, signed: Place | None) -> Wrong:
    """A sound chain, but not the one that was signed: rewritten by someone without the key."""
    since = f"somewhere after {name(signed)}" if signed else "somewhere before it"
    return Wrong(
        "not_as_signed",
        place,
        f"Event {name(place)} is not the one that was signed: the log was rewritten with a new "
        f"chain, from {since}. What is signed before it is right; nothing later can be trusted.",
    )


def cut_off(place: Place, last: Place, signed: Place) -> Wrong:
    """The log, or an epoch of it, ends before a signed head."""
    return Wrong(
        "missing",
        place,
        f"Event {name(signed)} was signed and is not there: the log was cut off after "
        f"{name(last)}, from {name(place)} on.",
    )


def all_gone(signed: Place) -> Wrong:
    """Nothing is left of what was signed."""
    return Wrong(
        "missing",
        signed,
        f"There are no events, but {name(signed)} was signed: the log was removed.",
    )


def forged_head(place: Place, key: str, expected_key: str) -> Wrong:
    """A head that our key did not sign."""
    why = (
        "it was changed after it was signed"
        if key == expected_key
        else f"it was signed with the key {key}, not with {expected_key}"
    )
    return Wrong(
        "forged_head",
        place,
        f"The signed head of event {name(place)} is not genuine: {why}. The log was not looked at: "
        "restore the file of heads from a backup and verify again.",
    )
