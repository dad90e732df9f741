"""The ledger as the path of a request sees it: typed calls over the scripts.

It owns what makes a call right: the plan that fits the request, and the answer to STALE and WINDOW.
It holds no money of its own; what must not be lost when Redis is away is in `budgets.endings`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from budgets.answers import (
    STATES,
    Ask,
    Checked,
    Mark,
    Refusal,
    Reservation,
    Standing,
    Truth,
    refusal_from,
    repeat_from,
    reservation_from,
)
from budgets.bringing import Bringing
from budgets.kept import Granted
from budgets.plan import Plan, ScopePath, nodes_of
from budgets.policy import Payloads
from budgets.policycache import Loader, PolicyCache
from budgets.replies import number, texts
from budgets.session import STALE_RETRIES_MAX, LedgerRecovering, Session
from budgets.slots import Slot
from budgets.transport import Argument, LedgerSilent, LedgerUnavailable, Reply

LAPSED_AT_ONCE_MAX = 100
_RESERVE = struct.Struct("<15q")
_THREE = struct.Struct("<3q")


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Bounds of the ledger's growth, the length of a lease, and what of `payloads` this process
    hands over at most, whatever the scopes allow."""

    lease_ms: int = 60_000
    outbox_events_max: int = 1_000_000
    bodies_bytes_max: int = 2 * 1024**3
    payloads: Payloads = "full"


class LedgerConflict(Exception):
    """An id was used for two different things: a fault of the caller."""


