"""Policy and bookkeeping at the ledger: what operators, the recorder and the orchestrator do.

Every act is an event and is answered only when the server's disk has it: a revoked key stays
revoked. Nothing here is on the path of a request.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from budgets.allotments import Allotment, AllotmentInvalid, AllotmentOpen, checked_amounts
from budgets.answers import Refusal, refusal_from
from budgets.counters import owners_of, window_ends
from budgets.opening import opening_of
from budgets.policy import (
    Dimension,
    Policy,
    ancestors,
    decode_policy,
    encode_policy,
    named_after,
)
from budgets.replies import code_of, number, texts
from budgets.session import STALE_RETRIES_MAX, LedgerRecovering, Session
from budgets.slots import Slot
from budgets.transport import Argument, LedgerUnavailable, Reply


class ScopeClosed(Exception):
    """The scope is closed for good."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The least attempt that a scope admits from now on, and the event that tells it."""

    scope: str
    attempt: int
    event: bytes


_NO_FENCE = Fence("", 0, b"")
_HEAD = struct.Struct("<2q")


class Administration:
    """Changes of policy, keys, foreign events, corrections."""

    def __init__(self, session: Session, *, outbox_events_max: int = 1_000_000) -> None:
        self._session = session
        self._outbox_events_max = outbox_events_max

    async def set_policy(self, scope: str, policy: Policy, event: bytes) -> Policy:
        """Replaces a scope's policy, durably. Limits that stay keep their counters."""
        return await self.change_policy(scope, lambda _: (policy, event))

    async def change_policy(
        self,
        scope: str,
        change: Callable[[Policy], tuple[Policy, bytes]],
        *,
        durably: bool = True,
    ) -> Policy:
        """Makes another policy, with the event that tells it, of the one that a scope has: tried
        again where somebody else was faster, and nothing where it is the same. `durably`: answered
        when the server's disk has it."""
        slot = await self._session.slot(scope.split("/", 1)[0])
        act = self._session.new_id()
        for _ in range(STALE_RETRIES_MAX):
            record = (await self._session.load([scope], create=False))[scope]
            version, current = record.version, record.policy
            policy, event = change(current)
            wanted = named_after(policy, current)
            if version >= 0 and wanted == current and not record.is_closed:
                return current
            epoch = slot.epoch
            reply = await self._session.run_in_epoch(
                slot,
                "set",
                (*slot.keys_done(act), slot.policies_key),
                (version, 0),
                (act, scope, encode_policy(wanted), event),
                durably=durably,
            )
            code = code_of(reply)
            if code == "UNKNOWN":
                await self._session.load([scope])
            if code == "CLOSED":
                raise ScopeClosed(f"scope {scope} is closed: its budget cannot change any more")
            if code == "SET":
                slot.saw(epoch, number(reply[1]))
                stored = reply[2]
                assert isinstance(stored, bytes)
                return decode_policy(stored)
        raise LedgerUnavailable(f"the budget of {scope} keeps changing: try again")

    async def set_state(
        self, scope: str, action: str, event_type: str, event: bytes, *, attempt: int = 0
    ) -> str:
        """freeze, thaw, close or fence (with `attempt`), durably: DONE, or CLOSED if it is. Closing
        closes what is allotted to it and below it."""
        slot = await self._session.slot(scope.split("/", 1)[0])
        act = self._session.new_id()
        args = (act, scope, action, event_type, event)
        keys = (*slot.keys_done(act), *slot.allotment_keys)
        return await self._act("state", slot, keys, (attempt,), args, scope)

    async def allot(
        self, scope: str, amounts: dict[Dimension, int], expires_at_ms: int, event: bytes
    ) -> Allotment | Refusal:
        """Moves nano-dollars or tokens to a scope from those above it until a time of the ledger's,
        durably; or the refusal of a limit above, which then holds nothing of it. `event` (JSON)
        tells of the end, too, where nobody else does. Raises AllotmentInvalid, AllotmentOpen."""
        amounts = checked_amounts(scope, amounts)
        event.decode()
        slot = await self._session.slot(scope.split("/", 1)[0])
        act, clock = self._session.new_id(), self._session.clock
        keys = (*slot.keys_done(act), *slot.allotment_keys)
        moved = (amounts.get("usd", 0), amounts.get("tokens", 0))
        for _ in range(STALE_RETRIES_MAX):
            records = await self._session.load(list(ancestors(scope)))
            opening = opening_of(scope, amounts, records, clock.now_ms() + slot.ahead_ms)
            numbers = (self._outbox_events_max, expires_at_ms, len(opening.nodes), *moved)
            args: tuple[Argument, ...] = (act, scope, *opening.packed, event, *opening.fields)
            epoch = slot.epoch
            reply = await self._session.run_in_epoch(
                slot, "allot", keys, numbers, args, durably=True
            )
            code = code_of(reply)
            if code == "OPENED":
                slot.saw(epoch, number(reply[1]))
                (id_,) = texts(reply[2:])
                return Allotment(id_, scope, amounts, expires_at_ms)
            if code == "ALLOTTED":
                raise AllotmentOpen(f"scope {scope} has an open allotment: close that one first")
            if code == "TOO_LATE":
                raise AllotmentInvalid(
                    f"the allotment would expire at {expires_at_ms}, and the ledger's time is "
                    f"{number(reply[1])} already: name a later time, in ms since 1970"
                )
            if code not in ("STALE", "UNKNOWN", "WINDOW"):
                return refusal_from(reply, opening)
        raise LedgerUnavailable(f"the budgets above {scope} keep changing: try again")

    async def close_allotment(self, scope: str, event: bytes) -> str:
        """Closes what is allotted to a scope, after what is allotted below it, durably: CLOSED;
        CLOSING while requests are open in it (their ends, or the sweeper, finish it); NONE where
        nothing is allotted to it."""
        event.decode()
        slot = await self._session.slot(scope.split("/", 1)[0])
        act, epoch = self._session.new_id(), slot.epoch
        keys = (*slot.keys_done(act), *slot.allotment_keys)
        reply = await self._session.run_in_epoch(
            slot, "reclaim", keys, (), (act, scope, event), durably=True
        )
        slot.saw(epoch, number(reply[1]))
        return code_of(reply)

    async def record_key(
        self,
        organisation: str,
        key_id: str,
        record: bytes,
        event_type: str,
        event: bytes,
        *,
        replaces: str = "",
        fence: Fence | None = None,
    ) -> str:
        """Writes (or, with an empty record, forgets) a key in its organisation's index, durably,
        and raises a fence with it: DONE, or nothing of both and STALE where the record that is
        there does not hold the text `replaces`, CLOSED where the fence's scope is."""
        slot = await self._session.slot(organisation)
        act, raised = self._session.new_id(), fence or _NO_FENCE
        args = (act, key_id, record, event_type, event, replaces, raised.scope, raised.event)
        keys = (*slot.keys_done(act), slot.keys_key)
        return await self._act("key", slot, keys, (raised.attempt,), args, raised.scope)

    async def append(self, organisation: str, id_: str, event_type: str, event: bytes) -> str:
        """Puts an event into the organisation's sequence, once: DONE or ALREADY."""
        slot = await self._session.slot(organisation)
        epoch = slot.epoch
        reply = await self._session.run_in_epoch(
            slot,
            "append",
            slot.keys_done(id_),
            (self._outbox_events_max,),
            (id_, event_type, event),
        )
        return _answered(reply, slot, epoch)

    async def adjust(
        self,
        organisation: str,
        id_: str,
        deltas: list[tuple[str, int, int]],
        event: bytes,
        *,
        policies: Mapping[str, Policy] | None = None,
        epoch: int = 0,
    ) -> str:
        """Adds (counter field, dimension number, delta) to what was spent, once: DONE, ALREADY, or
        (nothing is booked then) NEGATIVE when a counter would fall below zero, and UNKNOWN when it
        is an allotment's that is forgotten. What an allotment passes on follows by itself: name the
        counters that the request has touched. `policies`: those of the organisation that have these
        counters' limits, where many adjustments share one reading. `epoch`: the only one in which
        it may be booked, because what it goes by was read in it; in a later one LedgerRecovering is
        raised."""
        slot = await self._session.slot(organisation)
        if policies is None:
            policies = await self._session.policies(organisation)
        ends = window_ends((field for field, _, _ in deltas), policies.values())
        owners = owners_of((field for field, _, _ in deltas), policies)
        flat = [
            text
            for field, number, delta in deltas
            for text in (field, str(number), str(delta), str(ends[field]), owners[field])
        ]
        args: tuple[Argument, ...] = (id_, "", event, *flat)
        keys = slot.keys_done(id_)
        if epoch:
            seq = slot.seq if slot.epoch == epoch else 0
            reply = await self._session.run("adjust", keys, (_HEAD.pack(epoch, seq), *args))
            if code_of(reply) == "RECOVERING":
                raise LedgerRecovering(f"the ledger of {organisation} was recovered meanwhile")
            return _answered(reply, slot, epoch)
        epoch = slot.epoch
        reply = await self._session.run_in_epoch(slot, "adjust", keys, (), args)
        return _answered(reply, slot, epoch)

    async def _act(
        self,
        script: str,
        slot: Slot,
        keys: tuple[bytes, ...],
        numbers: tuple[int, ...],
        args: tuple[Argument, ...],
        scope: str,
    ) -> str:
        """On a scope that is at the ledger, or comes back to it on the way."""
        for _ in range(STALE_RETRIES_MAX):
            epoch = slot.epoch
            reply = await self._session.run_in_epoch(
                slot, script, keys, numbers, args, durably=True
            )
            if code_of(reply) != "UNKNOWN":
                return _answered(reply, slot, epoch)
            await self._session.load([scope])
        raise LedgerUnavailable(f"scope {scope} does not stay at the ledger: try again")


def _answered(reply: Reply, slot: Slot, epoch: int) -> str:
    code = code_of(reply)
    if code == "BACKLOG":
        raise LedgerUnavailable("the ledger answers BACKLOG: events are not recorded fast enough")
    if code == "DONE":
        slot.saw(epoch, number(reply[1]))
    return code
