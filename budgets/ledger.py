"""The ledger as the rest of the product sees it: typed calls over the scripts.

It owns what makes a call repeatable: ids, the epoch and seq that this process knows, the retry
after STALE, and the queue of endings that Redis has not taken yet. It holds no money of its own.
"""

import os
import struct
from dataclasses import dataclass
from typing import Protocol

import msgspec

from budgets.answers import (
    STATES,
    Ask,
    Checked,
    Refusal,
    Reservation,
    Standing,
    Truth,
    refusal_from,
    reservation_from,
)
from budgets.plan import Plan, ScopePath, ScopeRecord
from budgets.policy import Policy, decode_policy, encode_policy, named_after
from budgets.policycache import PolicyCache
from budgets.scripts import Script
from budgets.slots import Slot
from budgets.transport import LedgerTransport, LedgerUnavailable, Reply

STALE_RETRIES_MAX = 5
_RESERVE = struct.Struct("<14q")
_SETTLE = struct.Struct("<5q")
_TWO = struct.Struct("<2q")
_THREE = struct.Struct("<3q")
_FOUR = struct.Struct("<4q")


class Clock(Protocol):
    """Time outside the ledger: ids, timers, expiry of keys."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Bounds of the ledger's growth and the length of a lease."""

    lease_ms: int = 60_000
    outbox_events_max: int = 1_000_000
    bodies_bytes_max: int = 2 * 1024**3


class LedgerConflict(Exception):
    """An id was used for two different things: a fault of the caller."""


class OrganisationUnknown(Exception):
    """No such organisation at the ledger."""