class Ledger:
    """Reserves and settles. One per process."""

    def __init__(
        self,
        session: Session,
        options: LedgerOptions | None = None,
        load: Loader | None = None,
    ) -> None:
        """`load` reads scopes for plans: that of Learning, where routes are learned of."""
        self.options = options or LedgerOptions()
        self.new_id = session.new_id
        self._session = session
        self._policies = PolicyCache(load or session.load, self.options.payloads)
        self._bringing = Bringing(session, self.options.lease_ms)

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those that this process has worked for."""
        return self._session.organisations

    async def all_organisations(self) -> list[str]:
        """Every organisation of this server: a dead worker's leases are anybody's to sweep."""
        return await self._session.all_organisations()

    async def ping(self) -> None:
        """Raises LedgerUnavailable where the server does not answer."""
        await self._session.transport.command("PING")

    def time_ms(self, organisation: str) -> int:
        """The ledger's time, as far as this process knows it."""
        ahead_ms = self._session.known_slot(organisation).ahead_ms
        return self._session.clock.now_ms() + ahead_ms

    async def plan(self, path: ScopePath, model: str | None, route: str = "") -> Plan:
        """What a request of this path and model is checked against; `route` as in `reserve`."""
        slot = await self._session.slot(path.organisation)
        return await self._plan(slot, path, model, route)

    async def reserve(
        self,
        path: ScopePath,
        model: str,
        ask_for: Callable[[Plan], Ask],
        record_for: Callable[[Payloads], tuple[bytes, bytes]],
        id_: str,
        mark: Mark | None = None,
        route: str = "",
    ) -> Reservation | Refusal:
        """Sets a quote aside on every limit of the path, or says why not. `ask_for` makes the
        quote from the plan: a default cap, or whether a grant may be lowered, is policy.
        `record_for` gives event and body as the policy for payloads has them; both are called
        for each plan that is tried, the last one is the one that holds. With a `mark` that another
        request has the answer is a Repeat. `route` is the scope of what is learned of the route, if
        that is: its policy binds the request besides.

        A caller that ends this call by an exception releases the id: the reserve may have
        happened. Raises LedgerUnavailable, LedgerSilent, LedgerConflict.
        """
        slot = await self._bringing.in_step(path.organisation)
        generation = self._session.transport.generation
        try:
            return await self._reserve(slot, path, model, ask_for, record_for, id_, mark, route)
        except LedgerRecovering as error:
            if self._session.transport.generation != generation:  # the one before may have taken it
                raise LedgerSilent(str(error)) from error
            return Refusal("RECOVERING", path.organisation)

    async def _reserve(
        self,
        slot: Slot,
        path: ScopePath,
        model: str,
        ask_for: Callable[[Plan], Ask],
        record_for: Callable[[Payloads], tuple[bytes, bytes]],
        id_: str,
        mark: Mark | None,
        route: str,
    ) -> Reservation | Refusal:
        keys = slot.keys_done(id_)
        name, asked_sha256 = "", b""
        if mark is not None:
            name, asked_sha256 = mark.name, mark.asked_sha256
            keys = (*keys, slot.mark_key(name))
        for _ in range(STALE_RETRIES_MAX):
            plan = await self._plan(slot, path, model, route)
            ask = ask_for(plan)
            event, body = record_for(plan.payloads)
            epoch = slot.epoch
            numbers = self._numbers(slot, ask, len(plan.nodes))
            fingerprint = path.scope.encode() + numbers[16:80] + asked_sha256
            reply = await self._session.run(
                "reserve",
                keys,
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
                reservation = reservation_from(reply, id_, path, epoch, plan, ask, name)
                slot.saw(epoch, reservation.seq)
                entry = Granted(reservation, plan, fingerprint, event)
                self._bringing.keep(path.organisation, epoch, reservation.seq, entry)
                return reservation
            if code == b"REPEATED":
                return repeat_from(reply, path)
            if code in (b"CONFLICT", b"ALREADY", b"TOO_OLD"):
                raise LedgerConflict(f"reservation id {id_}: {code!r}; use a new id")
            if not await self._refreshed(slot, path, model, route, reply, epoch):
                return refusal_from(reply, plan)
        return Refusal("RECOVERING", path.organisation)

    async def _plan(self, slot: Slot, path: ScopePath, model: str | None, route: str) -> Plan:
        at_ms = self._session.clock.now_ms() + slot.ahead_ms
        return await self._policies.plan(path, model, at_ms, route)

    async def _refreshed(
        self, slot: Slot, path: ScopePath, model: str | None, route: str, reply: Reply, epoch: int
    ) -> bool:
        """Whether an answer was only about what this process believed, and that is mended now."""
        code = reply[0]
        if code in (b"STALE", b"UNKNOWN"):
            self._policies.forget(nodes_of(path, route))
        elif code == b"WINDOW":
            slot.ahead_ms = number(reply[1]) - self._session.clock.now_ms()
            self._policies.forget_plan(path, model, route)
        elif code == b"RECOVERING" and len(reply) == 1:
            if not await self._session.moved_on(slot, epoch):
                return False
            await self._bringing.in_step(slot.organisation)
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
            ask.tells_lowered,
        )

    async def settle(
        self,
        organisation: str,
        id_: str,
        truth: Truth,
        event: bytes,
        body: bytes,
        mark: str = "",
        known: tuple[int, int] = (0, 0),
    ) -> str:
        """Books the truth; `mark` and `known` (epoch, seq) as in its Reservation, which may be
        another process's: a ledger that is behind it has lost it, and is recovering. Answers
        SETTLED, CORRECTED (after expiry), ALREADY, UNKNOWN (no such reservation any more: an event
        that charges nothing); raises LedgerUnavailable while the ledger cannot take it (RECOVERING
        included): try again."""
        slot = await self._bringing.in_step(organisation)
        return await self._bringing.settled(slot, id_, truth, event, body, mark, known)

    async def release(self, organisation: str, id_: str, event: bytes, mark: str = "") -> str:
        """Gives all of it back: RELEASED or ALREADY; raises as settle does."""
        slot = await self._bringing.in_step(organisation)
        return await self._bringing.released(slot, id_, event, mark)

    async def extend(
        self, organisation: str, leases: list[tuple[str, ScopePath]]
    ) -> dict[str, str]:
        """Heartbeat of (id, path): OK, GONE, FROZEN, CLOSED or FENCED for each id."""
        slot = await self._bringing.in_step(organisation)
        args: list[Argument] = []
        for id_, path in leases:
            nodes, attempts = path.nodes(), dict(path.attempts)
            fields = msgspec.msgpack.encode([f"s:{node}" for node in nodes])
            args += (id_, msgspec.msgpack.encode([attempts.get(node, 0) for node in nodes]), fields)
        reply = await self._session.run_in_epoch(
            slot, "extend", slot.keys, (self.options.lease_ms,), tuple(args)
        )
        answers = {id_: each for (id_, _), each in zip(leases, texts(reply[1]), strict=True)}
        for id_ in [each for each, answer in answers.items() if answer == "GONE"]:
            if await self._bringing.brought_again(slot, id_):
                answers[id_] = "OK"
        return answers

    async def forget_recorded(self) -> None:
        """Lets go of what the recorder has confirmed; brings it where the ledger was recovered
        meanwhile. Raises LedgerUnavailable."""
        await self._bringing.forget_recorded()

    async def sweep(self, organisation: str, at_most: int = 100) -> list[str]:
        """Charges up to `at_most` expired leases in full, the ids that it swept; and closes
        allotments whose time has passed."""
        slot = await self._session.slot(organisation)
        due_keys = (*slot.keys, slot.allotment_keys[1])
        due = await self._session.run_in_epoch(slot, "due", due_keys, (at_most,))
        ids, marks = texts(due[1]), texts(due[2])
        swept = await self._sweep_leases(slot, ids, marks) if ids else []
        if number(due[3]):
            await self._lapse(slot)
        return swept

    async def _lapse(self, slot: Slot) -> None:
        keys = (*slot.keys_done(self.new_id()), *slot.allotment_keys)
        looked_at = LAPSED_AT_ONCE_MAX
        while looked_at == LAPSED_AT_ONCE_MAX:
            reply = await self._session.run_in_epoch(slot, "lapse", keys, (LAPSED_AT_ONCE_MAX,))
            looked_at = number(reply[1])

    async def _sweep_leases(self, slot: Slot, ids: list[str], marks: list[str]) -> list[str]:
        done = (slot.done_key(each) for each in ids)
        keys = (*slot.keys, *done, *(each.encode() for each in marks))
        reply = await self._session.run_in_epoch(
            slot, "sweep", keys, (self.options.lease_ms,), tuple(ids)
        )
        return texts(reply[1])

    async def check(self, path: ScopePath, model: str | None = None, route: str = "") -> Checked:
        """State and limits of a path as they are now, with a `route` as in `reserve`; reserves
        nothing."""
        slot = await self._session.slot(path.organisation)
        reloaded = False
        for _ in range(STALE_RETRIES_MAX):
            plan = await self._plan(slot, path, model, route)
            epoch = slot.epoch
            numbers = _THREE.pack(epoch, slot.seq, len(plan.nodes))
            args = (numbers, plan.expected, plan.attempts, plan.limits, *plan.fields)
            reply = await self._session.run("check", slot.keys, args)
            if await self._refreshed(slot, path, model, route, reply, epoch):
                continue
            if len(reply) == 1:
                break
            if reply[0] == b"OK" or reloaded:
                return _checked(reply, plan)
            # A path that refuses by its state is not compared any further: what this process
            # believes of its limits may be old.
            self._policies.forget(plan.nodes)
            reloaded = True
        raise LedgerUnavailable("the ledger is recovering")


def _checked(reply: Reply, plan: Plan) -> Checked:
    code, _, time_ms, states, counters = reply
    assert isinstance(states, list)
    assert isinstance(counters, list)
    refusal = None if code == b"OK" else refusal_from(reply, plan)
    standings = tuple(
        Standing(bound, *counters[3 * n : 3 * n + 3]) for n, bound in enumerate(plan.bounds)
    )
    named = tuple((node, STATES[state]) for node, state in zip(plan.nodes, states, strict=True))
    return Checked(refusal, number(time_ms), named, standings)
