"""Chains to verify and every way to tamper with them, for both verifiers.

Twelve events: 1-1 to 1-8, then a new epoch that goes on higher, 2-11 to 2-14. Signed are 1-4, 1-8
and 2-14.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clickhouse.chain import GENESIS, link
from clickhouse.events import EventRow, canonical
from recorder.batch import Head
from recorder.evidence import write_evidence
from recorder.findings import Fault, Place
from recorder.heads import SignedHead, SigningKey
from recorder.verify_evidence import check

ORG = "acme"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
START_MS = 1_780_000_000_000
DAY_MS = 86_400_000
PLACES: tuple[Place, ...] = (
    *((1, seq) for seq in range(1, 9)),
    *((2, seq) for seq in range(11, 15)),
)
SIGNED = (3, 7, 11)


class Chained(NamedTuple):
    """A row of the log."""

    hash: str
    prev_hash: str
    event: EventRow

    @property
    def head(self) -> Head:
        """As the end of a chain."""
        return Head(self.event.epoch, self.event.seq, self.hash, self.event.time_ms)


Log = list[Chained]
Heads = list[SignedHead]


def event(epoch: int, seq: int, **changes: Any) -> EventRow:
    """A call's end, with something in every kind of column."""
    row = EventRow(
        org=ORG,
        epoch=epoch,
        seq=seq,
        time_ms=START_MS + seq * DAY_MS // 4,
        event_type="llm_response",
        request_id=f"req-{seq}",
        scope="acme/research",
        endpoint="/v1/chat/completions",
        text_input=100 + seq,
        reserved_nusd=5_000_000,
        charged_nusd=1_000_000 + seq,
        counters=(("acme:usd", 1, 5_000_000, 1_000_000), ("acme:tokens", 2, 900, 300)),
        detail='{"said": "/\u2028é\u0001 \\"quoted\\""}',
    )
    return msgspec.structs.replace(row, **changes)


def chained(events: Iterable[EventRow], prev_hash: str = GENESIS) -> Log:
    """The rows of these events, each on the one before."""
    log = []
    for each in events:
        row = Chained(link(prev_hash, canonical(each)), prev_hash, each)
        log.append(row)
        prev_hash = row.hash
    return log


def clean() -> tuple[Log, Heads]:
    """The twelve events and their three heads."""
    log = chained(event(*place) for place in PLACES)
    return log, signed(log, SIGNED)


def signed(log: Sequence[Chained], rows: Iterable[int], key: SigningKey = KEY) -> Heads:
    """Heads of these rows."""
    return [key.sign(ORG, log[row].head) for row in rows]


def lines(log: Iterable[Chained]) -> list[bytes]:
    """As the engine writes them: other spaces and escapes than ours."""
    return [in_engines_style([each.hash, each.prev_hash, *as_list(each.event)]) for each in log]


def as_list(row: EventRow) -> list[Any]:
    """The columns."""
    return list(msgspec.structs.astuple(row))


