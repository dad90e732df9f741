"""The recorder's side of the ledger: reading the outbox, owning it, and confirming what is kept.

One recorder at a time writes an organisation's records. It fixes the bounds of a batch here before
it writes it, so that whoever comes after a crash writes the same batch and not another.
"""

import struct
from dataclasses import dataclass

from budgets.policy import Policy
from budgets.session import Session, code_of, number
from budgets.transport import LedgerUnavailable

RETENTION_KEY = "comptroller:retention"
RETENTION_SLACK_MS = 10_000
_FIVE = struct.Struct("<5q")
_COUNTER = struct.Struct("<3q")
_META = struct.Struct("<6q")  # epoch, seq, time, compaction, bodies, opened: chunks/meta.lua

StreamEntry = tuple[bytes, list[bytes]]


class OwnershipLost(Exception):
    """Another recorder owns the organisation now: stop writing for it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A batch: events first to last of an epoch."""

    epoch: int
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Bounds":
        """From `<epoch>-<first>-<last>`."""
        return cls(*map(int, text.split("-")))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a new owner takes up: the ledger's head, the batch that is fixed but not confirmed, and
    up to where events wait in whose spool (both empty where none does)."""

    epoch: int
    seq: int
    fixed: Bounds | None
    spooler: str
    spooled: str


class Recording:
    """The outbox and payload streams, for one recorder; `token` names it and its disk."""

    def __init__(self, session: Session, token: str) -> None:
        self._session = session
        self._token = token

    async def organisations(self) -> list[str]:
        """All that this ledger has."""
        return await self._session.all_organisations()

    async def look(self, organisation: str) -> None:
        """Whether it still is what it was behind the connection as it is now. Raises
        LedgerRecovering, OrganisationUnknown."""
        await self._session.looked_at(organisation)

    async def first_in(self, seconds: int) -> bool:
        """Whether this recorder is the first of all that asked in this time (never quite as long:
        whoever asks in that rhythm is first each time, if alone)."""
        lasts_ms = seconds * 1000 - RETENTION_SLACK_MS
        reply = await self._session.transport.command(
            "SET", RETENTION_KEY, self._token, "NX", "PX", str(lasts_ms)
        )
        return reply is not None

    async def own(self, organisation: str, lease_ms: int) -> Ownership | None:
        """Becomes or stays the one writer for `lease_ms`; None where another one is."""
        slot = await self._session.slot(organisation)
        reply = await self._session.run_in_epoch(
            slot, "own", (*slot.keys, slot.recorder_key), (lease_ms,), (self._token,)
        )
        if code_of(reply) == "OTHER":
            return None
        fixed, spooler, spooled = (_text(each) for each in reply[3:6])
        return Ownership(
            epoch=number(reply[1]),
            seq=number(reply[2]),
            fixed=Bounds.parse(fixed) if fixed else None,
            spooler=spooler,
            spooled=spooled,
        )

    async def fix(self, organisation: str, bounds: Bounds) -> Bounds:
        """The batch to write next: this one, or one that was fixed before. Raises OwnershipLost."""
        slot = await self._session.slot(organisation)
        reply = await self._session.run_in_epoch(
            slot, "fix", (*slot.keys, slot.recorder_key), (), (self._token, str(bounds))
        )
        if code_of(reply) == "LOST":
            raise OwnershipLost(organisation)
        return Bounds.parse(_text(reply[1]))

    async def confirm(
        self,
        organisation: str,
        epoch: int,
        through_seq: int,
        payload_bytes: int,
        *,
        on_disk: bool = False,
    ) -> int:
        """The records (or, `on_disk`, this recorder's spool) hold everything up to this event:
        forgets it; how many entries went. A recorder that does not know the ledger's epoch is
        refused: it was paused, and others took over. So is one that does not own the organisation
        any more (OwnershipLost): what it wrote late, its successor finds written."""
        slot = await self._session.slot(organisation)
        numbers = _FIVE.pack(slot.epoch, 0, epoch, through_seq, payload_bytes)
        keys = (*slot.keys, slot.recorder_key)
        spooler = self._token if on_disk else ""
        reply = await self._session.run("confirm", keys, (numbers, spooler, self._token))
        if code_of(reply) == "LOST":
            raise OwnershipLost(organisation)
        if code_of(reply) != "DONE":
            raise LedgerUnavailable(f"epoch {slot.epoch} of {organisation} is not the ledger's")
        return number(reply[1])

    async def counters(self, organisation: str) -> dict[str, int]:
        """What was spent in every counter that the ledger has, by field."""
        reply = await self._session.transport.command("HGETALL", f"{{{organisation}}}:ledger")
        assert isinstance(reply, list)
        pairs = iter(reply)
        return {
            field.decode(): _COUNTER.unpack(packed)[0]
            for field, packed in zip(pairs, pairs, strict=True)
            if field.startswith(b"c:")
        }

    async def policies(self, organisation: str) -> dict[str, Policy]:
        """Every scope's policy, by scope."""
        return await self._session.policies(organisation)

    async def time_ms(self, organisation: str) -> int:
        """The organisation's own time: no event to come is before it."""
        slot = await self._session.slot(organisation)
        packed = await self._session.transport.command("HGET", slot.keys[0], "meta")
        now = await self._session.transport.command("TIME")
        if not isinstance(packed, bytes):
            raise LedgerUnavailable(f"the ledger of {organisation} has no head: it was emptied")
        assert isinstance(now, list)
        return max(int(_META.unpack(packed)[2]), int(now[0]) * 1000)

    async def compact(
        self, organisation: str, over: list[tuple[str, int, int]]
    ) -> tuple[int, list[str]]:
        """Forgets counters whose window is over (field, its end in seconds, spent by the records):
        how many went, and those of which ledger and records disagree."""
        slot = await self._session.slot(organisation)
        flat = [str(value) for each in over for value in each]
        reply = await self._session.run_in_epoch(slot, "compact", slot.keys, (), tuple(flat))
        differing = reply[2]
        assert isinstance(differing, list)
        return number(reply[1]), [_text(each) for each in differing]

    async def events(
        self, organisation: str, first: str, last: str, count: int
    ) -> list[StreamEntry]:
        """At most `count` entries of the outbox from id `first` to `last` (`+`: the end)."""
        return await self._range(f"{{{organisation}}}:outbox", first, last, count)

    async def payloads(self, organisation: str, first: str, last: str) -> dict[bytes, bytes]:
        """The payloads of these entries, by entry id."""
        entries = await self._range(f"{{{organisation}}}:bodies", first, last, 0)
        return {entry_id: fields[1] for entry_id, fields in entries}

    async def _range(self, key: str, first: str, last: str, count: int) -> list[StreamEntry]:
        limit = ("COUNT", str(count)) if count else ()
        reply = await self._session.transport.command("XRANGE", key, first, last, *limit)
        assert isinstance(reply, list)
        return [(entry_id, fields) for entry_id, fields in reply]


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()
