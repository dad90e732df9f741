"""The recorder's side of the ledger: reading the outbox, owning it, and confirming what is kept.

One recorder at a time writes an organisation's records. It fixes the bounds of a batch here before
it writes it, so that whoever comes after a crash writes the same batch and not another.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from budgets.policy import Policy
from budgets.replies import code_of, number, texts
from budgets.session import Session
from budgets.transport import LedgerUnavailable

RETENTION_KEY = "comptroller:retention"
RETENTION_SLACK_MS = 10_000
_FIVE = struct.Struct("<5q")
_COUNTER = struct.Struct("<3q")
_SCOPE = struct.Struct("<BqqB")
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


class Overtaken(Exception):
    """The ledger has compacted since this pass began: it goes by what was."""


@dataclass(frozen=True, slots=True)
class HeldScope:
    """A scope that the ledger has; `state` as in STATES of `budgets.answers`."""

    scope: str
    state: int
    version: int
    fence: int


@dataclass(frozen=True, slots=True)
class Held:
    """A piece of what the ledger has."""

    scopes: tuple[HeldScope, ...]
    counters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OldKey:
    """The key whose scope goes: its id, its entry in the index ("" none), when it expired (0:
    revoked)."""

    id: str
    entry: str = ""
    expired_ms: int = 0


@dataclass(frozen=True, slots=True)
class Going:
    """What may go together: a scope as it was read with its counters, or a counter alone; of each
    counter its end in seconds (0: none; LIMIT_REMOVED) and what the records say was spent."""

    counters: tuple[tuple[str, int, int], ...]
    scope: HeldScope | None = None
    key: OldKey | None = None

    def packed(self) -> bytes:
        """As the script `compact` reads it."""
        of, key = self.scope or _NO_SCOPE, self.key or _NO_KEY
        flat = (value for each in self.counters for value in each)
        return msgspec.msgpack.encode(
            [of.scope, of.state, of.version, of.fence, key.id, key.entry, key.expired_ms, *flat]
        )


LIMIT_REMOVED = -1
NOT_HERE = -1
"""State of a scope whose record the ledger does not have, only counters of it."""
_NO_SCOPE = HeldScope("", 0, 0, 0)
_NO_KEY = OldKey("")


@dataclass(slots=True)
class Pass:
    """One pass: the ledger's epoch and time when it began, the compaction that it goes by, and how
    much it let go."""

    organisation: str
    epoch: int
    time_ms: int
    compaction: int
    counters: int = 0
    scopes: int = 0


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
        slot = await self._session.slot(organisation)
        return {
            field.decode(): _COUNTER.unpack(packed)[0]
            async for page in self._session.pages(slot.keys[0], "c:*")
            for field, packed in page
        }

    async def spent(self, organisation: str, fields: Sequence[str]) -> dict[str, int]:
        """What was spent in these counters; none: no entry."""
        slot = await self._session.slot(organisation)
        reply = await self._session.transport.command("HMGET", slot.keys[0], *fields)
        assert isinstance(reply, list)
        return {
            field: _COUNTER.unpack(packed)[0]
            for field, packed in zip(fields, reply, strict=True)
            if packed is not None
        }

    async def policies(self, organisation: str) -> dict[str, Policy]:
        """Every scope's policy, by scope."""
        return await self._session.policies(organisation)

    async def held(self, organisation: str, prefix: str = "") -> AsyncIterator[Held]:
        """Scopes and counters that the ledger has, in pieces: all that stay there meanwhile, some
        of them twice. `prefix` is `s:` or `c:` where only those are wanted."""
        slot = await self._session.slot(organisation)
        async for page in self._session.pages(slot.keys[0], f"{prefix}*"):
            scopes = tuple(
                HeldScope(field[2:].decode(), *_SCOPE.unpack(packed)[:3])
                for field, packed in page
                if field.startswith(b"s:")
            )
            counters = tuple(field.decode() for field, _ in page if field.startswith(b"c:"))
            yield Held(scopes, counters)

    async def without_record(self, organisation: str, scopes: Sequence[str]) -> set[str]:
        """Those of these scopes that the ledger does not have."""
        slot = await self._session.slot(organisation)
        if not scopes:
            return set()
        fields = (f"s:{scope}" for scope in scopes)
        reply = await self._session.transport.command("HMGET", slot.keys[0], *fields)
        assert isinstance(reply, list)
        return {scope for scope, packed in zip(scopes, reply, strict=True) if packed is None}

    async def key_entries(self, organisation: str, key_ids: Sequence[str]) -> dict[str, bytes]:
        """Records of keys in the index, by id; none: no entry."""
        slot = await self._session.slot(organisation)
        if not key_ids:
            return {}
        reply = await self._session.transport.command("HMGET", slot.keys_key, *key_ids)
        assert isinstance(reply, list)
        return {id_: each for id_, each in zip(key_ids, reply, strict=True) if each is not None}

    async def time_ms(self, organisation: str) -> int:
        """The organisation's own time: no event to come is before it."""
        return (await self.begin_pass(organisation)).time_ms

    async def begin_pass(self, organisation: str) -> "Pass":
        """A pass over what may go: to be begun before anything that it goes by is read."""
        slot = await self._session.slot(organisation)
        packed = await self._session.transport.command("HGET", slot.keys[0], "meta")
        now = await self._session.transport.command("TIME")
        if not isinstance(packed, bytes):
            raise LedgerUnavailable(f"the ledger of {organisation} has no head: it was emptied")
        assert isinstance(now, list)
        epoch, _, time_ms, compaction, _, _ = _META.unpack(packed)
        return Pass(organisation, epoch, max(time_ms, int(now[0]) * 1000), compaction)

    async def compact(
        self, of_pass: "Pass", recorded_seq: int, going: Sequence[Going]
    ) -> list[str]:
        """Forgets what is at rest; the pass counts how much went. The counters of which ledger and
        records disagree. Raises Overtaken, once another has compacted."""
        slot = await self._session.slot(of_pass.organisation)
        is_first = int(not of_pass.counters and not of_pass.scopes)
        reply = await self._session.run(
            "compact",
            (*slot.keys, slot.policies_key, slot.keys_key),
            (
                _FIVE.pack(of_pass.epoch, slot.seq, of_pass.compaction, is_first, recorded_seq),
                *(each.packed() for each in going),
            ),
        )
        code = code_of(reply)
        if code == "STALE":
            raise Overtaken(of_pass.organisation)
        if code != "DONE":
            raise LedgerUnavailable(
                f"epoch {of_pass.epoch} of {of_pass.organisation} is not the ledger's"
            )
        counters, scopes, differing, compaction = reply[1:5]
        of_pass.counters += number(counters)
        of_pass.scopes += number(scopes)
        of_pass.compaction = number(compaction)
        return texts(differing)

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
