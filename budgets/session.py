"""What every call to the ledger stands on: the transport, the scripts, and what this process knows.

Epoch and seq go with every call that writes, so that a server that was emptied or rolled back is
noticed by the first caller that knows better, and ids are made here, so that calls can be repeated.
Behind a new connection there may be another server, or the same one started again: before anything
is sent there, the organisation is opened again, which asks whether it still is what it was.
"""

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from budgets.allotments import decode_allotment
from budgets.memory import Memory, Return, ask, recall
from budgets.plan import ScopeRecord
from budgets.policy import Policy, decode_policy
from budgets.replies import number, texts
from budgets.scripts import Script
from budgets.slots import Slot
from budgets.transport import (
    Argument,
    LedgerSilent,
    LedgerTransport,
    LedgerUnavailable,
    Reply,
    ServerChanged,
)

STALE_RETRIES_MAX = 5
SERVER_CHANGES_MAX = 16
ORGANISATIONS_KEY = "comptroller:organisations"
_HEADS = tuple(struct.Struct(f"<{2 + count}q") for count in range(6))
_TWO = struct.Struct("<2q")
_RECOVERING = (
    "organisation {} is recovering: nothing is decided until a recorder has compared the ledger "
    "with the records (is one running, and do its records answer? See `comptroller doctor`)"
)
_SCAN_COUNT = "1000"


