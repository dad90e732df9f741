"""The recovery of an organisation, as the ledger sees it: closed, written anew, opened again.

Who recovers it has asked the records first. Every write names the epoch that was raised at the
beginning, so that a recovery that was paused in the middle is refused once another one has begun.
"""

import asyncio
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from budgets.keys import EXPIRED_KEPT_MS, Key, record_key
from budgets.replies import code_of, number
from budgets.session import ORGANISATIONS_KEY, Session
from budgets.slots import NOT_LOOKED, Slot
from budgets.transport import Argument, LedgerUnavailable

WRITES_AT_ONCE_MAX = 500
PIECES_AT_ONCE_MAX = 4
SEQS_APART = 2**24
"""A new epoch begins so far above what is known: more than an outbox ever holds, so that no seq and
no limit's id that a lost event had is given again."""
_OVERTAKEN = "the recovery of {} was begun again by another recorder"
_FOUR = struct.Struct("<4q")
_THREE = struct.Struct("<3q")

# Where a write goes: the keys of restore.lua, in order; tombstones follow.
LEDGER, LEASES, EXPIRY, POLICIES, KEYS, ALLOTMENTS, ALLOTMENTS_EXPIRY, TOMBSTONES = range(1, 9)


class Overtaken(LedgerUnavailable):
    """Another recorder owns the organisation, or has begun its recovery after this one."""


class Write(msgspec.Struct, frozen=True, gc=False):
    """`text` empty: the field goes. `place` is one of the above; an `id` names whose tombstone."""

    place: int
    field: str
    text: bytes
    id: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """What the ledger still has, whatever it is worth."""

    ledger: dict[str, bytes]
    policies: dict[str, bytes]
    keys: dict[str, bytes]
    leases: frozenset[str]


