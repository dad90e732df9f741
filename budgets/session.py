"""What every call to the ledger stands on: the transport, the scripts, and what this process knows.

Epoch and seq go with every call that writes, so that a server that was emptied or rolled back is
noticed by the first caller that knows better, and ids are made here, so that calls can be repeated.
"""

import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Protocol

from budgets.memory import Memory, Return, ask, recall
from budgets.plan import ScopeRecord
from budgets.policy import Policy, decode_policy
from budgets.scripts import Script
from budgets.slots import Slot
from budgets.transport import Argument, LedgerTransport, LedgerUnavailable, Reply

STALE_RETRIES_MAX = 5
ORGANISATIONS_KEY = "comptroller:organisations"
_SCAN_COUNT = "1000"
_HEADS = tuple(struct.Struct(f"<{2 + count}q") for count in range(4))


class Clock(Protocol):
    """Time outside the ledger: ids, timers, expiry of keys."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


class OrganisationUnknown(LedgerUnavailable):
    """No such organisation at the ledger."""


class Session:
    """One process's view of the ledger. `memory` is asked about scopes that have left it."""

    def __init__(
        self,
        transport: LedgerTransport,
        scripts: dict[str, Script],
        clock: Clock,
        memory: Memory | None = None,
    ) -> None:
        self.transport = transport
        self._memory = memory
        self.clock = clock
        self._scripts = scripts
        self._slots: dict[str, Slot] = {}
        self._random = random.Random(os.urandom(32))  # noqa: S311  # ids need no secrecy

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those that this process has worked for."""
        return tuple(self._slots)

    def new_id(self) -> str:
        """An id that carries its time: 12 hex digits of milliseconds, 20 of chance."""
        return f"{self.clock.now_ms():012x}{self._random.getrandbits(80):020x}"

    def run(
        self, script: str, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Awaitable[Reply]:
        """One script call."""
        return self.transport.call(self._scripts[script], keys, args)

    def run_durably(
        self, script: str, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Awaitable[Reply]:
        """One script call, answered when the server's disk has it."""
        return self.transport.call_durably(self._scripts[script], keys, args)

    async def run_in_epoch(
        self,
        slot: Slot,
        script: str,
        keys: tuple[bytes, ...],
        numbers: tuple[int, ...] = (),
        args: tuple[Argument, ...] = (),
        *,
        durably: bool = False,
    ) -> Reply:
        """One script call whose first argument is packed epoch, seq and `numbers`. It follows the
        ledger into a later epoch, and raises LedgerUnavailable while there is none to follow."""
        run = self.run_durably if durably else self.run
        head = _HEADS[len(numbers)]
        while True:
            reply = await run(script, keys, (head.pack(slot.epoch, slot.seq, *numbers), *args))
            if reply[0] != b"RECOVERING" or len(reply) > 1:
                return reply
            if not await self.moved_on(slot):
                raise LedgerUnavailable("the ledger is recovering: nothing is decided until then")

    async def open_organisation(self, organisation: str, *, create: bool = False) -> None:
        """Learns epoch and seq; with `create`, begins an organisation that is new everywhere."""
        slot = Slot(organisation)
        reply = await self.run("open", slot.keys, ("1" if create else "0",))
        if code_of(reply) != "OPEN":
            raise OrganisationUnknown(
                f"organisation {organisation!r} is unknown: declare a budget or key for it first"
            )
        slot.epoch, slot.seq = number(reply[1]), number(reply[2])
        self._slots.setdefault(organisation, slot)
        if create:
            await self.transport.command("SADD", ORGANISATIONS_KEY, organisation)

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
        """The organisation's keys and head. Raises OrganisationUnknown."""
        slot = self._slots.get(organisation)
        if slot is None:
            await self.open_organisation(organisation)
            slot = self._slots[organisation]
        return slot

    async def moved_on(self, slot: Slot) -> bool:
        """Whether the ledger was recovered into a later epoch: then this process follows it."""
        reply = await self.run("open", slot.keys, ("0",))
        if code_of(reply) == "OPEN" and number(reply[1]) > slot.epoch:
            slot.epoch, slot.seq = number(reply[1]), number(reply[2])
            return True
        return False

    async def load(self, scopes: list[str], *, create: bool = True) -> dict[str, ScopeRecord]:
        """Records and policies. Scopes that have left the ledger come back on the way; those used
        for the first time are created, if asked to. Raises LedgerUnavailable (MemoryAway)."""
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
            scope: ScopeRecord(loaded[2 * n], decode_policy(loaded[2 * n + 1]))
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


def code_of(reply: Reply) -> str:
    """The first word of an answer."""
    assert isinstance(reply[0], bytes)
    return reply[0].decode()


def number(value: object) -> int:
    """An integer in an answer."""
    assert isinstance(value, int)
    return value


def texts(value: object) -> list[str]:
    """A list of words in an answer."""
    assert isinstance(value, list)
    return [each.decode() for each in value]
