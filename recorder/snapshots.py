"""What the records say that the ledger holds: balances, open requests, and what stands.

Summed from events through their (epoch, seq), never read from the ledger: it is what a ledger that
is lost comes back from. A snapshot is where this sum stood once, so that no event before it is
needed any more; what came after is added when it is asked for.
"""

import json
import string
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from clickhouse.errors import StoreUnavailable
from clickhouse.query import load_query
from clickhouse.quoting import quoted
from clickhouse.store import Store
from recorder.batch import Head
from recorder.keeping import appears, inserted
from recorder.openrequests import OPEN_COLUMNS, OpenRequest, keep, kept, read

SEQS_PER_EPOCH = 2**40
"""One number for (epoch, seq): a seq is below it, and so is an epoch below 2**24."""
ALLOTMENT = "allotment"
WINDOWS_S = 64 * 86_400
"""No window that began earlier is asked for: the longest is half of it."""
_INSERT = "INSERT INTO comptroller.snapshots (org, place, epoch, seq, time_ms, open)"
_decode_last = msgspec.json.Decoder(tuple[int, int, list[str]], strict=False).decode
_decode_ids = msgspec.json.Decoder(tuple[list[str]]).decode
_encode = msgspec.json.Encoder().encode
_NOT_KEPT = "the records take a snapshot and do not keep it: is the disk full, or memory short?"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Up to where balances stand, and the requests that were open then."""

    epoch: int = 0
    seq: int = 0
    open: tuple[OpenRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """Something that happened under an id, as its tombstone needs it."""

    id: str
    event_type: str
    counters: list[tuple[str, int, int, int]]
    output_tokens: int
    reserved_nusd: int


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the records say of one organisation up to `head`: what was spent by counter (each
    with its dimension), requests that are open, and texts by kind and name (empty: gone)."""

    head: Head
    spent: dict[str, tuple[int, int]]
    open: tuple[OpenRequest, ...]
    states: dict[str, dict[str, str]] = field(default_factory=dict)


class Snapshots:
    """Of all organisations of one database. All raise StoreUnavailable and StoreRefused."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last(self, organisation: str) -> Snapshot:
        """The last one; an empty one where there is none."""
        line = await self._store.select(load_query("snapshot"), {"org": organisation})
        if not line.strip():
            return Snapshot()
        epoch, seq, texts = _decode_last(line)
        return Snapshot(epoch, seq, tuple(map(kept, texts)))

    async def last_place(self, organisation: str) -> tuple[int, int]:
        """Its (epoch, seq); zeros where there is none."""
        line = await self._store.select(load_query("snapshot_place"), {"org": organisation})
        if not line.strip():
            return 0, 0
        seq, epoch = json.loads(line)
        return int(epoch), int(seq)

    async def is_known(self, organisation: str) -> bool:
        """Whether anything stands of it, though no event may be left."""
        line = await self._store.select(load_query("is_known"), {"org": organisation})
        return bool(json.loads(line)[0])

    async def take(self, organisation: str, head: Head, standing: Standing | None = None) -> bool:
        """Makes the records up to `head` a snapshot; whether there was anything new. Again after a
        crash: the same rows. The snapshot is written last, so one that is there is whole: no
        balance of it is missing. Whoever knows what stands there says so. What the records take and
        do not keep is StoreUnavailable: a ledger that came back from such a snapshot would have
        forgotten what was spent, or would open an epoch again."""
        epoch, seq = await self.last_place(organisation)
        if (epoch, seq) >= (head.epoch, head.seq):
            return False
        since = _between(organisation, Snapshot(epoch, seq), head)
        statement = string.Template(load_query("take_balances")).substitute(
            org=quoted(organisation),
            after_epoch=epoch,
            after_seq=seq,
            epoch=head.epoch,
            seq=head.seq,
            time_ms=head.time_ms,
        )
        await self._store.command(statement)
        if not await appears(lambda: self._has_balances(since)):
            raise StoreUnavailable(_NOT_KEPT)
        if standing is None:
            still_open = await self._open_at(organisation, head, await self.last(organisation))
        else:
            still_open = standing.open
        place = head.epoch * SEQS_PER_EPOCH + head.seq
        row = _encode([organisation, place, head.epoch, head.seq, head.time_ms, keep(still_open)])

        async def insert(token: str) -> None:
            await self._store.insert(_INSERT, row, token)

        async def is_there() -> bool:
            return await self.last_place(organisation) >= (head.epoch, head.seq)

        if not await inserted(insert, is_there, sha256(row).hexdigest()):
            raise StoreUnavailable(_NOT_KEPT)
        return True

    async def _has_balances(self, since: dict[str, str | int]) -> bool:
        (missing,) = json.loads(await self._store.select(load_query("balances_missing"), since))
        return not int(missing)

    async def standing(self, organisation: str, head: Head, over_ms: int) -> Standing:
        """What stands at the end of the log; of allotments that were closed before `over_ms`
        nothing."""
        last = await self.last(organisation)
        where = _between(organisation, last, head)
        since_s = over_ms // 1000 - WINDOWS_S
        lines = await self._store.select(load_query("balances_at"), {**where, "since_s": since_s})
        spent: dict[str, tuple[int, int]] = {}
        for line in lines.splitlines():
            name, dimension, amount = json.loads(line)
            spent[name] = dimension, spent.get(name, (0, 0))[1] + int(amount)
        still_open = await self._open_at(organisation, head, last)
        here: dict[str, str | int] = {"org": organisation, "epoch": head.epoch, "seq": head.seq}
        states: dict[str, dict[str, str]] = {}
        for line in (await self._store.select(load_query("states_at"), here)).splitlines():
            kind, name, text, since_ms = json.loads(line)
            if kind == ALLOTMENT and int(since_ms) < over_ms and '"state":"closed"' in text:
                continue  # no late truth about it can come any more
            states.setdefault(kind, {})[name] = text
        return Standing(head, spent, still_open, states)

    async def ended_since(self, organisation: str, since_ms: int) -> list[Ended]:
        """What ended, was corrected or done since a time, oldest first."""
        lines = await self._store.select(
            load_query("endings_since"), {"org": organisation, "since_ms": since_ms}
        )
        rows = (json.loads(line) for line in lines.splitlines())
        return [
            Ended(id_, kind, [tuple(each) for each in counters], output, int(nusd))
            for id_, kind, counters, output, nusd in rows
        ]

    async def _open_at(
        self, organisation: str, head: Head, last: Snapshot
    ) -> tuple[OpenRequest, ...]:
        where = _between(organisation, last, head)
        query = string.Template(load_query("open_requests")).substitute(columns=OPEN_COLUMNS)
        lines = await self._store.select(query, where)
        begun = map(read, lines.splitlines())
        earlier = {each.id: each for each in last.open}
        if earlier:
            (ended,) = _decode_ids(await self._store.select(load_query("ended_between"), where))
            for id_ in ended:
                earlier.pop(id_, None)
        return (*earlier.values(), *begun)


def _between(organisation: str, last: Snapshot, head: Head) -> dict[str, str | int]:
    return {
        "org": organisation,
        "after_epoch": last.epoch,
        "after_seq": last.seq,
        "epoch": head.epoch,
        "seq": head.seq,
    }