class Recovering:
    """For all organisations of one recorder; `token` names it."""

    def __init__(self, session: Session, token: str) -> None:
        self._session = session
        self._token = token

    async def begin(
        self, organisation: str, records: tuple[int, int, int], owner_lease_ms: int
    ) -> int:
        """Closes the organisation to everybody else, above what the records have (epoch, seq, time
        in ms): its own time in ms; 0 where it is open and knows as much as they do. Raises
        Overtaken."""
        slot = Slot(organisation)
        numbers = _FOUR.pack(*records, owner_lease_ms)
        keys = (*slot.keys, slot.recorder_key)
        reply = await self._session.run_unlooked("recover", keys, (numbers, self._token))
        code = code_of(reply)
        if code == "OTHER":
            raise Overtaken(f"{organisation} is recovered by another recorder")
        if code == "OPEN":
            return 0
        slot.epoch, slot.seq = number(reply[1]), number(reply[2])
        self._session.work_on(slot)
        # Before it is open: whoever sweeps or records it finds it by its name here.
        await self._session.transport.command("SADD", ORGANISATIONS_KEY, organisation)
        return number(reply[3])

    def give_up(self, organisation: str) -> None:
        """Something failed: who calls next looks what is there, and recovers it anew."""
        self._session.known_slot(organisation).generation = NOT_LOOKED

    async def present(self, organisation: str) -> Present:
        """What is there."""
        slot = self._session.known_slot(organisation)
        return Present(
            ledger=await self._hash(slot.keys[0]),
            policies=await self._hash(slot.policies_key),
            keys=await self._hash(slot.keys_key),
            leases=frozenset(await self._hash(slot.keys[3])),
        )

    async def restore(self, organisation: str, writes: Iterable[Write], lease_ms: int) -> None:
        """Writes all of it in bounded pieces, what goes before what comes. Raises Overtaken."""
        going: list[Write] = []
        coming: list[Write] = []
        for each in writes:
            (coming if each.field else going).append(each)
        for part in (going, coming):
            pieces = _pieces(part)
            while some := list(itertools.islice(pieces, PIECES_AT_ONCE_MAX)):
                tries = (self._restore_piece(organisation, piece, lease_ms) for piece in some)
                for failed in await asyncio.gather(*tries, return_exceptions=True):
                    if failed is not None:
                        raise failed

    async def _restore_piece(self, organisation: str, piece: list[Write], lease_ms: int) -> None:
        slot = self._session.known_slot(organisation)
        own = (slot.keys[0], slot.keys[3], slot.keys[4], slot.policies_key, slot.keys_key)
        fixed = (*own, *slot.allotment_keys)
        tombstones = sorted({slot.done_key(each.id) for each in piece if each.id})
        args: list[Argument] = [_THREE.pack(slot.epoch, slot.seq, lease_ms)]
        for each in piece:
            place = each.place
            if each.id:
                place = TOMBSTONES + tombstones.index(slot.done_key(each.id))
            args += (str(place), each.field, each.text)
        reply = await self._session.run("restore", (*fixed, *tombstones), tuple(args))
        self._expect(reply[0], b"DONE", organisation)

    async def restore_keys(self, records: Iterable[tuple[bytes, bool]], now_ms: int) -> None:
        """The records by which secrets are found, each with whether the key still works; those of
        secrets that do so for a time end with it."""
        wanted = iter(records)
        while some := list(itertools.islice(wanted, WRITES_AT_ONCE_MAX)):
            tries = (self._restore_secrets(record, works, now_ms) for record, works in some)
            for failed in await asyncio.gather(*tries, return_exceptions=True):
                if failed is not None:
                    raise failed

    async def _restore_secrets(self, record: bytes, works: bool, now_ms: int) -> None:
        key = msgspec.json.decode(record, type=Key)
        left_ms = 0
        if key.expires_at_ms is not None:
            left_ms = key.expires_at_ms + EXPIRED_KEPT_MS - now_ms
        if key.secret_sha256:
            there = works and left_ms >= 0
            await self._restore_key(key.secret_sha256, record if there else b"", left_ms)
        for sha256, until_ms in key.earlier:
            old = msgspec.structs.replace(
                key, secret_sha256=sha256, expires_at_ms=until_ms, earlier=()
            )
            left_ms = until_ms - now_ms if works else 0
            text = msgspec.json.encode(old) if left_ms > 0 else b""
            await self._restore_key(sha256, text, left_ms)

    async def _restore_key(self, sha256: str, record: bytes, left_ms: int = 0) -> None:
        command = self._session.transport.command
        if not record:
            await command("DEL", record_key(sha256))
        elif left_ms:
            await command("SET", record_key(sha256), record, "PX", str(left_ms))
        else:
            await command("SET", record_key(sha256), record)

    def next_place(self, organisation: str) -> tuple[int, int]:
        """Epoch and seq of the first event after the recovery that has begun. Raises Overtaken
        where the session has seen meanwhile that another one has opened it: of that epoch this one
        knows nothing."""
        slot = self._session.known_slot(organisation)
        if slot.epoch >= 0:
            raise Overtaken(_OVERTAKEN.format(organisation))
        # Above the seq before a beginning, too: of an epoch that was lost no more may be known.
        return abs(slot.epoch), ((slot.seq + 1) // SEQS_APART + 1) * SEQS_APART

    async def reopen(self, organisation: str, event: bytes, booked: bytes, state: bytes) -> None:
        """Opens it, with an event that tells of the recovery, books what the ledger had beyond the
        records (packed counter, dimension, 0, delta...) and has them keep what only the ledger knew
        (packed kind, name, text...). Raises Overtaken."""
        slot = self._session.known_slot(organisation)
        act = self._session.new_id()
        _, first = self.next_place(organisation)
        numbers = _THREE.pack(slot.epoch, slot.seq, first)
        reply = await self._session.run(
            "reopen", slot.keys_done(act), (numbers, act, event, booked, state), durably=True
        )
        self._expect(reply[0], b"OPEN", organisation)
        slot.epoch, slot.seq = number(reply[1]), number(reply[2])

    async def begin_new(self, organisation: str) -> None:
        """One that neither ledger nor records know."""
        await self._session.open_organisation(organisation, create=True)

    async def _hash(self, key: bytes) -> dict[str, bytes]:
        return {
            field.decode(): text async for page in self._session.pages(key) for field, text in page
        }

    def _expect(self, code: object, wanted: bytes, organisation: str) -> None:
        if code != wanted:
            raise Overtaken(_OVERTAKEN.format(organisation))


def _pieces(writes: Iterable[Write]) -> Iterator[list[Write]]:
    piece: list[Write] = []
    for write in writes:
        piece.append(write)
        if len(piece) == WRITES_AT_ONCE_MAX:
            yield piece
            piece = []
    if piece:
        yield piece