def other(column: str, value: Any) -> Any:
    """Another value for a column."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return (*value[:-1], (*value[-1][:3], value[-1][3] + 1))


def in_engines_style(values: list[Any]) -> bytes:
    """JSON as ClickHouse has it: `\\/` for a slash, escapes in capitals."""
    text = json.dumps(values, ensure_ascii=False, separators=(", ", ": "))
    return (
        text.replace("/", "\\/").replace("\\u001f", "\\u001F").replace("\u2028", "\\u2028").encode()
    )


def evidence(
    log: Iterable[Chained], heads: Sequence[SignedHead], key: str = KEY.public_hex
) -> bytes:
    """The file that is exported."""
    file = io.BytesIO()
    write_evidence(file, ORG, key, heads, lines(log))
    return file.getvalue()


def checked(content: bytes, key: str = "") -> str:
    """What the stand-alone verifier says to a file."""
    with io.BufferedReader(io.BytesIO(content)) as file:
        try:
            return check(cast(io.BufferedReader, file), key)
        except ValueError as error:
            return f"WRONG: {error}"


@dataclass(frozen=True, slots=True)
class Tampering:
    """What is done to a log; what `verify` finds, how many rows are right before it, and what the
    stand-alone verifier, which sees less, names."""

    done: Callable[[Log, Heads], tuple[Log, Heads]]
    fault: Fault
    place: Place
    right: int
    named: str


def without(*rows: int) -> Callable[[Log, Heads], tuple[Log, Heads]]:
    """Rows are deleted."""
    return lambda log, heads: ([row for n, row in enumerate(log) if n not in rows], heads)


def forged(log: Log, row: int, **changes: Any) -> Chained:
    """A row with another content, and the hash of that."""
    before = log[row]
    return chained([msgspec.structs.replace(before.event, **changes)], before.prev_hash)[0]


def _swapped(log: Log, heads: Heads) -> tuple[Log, Heads]:
    return [*log[:4], log[5], log[4], *log[6:]], heads


def _twice(at: int, again: int) -> Callable[[Log, Heads], tuple[Log, Heads]]:
    return lambda log, heads: ([*log[:again], log[at], *log[again:]], heads)


def _inserted(log: Log, heads: Heads) -> tuple[Log, Heads]:
    return [*log[:5], forged(log, 5, charged_nusd=0), *log[5:]], heads


def _replaced(row: int, **changes: Any) -> Callable[[Log, Heads], tuple[Log, Heads]]:
    return lambda log, heads: ([*log[:row], forged(log, row, **changes), *log[row + 1 :]], heads)


def _rewritten(row: int) -> Callable[[Log, Heads], tuple[Log, Heads]]:
    """Everything from that row on has another content, in a chain that holds."""

    def done(log: Log, heads: Heads) -> tuple[Log, Heads]:
        events = [msgspec.structs.replace(each.event, charged_nusd=0) for each in log[row:]]
        return [*log[:row], *chained(events, log[row].prev_hash)], heads

    return done


def _renumbered(log: Log, heads: Heads) -> tuple[Log, Heads]:
    """1-6 is gone, and the rest of its epoch moved up, in a chain that holds."""
    moved = [msgspec.structs.replace(each.event, seq=each.event.seq - 1) for each in log[6:8]]
    events = [*moved, *(each.event for each in log[8:])]
    return [*log[:5], *chained(events, log[5].prev_hash)], heads


def _standing_on_nothing(log: Log, heads: Heads) -> tuple[Log, Heads]:
    """One row is sound, but on another hash than that of the row before it."""
    return [*log[:4], chained([log[4].event], "1" * 64)[0], *log[5:]], heads


def _head_changed(log: Log, heads: Heads) -> tuple[Log, Heads]:
    head = heads[1].head
    changed = Head(head.epoch, head.seq, "2" * 64, head.time_ms)
    return log, [heads[0], SignedHead(ORG, changed, heads[1].key, heads[1].signature), heads[2]]


def _other_key(log: Log, heads: Heads) -> tuple[Log, Heads]:
    return log, [heads[0], *signed(log, SIGNED[1:2], OTHER_KEY), heads[2]]


def _passed_off(log: Log, heads: Heads) -> tuple[Log, Heads]:
    """Signed with another key, which is said to be ours."""
    head = OTHER_KEY.sign(ORG, log[7].head)
    return log, [heads[0], SignedHead(ORG, head.head, KEY.public_hex, head.signature), heads[2]]


def _rewritten_and_signed(log: Log, heads: Heads) -> tuple[Log, Heads]:
    log, _ = _rewritten(5)(log, heads)
    return log, signed(log, SIGNED, OTHER_KEY)


TAMPERINGS: dict[str, Tampering] = {
    "first deleted": Tampering(without(0), "missing", (1, 1), 0, "(1, 2) follows (0, 0)"),
    "middle deleted": Tampering(without(5), "missing", (1, 6), 5, "(1, 7) follows (1, 5)"),
    "several deleted": Tampering(without(4, 5), "missing", (1, 5), 4, "(1, 7) follows (1, 4)"),
    "last deleted": Tampering(without(11), "missing", (2, 14), 11, "after (2, 13)"),
    "end of an epoch deleted": Tampering(
        without(7),
        "missing",
        (1, 8),
        7,
        "(2, 11) was changed, or did not stand on this event (1, 7)",
    ),
    "tail cut": Tampering(without(9, 10, 11), "missing", (2, 12), 9, "after (2, 11)"),
    "epoch cut": Tampering(without(8, 9, 10, 11), "missing", (2, 14), 8, "after (1, 8)"),
    "all deleted": Tampering(without(*range(12)), "missing", (2, 14), 0, "after (0, 0)"),
    "two swapped": Tampering(_swapped, "moved", (1, 5), 4, "(1, 6) follows (1, 4)"),
    "one twice": Tampering(_twice(5, 6), "duplicated", (1, 6), 6, "(1, 6) follows (1, 6)"),
    "one twice, later": Tampering(_twice(2, 6), "moved", (1, 3), 6, "(1, 3) follows (1, 6)"),
    "forged inserted": Tampering(_inserted, "inserted", (1, 6), 6, "(1, 6) follows (1, 6)"),
    "of another organisation": Tampering(
        _replaced(5, org="globex"), "inserted", (1, 6), 5, "no event follows (1, 5)"
    ),
    "replaced": Tampering(
        _replaced(5, charged_nusd=0), "replaced", (1, 6), 5, "not stand on this event (1, 6)"
    ),
    "first of an epoch replaced": Tampering(
        _replaced(8, by="x"), "replaced", (2, 11), 8, "not stand on this event (2, 11)"
    ),
    "last replaced": Tampering(
        _replaced(11, by="x"), "not_as_signed", (2, 14), 11, "(2, 14) is not"
    ),
    "last seq raised": Tampering(
        _replaced(11, seq=15), "missing", (2, 14), 11, "(2, 15) follows (2, 13)"
    ),
    "epoch went back in seq": Tampering(
        _replaced(8, seq=8), "replaced", (2, 8), 8, "(2, 8) follows (1, 8)"
    ),
    "epoch went back": Tampering(
        _replaced(9, epoch=1), "moved", (1, 12), 9, "(1, 12) follows (2, 11)"
    ),
    "on another hash": Tampering(
        _standing_on_nothing, "replaced", (1, 5), 4, "(1, 5) was changed, or did not stand"
    ),
    "rewritten from 1-6": Tampering(_rewritten(5), "not_as_signed", (1, 8), 7, "(1, 8) is not"),
    "all rewritten": Tampering(_rewritten(0), "not_as_signed", (1, 4), 3, "(1, 4) is not"),
    "renumbered": Tampering(_renumbered, "missing", (1, 8), 7, "(2, 14) is not"),
    "head changed": Tampering(_head_changed, "forged_head", (1, 8), 0, "(1, 8) not signed"),
    "head of another key": Tampering(_other_key, "forged_head", (1, 8), 0, "(1, 8) not signed"),
    "another key as ours": Tampering(_passed_off, "forged_head", (1, 8), 0, "(1, 8) not signed"),
    "rewritten, signed with another key": Tampering(
        _rewritten_and_signed, "forged_head", (1, 4), 0, "(1, 4) not signed"
    ),
}
