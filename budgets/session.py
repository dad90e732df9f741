"""What every call to the ledger stands on: the transport, the scripts, and what this process knows.

Epoch and seq go with every call that writes, so that a server that was emptied or rolled back is
noticed by the first caller that knows better, and ids are made here, so that calls can be repeated.
"""

import os
import random
import struct
from collections.abc import Awaitable
from typing import Protocol

from budgets.plan import ScopeRecord
from budgets.policy import Policy, decode_policy
from budgets.scripts import Script
from budgets.slots import Slot
from budgets.transport import Argument, LedgerTransport, LedgerUnavailable, Reply

STALE_RETRIES_MAX = 5
ORGANISATIONS_KEY = "comptroller:organisations"
_HEADS = tuple(struct.Struct(f"<{2 + count}q") for count in range(4))


class Clock(Protocol):
    """Time outside the ledger: ids, timers, expiry of keys."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


class OrganisationUnknown(LedgerUnavailable):
    """No such organisation at the ledger."""


class Session:
    """One process's view of the ledger."""

    def __init__(
        self, transport: LedgerTransport, scripts: dict[str, Script], clock: Clock
    ) -> None:
        self.transport = transport
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
        known: tuple[int, int] = (0, 0),
    ) -> Reply:
        """One script call whose first argument is packed epoch, seq and `numbers`. It follows the
        ledger into a later epoch, and raises LedgerUnavailable while there is none to follow.
        `known` is an epoch and seq that this call knows of, whatever this process does."""
        run = self.run_durably if durably else self.run
        head = _HEADS[len(numbers)]
        while True:
            seq = max(slot.seq, known[1]) if known[0] == slot.epoch else slot.seq
            reply = await run(script, keys, (head.pack(slot.epoch, seq, *numbers), *args))
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
        reply = await self.transport.command("HGETALL", slot.policies_key)
        assert isinstance(reply, list)
        pairs = iter(reply)
        return {
            scope.decode(): decode_policy(packed)
            for scope, packed in zip(pairs, pairs, strict=True)
        }

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
        """Records and policies; scopes used for the first time are created on the way."""
        slot = await self.slot(scopes[0].split("/", 1)[0])
        keys = (*slot.keys_done(self.new_id()), slot.policies_key)
        for _ in range(STALE_RETRIES_MAX):
            reply = await self.run_in_epoch(slot, "load", keys, (), tuple(scopes))
            _, compaction, loaded, time_ms = reply
            assert isinstance(loaded, list)
            slot.ahead_ms = number(time_ms) - self.clock.now_ms()
            records = {
                scope: ScopeRecord(loaded[2 * n], decode_policy(loaded[2 * n + 1]))
                for n, scope in enumerate(scopes)
            }
            missing = [scope for scope in scopes if not records[scope].packed]
            if not missing or not create:
                return records
            await self.run_in_epoch(
                slot, "create", slot.keys, (number(compaction),), tuple(missing)
            )
        raise LedgerUnavailable("the ledger could not create the scopes: try again")


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