class Ledger:
    """Reserves, settles, and keeps policy. One per process."""

    def __init__(
        self,
        transport: LedgerTransport,
        scripts: dict[str, Script],
        clock: Clock,
        options: LedgerOptions | None = None,
    ) -> None:
        self.options = options or LedgerOptions()
        self.transport = transport
        self._scripts = scripts
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._policies = PolicyCache(self._load)

    def new_id(self) -> str:
        """An id that carries its time: 12 hex digits of milliseconds, 20 of chance."""
        return f"{self._clock.now_ms():012x}{os.urandom(10).hex()}"

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those that this process has worked for."""
        return tuple(self._slots)

    async def plan(self, path: ScopePath, model: str | None) -> Plan:
        """What a request of this path and model is checked against."""
        slot = await self._slot(path.organisation)
        return await self._plan(slot, path, model)

    async def reserve(
        self, path: ScopePath, model: str, ask: Ask, event: bytes, body: bytes, id_: str
    ) -> Reservation | Refusal:
        """Sets the quote aside on every limit of the path, or says why not.

        A caller that ends this call by an exception releases the id: the reserve may have
        happened. Raises LedgerUnavailable, LedgerSilent, LedgerConflict.
        """
        slot = await self._slot(path.organisation)
        script = self._scripts["reserve"]
        for _ in range(STALE_RETRIES_MAX):
            plan = await self._plan(slot, path, model)
            epoch = slot.epoch
            numbers = self._numbers(slot, ask, len(plan.nodes))
            fingerprint = path.scope.encode() + numbers[16:80]
            reply = await self.transport.call(
                script,
                slot.keys_done(id_),
                (
                    numbers,
                    id_,
                    fingerprint,
                    plan.expected,
                    plan.attempts,
                    plan.limits,
                    event,
                    body,
                    *plan.fields,
                ),
            )
            code = reply[0]
            if code == b"GRANTED":
                reservation = reservation_from(reply, id_, path, epoch, plan, ask)
                slot.saw(reservation.seq)
                return reservation
            if code in (b"CONFLICT", b"ALREADY", b"TOO_OLD"):
                raise LedgerConflict(f"reservation id {id_}: {code!r}; use a new id")
            if not await self._refreshed(slot, path, model, reply):
                return refusal_from(reply, plan)
        return Refusal("RECOVERING", path.organisation)

    async def _plan(self, slot: Slot, path: ScopePath, model: str | None) -> Plan:
        return await self._policies.plan(path, model, self._clock.now_ms() + slot.ahead_ms)

    async def _refreshed(
        self, slot: Slot, path: ScopePath, model: str | None, reply: Reply
    ) -> bool:
        """Whether an answer was only about what this process believed, and that is mended now."""
        code = reply[0]
        if code in (b"STALE", b"UNKNOWN"):
            self._policies.forget(path.nodes())
        elif code == b"WINDOW":
            slot.ahead_ms = _number(reply[1]) - self._clock.now_ms()
            self._policies.forget_plan(path, model)
        elif code == b"RECOVERING" and len(reply) == 1:
            return await self._moved_on(slot)
        else:
            return False
        return True

    def _numbers(self, slot: Slot, ask: Ask, nodes: int) -> bytes:
        options = self.options
        return _RESERVE.pack(
            slot.epoch,
            slot.seq,
            ask.usd_fixed_nusd,
            ask.usd_pusd_per_output,
            ask.tokens_fixed,
            ask.tokens_per_output * 1000,
            1,
            1,
            ask.output_wanted,
            ask.output_least,
            options.lease_ms,
            options.outbox_events_max,
            options.bodies_bytes_max,
            nodes,
        )

    async def settle(
        self, organisation: str, id_: str, truth: Truth, event: bytes, body: bytes
    ) -> str:
        """Books the truth. Answers SETTLED, CORRECTED (after expiry), ALREADY, UNKNOWN; raises
        LedgerUnavailable while the ledger cannot take it (RECOVERING included): try again."""
        slot = await self._slot(organisation)
        numbers = _SETTLE.pack(
            slot.epoch,
            slot.seq,
            -1 if truth.usd_nusd is None else truth.usd_nusd,
            -1 if truth.tokens is None else truth.tokens,
            -1 if truth.requests is None else truth.requests,
        )
        args = (numbers, id_, event, body)
        return await self._resolved("settle", slot, id_, args)

    async def release(self, organisation: str, id_: str, event: bytes) -> str:
        """Gives all of it back: RELEASED or ALREADY; raises as settle does."""
        slot = await self._slot(organisation)
        return await self._resolved(
            "release", slot, id_, (_TWO.pack(slot.epoch, slot.seq), id_, event)
        )

    async def _resolved(
        self, script: str, slot: Slot, id_: str, args: tuple[bytes | str, ...]
    ) -> str:
        reply = await self.transport.call(self._scripts[script], slot.keys_done(id_), args)
        code = _code(reply)
        if code == "RECOVERING":
            await self._moved_on(slot)
            raise LedgerUnavailable("the ledger is recovering")
        if code in ("SETTLED", "CORRECTED", "RELEASED"):
            slot.saw(_number(reply[1]))
        return code

    async def extend(
        self, organisation: str, leases: list[tuple[str, ScopePath]]
    ) -> dict[str, str]:
        """Heartbeat of (id, path): OK, GONE, FROZEN, CLOSED or FENCED for each id."""
        slot = await self._slot(organisation)
        args: list[bytes | str] = [_THREE.pack(slot.epoch, slot.seq, self.options.lease_ms)]
        for id_, path in leases:
            nodes, attempts = path.nodes(), dict(path.attempts)
            fields = msgspec.msgpack.encode([f"s:{node}" for node in nodes])
            args += (id_, msgspec.msgpack.encode([attempts.get(node, 0) for node in nodes]), fields)
        reply = await self.transport.call(self._scripts["extend"], slot.keys, tuple(args))
        if _code(reply) == "RECOVERING":
            await self._moved_on(slot)
            raise LedgerUnavailable("the ledger is recovering")
        return {id_: answer for (id_, _), answer in zip(leases, _texts(reply[1]), strict=True)}

    async def sweep(self, organisation: str, at_most: int = 100) -> list[str]:
        """Charges up to `at_most` expired leases in full; the ids that it swept."""
        slot = await self._slot(organisation)
        numbers = _THREE.pack(slot.epoch, slot.seq, at_most)
        due = await self.transport.call(self._scripts["due"], slot.keys, (numbers,))
        if _code(due) != "DUE" or not due[1]:
            return []
        ids = _texts(due[1])
        keys = (*slot.keys, *(slot.done_key(each) for each in ids))
        numbers = _THREE.pack(slot.epoch, slot.seq, self.options.lease_ms)
        reply = await self.transport.call(self._scripts["sweep"], keys, (numbers, *ids))
        return _texts(reply[1]) if _code(reply) == "SWEPT" else []

    async def check(self, path: ScopePath, model: str | None = None) -> Checked:
        """State and limits of a path as they are now; reserves nothing."""
        slot = await self._slot(path.organisation)
        for _ in range(STALE_RETRIES_MAX):
            plan = await self._plan(slot, path, model)
            numbers = _THREE.pack(slot.epoch, slot.seq, len(plan.nodes))
            args = (numbers, plan.expected, plan.attempts, plan.limits, *plan.fields)
            reply = await self.transport.call(self._scripts["check"], slot.keys, args)
            if not await self._refreshed(slot, path, model, reply):
                if len(reply) == 1:
                    break
                return _checked(reply, plan)
        raise LedgerUnavailable("the ledger is recovering")

    async def open_organisation(self, organisation: str, *, create: bool = False) -> None:
        """Learns epoch and seq; with `create`, begins an organisation that is new everywhere."""
        slot = Slot(organisation)
        reply = await self.transport.call(
            self._scripts["open"], slot.keys, ("1" if create else "0",)
        )
        if _code(reply) != "OPEN":
            raise OrganisationUnknown(
                f"organisation {organisation!r} is unknown: declare a budget or key for it first"
            )
        slot.epoch, slot.seq = _number(reply[1]), _number(reply[2])
        self._slots.setdefault(organisation, slot)

    async def set_policy(self, scope: str, policy: Policy, event: bytes) -> Policy:
        """Replaces a scope's policy, durably. Limits that stay keep their counters."""
        slot = await self._slot(scope.split("/", 1)[0])
        act = self.new_id()
        for _ in range(STALE_RETRIES_MAX):
            record = (await self._load([scope], create=False))[scope]
            version, current = record.version, record.policy
            wanted = named_after(policy, current)
            if version >= 0 and wanted == current:
                return current
            args = (
                _FOUR.pack(slot.epoch, slot.seq, version, 0),
                act,
                scope,
                encode_policy(wanted),
                event,
            )
            keys = (*slot.keys_done(act), slot.policies_key)
            reply = await self.transport.call_durably(self._scripts["set"], keys, args)
            code = _code(reply)
            if code == "CLOSED":
                raise LedgerConflict(f"scope {scope} is closed: its budget cannot change any more")
            if code == "SET":
                slot.saw(_number(reply[1]))
                self._policies.forget((scope,))
            elif code == "RECOVERING" and not await self._moved_on(slot):
                break
        else:
            raise LedgerUnavailable(f"the budget of {scope} keeps changing: try again")
        raise LedgerUnavailable("the ledger is recovering")

    async def set_state(
        self, scope: str, action: str, event_type: str, event: bytes, *, attempt: int = 0
    ) -> str:
        """freeze, thaw, close or fence (with `attempt`), durably: DONE, or CLOSED for a closed one."""
        slot = await self._slot(scope.split("/", 1)[0])
        act = self.new_id()
        numbers = _THREE.pack(slot.epoch, slot.seq, attempt)
        args = (numbers, act, scope, action, event_type, event)
        return await self._policy_call("state", slot, slot.keys_done(act), args)

    async def record_key(
        self, organisation: str, key_id: str, record: bytes, event_type: str, event: bytes
    ) -> str:
        """Writes (or, with an empty record, forgets) a key in its organisation's index, durably."""
        slot = await self._slot(organisation)
        act = self.new_id()
        args = (_TWO.pack(slot.epoch, slot.seq), act, key_id, record, event_type, event)
        keys = (*slot.keys_done(act), slot.keys_key)
        return await self._policy_call("key", slot, keys, args)

    async def append(self, organisation: str, id_: str, event_type: str, event: bytes) -> str:
        """Puts an event into the organisation's sequence, once: DONE or ALREADY."""
        slot = await self._slot(organisation)
        numbers = _THREE.pack(slot.epoch, slot.seq, self.options.outbox_events_max)
        reply = await self.transport.call(
            self._scripts["append"], slot.keys_done(id_), (numbers, id_, event_type, event)
        )
        return _policy_answer(reply, slot)

    async def adjust(
        self, organisation: str, id_: str, deltas: list[tuple[str, int, int]], event: bytes
    ) -> str:
        """Adds (counter field, dimension number, delta) to what was spent, once: DONE, ALREADY, or
        NEGATIVE when a counter would fall below zero (nothing is booked then)."""
        slot = await self._slot(organisation)
        flat = [
            text for field, number, delta in deltas for text in (field, str(number), str(delta))
        ]
        args = (_TWO.pack(slot.epoch, slot.seq), id_, "", event, *flat)
        reply = await self.transport.call(self._scripts["adjust"], slot.keys_done(id_), args)
        return _policy_answer(reply, slot)

    async def confirm(self, organisation: str, through_seq: int, bodies_bytes: int) -> int:
        """The records hold everything up to this seq: forgets it; how many entries went."""
        slot = await self._slot(organisation)
        numbers = _FOUR.pack(slot.epoch, slot.seq, through_seq, bodies_bytes)
        reply = await self.transport.call(self._scripts["confirm"], slot.keys, (numbers,))
        if _code(reply) != "DONE":
            raise LedgerUnavailable("the ledger is recovering")
        return _number(reply[1])

    async def _policy_call(
        self, script: str, slot: Slot, keys: tuple[bytes, ...], args: tuple[bytes | str, ...]
    ) -> str:
        reply = await self.transport.call_durably(self._scripts[script], keys, args)
        return _policy_answer(reply, slot)

    async def _slot(self, organisation: str) -> Slot:
        slot = self._slots.get(organisation)
        if slot is None:
            await self.open_organisation(organisation)
            slot = self._slots[organisation]
        return slot

    async def _moved_on(self, slot: Slot) -> bool:
        """Whether the ledger was recovered into a later epoch: then this process follows it."""
        reply = await self.transport.call(self._scripts["open"], slot.keys, ("0",))
        if _code(reply) == "OPEN" and _number(reply[1]) > slot.epoch:
            slot.epoch, slot.seq = _number(reply[1]), _number(reply[2])
            return True
        return False

    async def _load(self, scopes: list[str], *, create: bool = True) -> dict[str, ScopeRecord]:
        """Records and policies; scopes used for the first time are created on the way."""
        slot = await self._slot(scopes[0].split("/", 1)[0])
        keys = (*slot.keys_done(self.new_id()), slot.policies_key)
        args = (_TWO.pack(slot.epoch, slot.seq), *scopes)
        for _ in range(STALE_RETRIES_MAX):
            reply = await self.transport.call(self._scripts["load"], keys, args)
            if _code(reply) != "OK":
                raise LedgerUnavailable("the ledger is recovering")
            _, compaction, loaded, time_ms = reply
            assert isinstance(loaded, list)
            slot.ahead_ms = _number(time_ms) - self._clock.now_ms()
            records = {
                scope: ScopeRecord(loaded[2 * n], decode_policy(loaded[2 * n + 1]))
                for n, scope in enumerate(scopes)
            }
            missing = [scope for scope in scopes if not records[scope].packed]
            if not missing or not create:
                return records
            numbers = _THREE.pack(slot.epoch, slot.seq, _number(compaction))
            await self.transport.call(self._scripts["create"], slot.keys, (numbers, *missing))
        raise LedgerUnavailable("the ledger could not create the scopes: try again")


def _checked(reply: Reply, plan: Plan) -> Checked:
    code, _, time_ms, states, counters = reply
    assert isinstance(states, list)
    assert isinstance(counters, list)
    refusal = None if code == b"OK" else refusal_from(reply, plan)
    standings = tuple(
        Standing(bound, *counters[3 * n : 3 * n + 3]) for n, bound in enumerate(plan.bounds)
    )
    named = tuple((node, STATES[state]) for node, state in zip(plan.nodes, states, strict=True))
    return Checked(refusal, _number(time_ms), named, standings)


def _policy_answer(reply: Reply, slot: Slot) -> str:
    code = _code(reply)
    if code in ("RECOVERING", "BACKLOG"):
        raise LedgerUnavailable(f"the ledger answers {code}: try again")
    if code == "DONE":
        slot.saw(_number(reply[1]))
    return code


def _code(reply: Reply) -> str:
    assert isinstance(reply[0], bytes)
    return reply[0].decode()


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [each.decode() for each in value]