class Clock(Protocol):
    """Time outside the ledger: ids, timers, expiry of keys."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


class OrganisationUnknown(LedgerUnavailable):
    """No such organisation at the ledger."""


class LedgerRecovering(LedgerUnavailable):
    """The ledger may have lost something: nothing is decided until the records were asked."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """`trusts`: there are no records to ask, so what a server says after its start is believed.
    `reopen_ms`: how long a call waits for an organisation that is being recovered, `begin_ms` for
    one that is new, both looked at every `look_every_ms`."""

    trusts: bool = False
    reopen_ms: int = 2_000
    begin_ms: int = 30_000
    look_every_ms: int = 25


class Session:
    """One process's view of the ledger. `memory` is asked about scopes that have left it."""

    def __init__(
        self,
        transport: LedgerTransport,
        scripts: dict[str, Script],
        clock: Clock,
        options: SessionOptions | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.transport = transport
        self._memory = memory
        self.clock = clock
        self._options = options or SessionOptions()
        self._manner = "trusts" if self._options.trusts else "looks"
        self._scripts = scripts
        self._slots: dict[str, Slot] = {}
        self._by_ledger: dict[bytes, Slot] = {}
        self._random = random.Random(os.urandom(32))  # noqa: S311  # ids need no secrecy

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those that this process has worked for."""
        return tuple(self._slots)

    def new_id(self) -> str:
        """An id that carries its time: 12 hex digits of milliseconds, 20 of chance."""
        return f"{self.clock.now_ms():012x}{self._random.getrandbits(80):020x}"

    async def run(
        self,
        script: str,
        keys: tuple[bytes, ...],
        args: tuple[Argument, ...],
        *,
        durably: bool = False,
    ) -> Reply:
        """One script call; `durably`: answered when the server's disk has it. Sent again, by its
        id, once what is behind a new connection was looked at."""
        transport = self.transport
        call = transport.call_durably if durably else transport.call
        slot = self._by_ledger.get(keys[0])
        changes = 0
        while True:
            if slot is not None and slot.generation != transport.generation:
                try:
                    await self._open_again(slot)
                except LedgerUnavailable as error:
                    if changes:  # an earlier try may have happened
                        raise LedgerSilent(str(error)) from error
                    raise
            try:
                return await call(self._scripts[script], keys, args)
            except ServerChanged:
                changes += 1
                if changes > SERVER_CHANGES_MAX:
                    raise

    async def run_unlooked(
        self, script: str, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """One script call at whatever is there: for who recovers it. Raises ServerChanged."""
        return await self.transport.call(self._scripts[script], keys, args)

    async def run_in_epoch(
        self,
        slot: Slot,
        script: str,
        keys: tuple[bytes, ...],
        numbers: tuple[int, ...] = (),
        args: tuple[Argument, ...] = (),
        *,
        durably: bool = False,
        known: tuple[int, int] = (0, 0),
        follows: Callable[[], Awaitable[object]] | None = None,
    ) -> Reply:
        """One script call whose first argument is packed epoch, seq and `numbers`. It follows the
        ledger into a later epoch (`follows` is awaited then), and raises LedgerRecovering while
        there is none to follow. `known` is an epoch and seq that this call knows of, whatever this
        process does."""
        head = _HEADS[len(numbers)]
        if not self._options.trusts:
            slot.saw(*known)
        while True:
            epoch = slot.epoch
            seq = max(slot.seq, known[1]) if known[0] == epoch else slot.seq
            first = head.pack(epoch, seq, *numbers)
            reply = await self.run(script, keys, (first, *args), durably=durably)
            if reply[0] != b"RECOVERING" or len(reply) > 1:
                return reply
            if not await self.moved_on(slot, epoch):
                raise LedgerRecovering(_RECOVERING.format(slot.organisation))
            if follows is not None:
                await follows()

    async def open_organisation(self, organisation: str, *, create: bool = False) -> None:
        """Learns epoch and seq. With `create`, begins an organisation that is new everywhere, or
        believes what is here: only for who has asked the records, or has none. Raises
        OrganisationUnknown, LedgerRecovering."""
        slot = Slot(organisation)
        if not await self._opened(slot, "begins" if create else self._manner):
            raise LedgerRecovering(_RECOVERING.format(organisation))
        slot = self._slots.setdefault(organisation, slot)
        self._by_ledger[slot.keys[0]] = slot
        if create:
            await self.transport.command("SADD", ORGANISATIONS_KEY, organisation)

    async def begin_organisation(self, organisation: str) -> None:
        """Makes sure that there is this organisation, new or not. Only who can ask the records may
        begin one, because a ledger that was emptied knows none: the recorder is asked to. Raises
        LedgerUnavailable."""
        deadline = _now_s() + self._options.begin_ms / 1000
        while True:
            try:
                return await self.open_organisation(organisation, create=self._options.trusts)
            except (OrganisationUnknown, LedgerRecovering) as error:
                if _now_s() > deadline:
                    if isinstance(error, LedgerRecovering):
                        raise
                    raise LedgerUnavailable(
                        f"organisation {organisation!r} is not begun: only a recorder begins one, "
                        "because the records may know it: is one running, and do they answer?"
                    ) from None
            await self.transport.command("SADD", ORGANISATIONS_KEY, organisation)
            await self._look_later()

    async def all_organisations(self) -> list[str]:
        """Every organisation of this server, whoever works for it."""
        return sorted(texts(await self.transport.command("SMEMBERS", ORGANISATIONS_KEY)))

    async def policies(self, organisation: str) -> dict[str, Policy]:
        """Every scope's policy, by scope."""
        slot = await self.slot(organisation)
        return {
            scope.decode(): decode_policy(packed)
            async for page in self.pages(slot.policies_key)
            for scope, packed in page
        }

    def work_on(self, slot: Slot) -> None:
        """Takes this head for the organisation's: only for who recovers it."""
        slot.generation = self.transport.generation
        self._slots[slot.organisation] = slot
        self._by_ledger[slot.keys[0]] = slot

    async def pages(self, key: bytes, match: str = "*") -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """A hash in small steps, however large: all that is there throughout, some of it twice."""
        cursor = "0"
        while True:
            reply = await self.transport.command(
                *("HSCAN", key, cursor, "MATCH", match, "COUNT", _SCAN_COUNT)
            )
            assert isinstance(reply, list)
            cursor, pairs = reply[0].decode(), iter(reply[1])
            yield list(zip(pairs, pairs, strict=True))
            if cursor == "0":
                return

    def known_slot(self, organisation: str) -> Slot:
        """The same for one that this process has opened already."""
        return self._slots[organisation]

    async def slot(self, organisation: str) -> Slot:
        """The organisation's keys and head. Raises OrganisationUnknown, LedgerRecovering."""
        slot = self._slots.get(organisation)
        if slot is None:
            await self.open_organisation(organisation)
            slot = self._slots[organisation]
        return slot

    async def looked_at(self, organisation: str) -> Slot:
        """The same, which is still there behind the connection as it is now."""
        slot = await self.slot(organisation)
        if slot.generation != self.transport.generation:
            await self._open_again(slot)
        return slot

    async def moved_on(self, slot: Slot, epoch: int) -> bool:
        """Whether the ledger was recovered into a later epoch: then this process follows it."""
        if slot.epoch == epoch:
            await self._open_again(slot)
        return slot.epoch > epoch

    async def _open_again(self, slot: Slot) -> None:
        """Looks what is there now, once for all calls that wait. Who finds that it knows more than
        the ledger closes it. Waits a little for one that is being recovered. Raises
        LedgerRecovering."""
        if slot.opening is None or slot.opening.done():
            slot.opening = asyncio.get_running_loop().create_task(self._open_within(slot))
            slot.opening.add_done_callback(_nobody_may_wait)
        await asyncio.shield(slot.opening)

    async def _open_within(self, slot: Slot) -> None:
        waits_ms = 0 if self._options.trusts else self._options.reopen_ms
        deadline = _now_s() + waits_ms / 1000
        while True:
            # Unknown, and was known: the ledger was emptied, and a recorder will find that.
            with contextlib.suppress(OrganisationUnknown):
                if await self._opened(slot, self._manner):
                    return
            if _now_s() >= deadline:
                raise LedgerRecovering(_RECOVERING.format(slot.organisation))
            await self._look_later()

    async def _look_later(self) -> None:
        # Nobody tells when a recovery has ended: it is on another machine, perhaps.
        await asyncio.sleep(self._options.look_every_ms / 1000)

    async def _opened(self, slot: Slot, manner: str) -> bool:
        """Whether the organisation is open, and not behind what this process knows of it."""
        known = slot.epoch, slot.seq  # as it is now: answers that come meanwhile know more
        code, generation, *place = await self._looked(slot, manner)
        if code == b"UNKNOWN":
            raise OrganisationUnknown(
                f"organisation {slot.organisation!r} is unknown: declare a budget or key for it"
                " first"
            )
        if code != b"OPEN":
            return False
        epoch, seq = map(number, place)
        if (epoch, seq) < known:
            if self._options.trusts:  # nobody would open it again
                return False
            args = (_TWO.pack(*known),)
            await self.transport.call(self._scripts["distrust"], slot.keys, args)
            return False
        if epoch > slot.epoch:
            slot.epoch, slot.seq = epoch, seq
        slot.generation = number(generation)
        return True

    async def _looked(self, slot: Slot, manner: str) -> Reply:
        """The answer of `open`, with the transport's generation behind its first word."""
        for _ in range(SERVER_CHANGES_MAX):
            generation = self.transport.generation
            with contextlib.suppress(ServerChanged):
                reply = await self.transport.call(self._scripts["open"], slot.keys, (manner,))
                return [reply[0], generation, *reply[1:]]
        raise LedgerUnavailable("the connection to the ledger is lost again and again")

    async def load(self, scopes: list[str], *, create: bool = True) -> dict[str, ScopeRecord]:
        """Records, policies, allotments. Scopes that have left the ledger come back on the way;
        those used for the first time are created, if asked to. Raises LedgerUnavailable
        (MemoryAway)."""
        slot = await self.slot(scopes[0].split("/", 1)[0])
        for _ in range(STALE_RETRIES_MAX):
            found = await self._found(slot, scopes)
            missing = [scope for scope in scopes if not found.records[scope].packed]
            if missing and found.through_seq >= 0:
                found, returns = await self._recalled(slot, scopes, missing)
                wanted = [each for each in returns if create or each.is_remembered]
            else:
                wanted = [Return(scope) for scope in missing] if create else []
            if not wanted:
                return {scope: found.records[scope] for scope in scopes}
            numbers = (found.compaction, found.late_seq)
            packed = tuple(each.packed() for each in wanted)
            keys = (*slot.keys, slot.policies_key)
            await self.run_in_epoch(slot, "create", keys, numbers, packed)
        raise LedgerUnavailable("the ledger could not create the scopes: try again")

    async def remembered_key(self, organisation: str, key_id: str) -> bytes:
        """The record of a key that has left the ledger's index; empty where none has. Raises
        MemoryAway."""
        found = await self._found(await self.slot(organisation), [organisation])
        if found.through_seq < 0:
            return b""
        there = await ask(self._memory, organisation, found.through_seq, keys=(key_id,))
        return there.keys.get(key_id, "").encode()

    async def _recalled(
        self, slot: Slot, scopes: list[str], missing: list[str]
    ) -> tuple["_Found", list[Return]]:
        """What binds a child is its parent's policy as it is now, not as this process knows it."""
        parents = (scope.rpartition("/")[0] for scope in missing)
        named = list(dict.fromkeys((*scopes, *filter(None, parents))))
        found = await self._found(slot, named)
        missing = [scope for scope in scopes if not found.records[scope].packed]
        if not missing:
            return found, []
        returns = await recall(
            self._memory, found.through_seq, missing, found.records, found.time_ms
        )
        return found, returns

    async def _found(self, slot: Slot, scopes: list[str]) -> "_Found":
        keys = (*slot.keys_done(self.new_id()), slot.policies_key)
        reply = await self.run_in_epoch(slot, "load", keys, (), tuple(scopes))
        compaction, loaded, time_ms, through_seq, late_seq = reply[1:6]
        assert isinstance(loaded, list)
        slot.ahead_ms = number(time_ms) - self.clock.now_ms()
        records = {
            scope: ScopeRecord(
                loaded[3 * n],
                decode_policy(loaded[3 * n + 1]),
                decode_allotment(loaded[3 * n + 2]),
            )
            for n, scope in enumerate(scopes)
        }
        return _Found(
            records, number(compaction), number(time_ms), number(through_seq), number(late_seq)
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer of the script `load`."""

    records: dict[str, ScopeRecord]
    compaction: int
    time_ms: int
    through_seq: int
    late_seq: int


def _nobody_may_wait(opening: asyncio.Task[None]) -> None:
    """All that waited may have been cancelled: an error that nobody hears of is not one."""
    if not opening.cancelled():
        opening.exception()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
