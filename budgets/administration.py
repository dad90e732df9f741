"""Policy and bookkeeping at the ledger: what operators, the recorder and the orchestrator do.

Every act is an event and is answered only when the server's disk has it: a revoked key stays
revoked. Nothing here is on the path of a request.
"""

import struct

from budgets.policy import Policy, encode_policy, named_after
from budgets.session import STALE_RETRIES_MAX, Session, code_of, number
from budgets.slots import Slot
from budgets.transport import Argument, LedgerUnavailable, Reply

_TWO = struct.Struct("<2q")
_THREE = struct.Struct("<3q")
_FOUR = struct.Struct("<4q")


class ScopeClosed(Exception):
    """The scope is closed for good."""


class Administration:
    """Changes of policy, keys, foreign events, corrections."""

    def __init__(self, session: Session, *, outbox_events_max: int = 1_000_000) -> None:
        self._session = session
        self._outbox_events_max = outbox_events_max

    async def set_policy(self, scope: str, policy: Policy, event: bytes) -> Policy:
        """Replaces a scope's policy, durably. Limits that stay keep their counters."""
        slot = await self._session.slot(scope.split("/", 1)[0])
        act = self._session.new_id()
        for _ in range(STALE_RETRIES_MAX):
            record = (await self._session.load([scope], create=False))[scope]
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
            reply = await self._session.run_durably("set", keys, args)
            code = code_of(reply)
            if code == "CLOSED":
                raise ScopeClosed(f"scope {scope} is closed: its budget cannot change any more")
            if code == "SET":
                slot.saw(number(reply[1]))
            elif code == "RECOVERING" and not await self._session.moved_on(slot):
                break
        else:
            raise LedgerUnavailable(f"the budget of {scope} keeps changing: try again")
        raise LedgerUnavailable("the ledger is recovering")

    async def set_state(
        self, scope: str, action: str, event_type: str, event: bytes, *, attempt: int = 0
    ) -> str:
        """freeze, thaw, close or fence (with `attempt`), durably: DONE, or CLOSED if it is."""
        slot = await self._session.slot(scope.split("/", 1)[0])
        act = self._session.new_id()
        numbers = _THREE.pack(slot.epoch, slot.seq, attempt)
        args = (numbers, act, scope, action, event_type, event)
        return await self._policy_call("state", slot, slot.keys_done(act), args)

    async def record_key(
        self, organisation: str, key_id: str, record: bytes, event_type: str, event: bytes
    ) -> str:
        """Writes (or, with an empty record, forgets) a key in its organisation's index, durably."""
        slot = await self._session.slot(organisation)
        act = self._session.new_id()
        args = (_TWO.pack(slot.epoch, slot.seq), act, key_id, record, event_type, event)
        keys = (*slot.keys_done(act), slot.keys_key)
        return await self._policy_call("key", slot, keys, args)

    async def append(self, organisation: str, id_: str, event_type: str, event: bytes) -> str:
        """Puts an event into the organisation's sequence, once: DONE or ALREADY."""
        slot = await self._session.slot(organisation)
        numbers = _THREE.pack(slot.epoch, slot.seq, self._outbox_events_max)
        reply = await self._session.run(
            "append", slot.keys_done(id_), (numbers, id_, event_type, event)
        )
        return _policy_answer(reply, slot)

    async def adjust(
        self, organisation: str, id_: str, deltas: list[tuple[str, int, int]], event: bytes
    ) -> str:
        """Adds (counter field, dimension number, delta) to what was spent, once: DONE, ALREADY, or
        NEGATIVE when a counter would fall below zero (nothing is booked then)."""
        slot = await self._session.slot(organisation)
        flat = [
            text for field, number, delta in deltas for text in (field, str(number), str(delta))
        ]
        args: tuple[Argument, ...] = (_TWO.pack(slot.epoch, slot.seq), id_, "", event, *flat)
        reply = await self._session.run("adjust", slot.keys_done(id_), args)
        return _policy_answer(reply, slot)

    async def confirm(self, organisation: str, through_seq: int, bodies_bytes: int) -> int:
        """The records hold everything up to this seq: forgets it; how many entries went."""
        slot = await self._session.slot(organisation)
        numbers = _FOUR.pack(slot.epoch, slot.seq, through_seq, bodies_bytes)
        reply = await self._session.run("confirm", slot.keys, (numbers,))
        if code_of(reply) != "DONE":
            raise LedgerUnavailable("the ledger is recovering")
        return number(reply[1])

    async def _policy_call(
        self, script: str, slot: Slot, keys: tuple[bytes, ...], args: tuple[bytes | str, ...]
    ) -> str:
        reply = await self._session.run_durably(script, keys, args)
        return _policy_answer(reply, slot)


def _policy_answer(reply: Reply, slot: Slot) -> str:
    code = code_of(reply)
    if code in ("RECOVERING", "BACKLOG"):
        raise LedgerUnavailable(f"the ledger answers {code}: try again")
    if code == "DONE":
        slot.saw(number(reply[1]))
    return code
