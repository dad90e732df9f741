"""The real scripts against the contract, step by step.

Hypothesis draws sequences of calls by two workers (one with a wrong clock, each with caches of its
own) and of administrators, moves time over the edges of windows, and after every step compares
answers, counters and outbox with the plain model in `contract.py`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets.administration import ScopeClosed
from budgets.answers import Ask, Refusal, Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerConflict, LedgerOptions
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.plan import ScopePath
from budgets.policy import Policy
from budgets.recording import Recording
from tests.budgets import contract
from tests.budgets.contract import ContractModel
from tests.budgets.drawn import BURSTS, MODELS, PICK, POLICIES, TRUTHS, WORKER
from tests.budgets.harness import ManualClock, TimedDesk, counters_of, entry_of, head_of, recorded
from tests.budgets.harness import timed_desk_for as desk_for

LEASE_MS = 60_000
SKEW_MS = 45_000
STARTS = ("2027-12-31T23:58:30", "2028-02-29T23:59:10", "2028-03-05T22:59:59", "2028-07-14T12:00")
SCOPES = ("", "/team", "/team/a", "/team/b", "/team/key-1", "/lab", "/lab/run")
# (scope, key's own scope, attempts by scope)
PATHS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("/team/a", "", {}),
    ("/team/b", "/team/key-1", {"/team": 1}),
    ("/team/key-1", "/team/key-1", {"/team": 2, "/team/key-1": 1}),
    ("/lab/run", "", {"/lab": 1, "/lab/run": 2}),
    ("/lab", "", {}),
)


class LedgerMachine(RuleBasedStateMachine):
    """Two workers and the model, side by side."""

    model_of = ContractModel
    scopes = SCOPES

    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.organisation = f"model-{secrets.token_hex(6)}"
        address = NodeAddress(unix_path=socket_path)
        self.transport = self.run(_transport_to(address))
        options = LedgerOptions(lease_ms=LEASE_MS)
        self.desks: tuple[TimedDesk, ...] = tuple(
            desk_for(self.organisation, self.transport, ManualClock(0, skew_ms), options)
            for skew_ms in (0, SKEW_MS)
        )
        self.ids: list[str] = []
        self.booked: dict[str, tuple[int, int]] = {}
        self.seq = 0
        self.confirmed = 0

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.transport.close())
        self.runner.close()

    @initialize(start=st.sampled_from(STARTS), policies=st.lists(POLICIES, min_size=7, max_size=7))
    def begin(self, start: str, policies: list[Policy]) -> None:
        at_ms = datetime.fromisoformat(start + "+00:00")
        self.model = self.model_of(int(at_ms.timestamp()) * 1000, LEASE_MS)
        self.move_to(self.model.clock_ms)
        for desk in self.desks:
            self.run(desk.session.open_organisation(self.organisation, create=True))
        for number, policy in enumerate(policies):
            self.set_policy(0, number, policy)

    def move_to(self, at_ms: int) -> None:
        self.model.clock_ms = at_ms
        for desk in self.desks:
            self.run(desk.set_time(at_ms))

    def place(self, number: int) -> str:
        return self.organisation + self.scopes[number % len(self.scopes)]

    def path(self, number: int) -> ScopePath:
        scope, key_scope, attempts = PATHS[number % len(PATHS)]
        named = tuple((self.organisation + node, attempt) for node, attempt in attempts.items())
        own = self.organisation + key_scope if key_scope else ""
        return ScopePath(self.organisation + scope, own, named)

    def known_id(self, pick: int) -> str:
        """An id used before; three times in four one that is still open, or expired."""
        living = [*self.model.expired, *self.model.leases]
        pool = living if pick % 4 and living else self.ids
        return pool[pick // 4 % len(pool)]

    @rule(worker=WORKER, path=PICK, model=st.sampled_from(MODELS), asked=BURSTS)
    def reserve(self, worker: int, path: int, model: str, asked: list[Ask]) -> None:
        for ask in asked:
            id_ = self.desks[worker].session.new_id()
            self.ids.append(id_)
            self._reserve(worker, id_, self.path(path), model, ask)

    @rule(worker=WORKER, model=st.sampled_from(MODELS), asked=BURSTS)
    def reserve_for_a_user(self, worker: int, model: str, asked: list[Ask]) -> None:
        self.reserve(worker, len(asked) % 2, model, asked)

    @precondition(lambda self: self.ids)
    @rule(worker=WORKER, pick=PICK, changed=st.booleans())
    def reserve_again(self, worker: int, pick: int, changed: bool) -> None:
        id_ = self.known_id(pick)
        if id_ in self.model.leases:
            lease = self.model.leases[id_]
            ask = lease.ask
            if changed:
                ask = Ask(ask.usd_fixed_nusd + 1, ask.usd_pusd_per_output, 0, 1, 9, 9)
            self._reserve(worker, id_, lease.path, lease.model, ask)
        elif id_ in self.model.resolved or id_ in self.model.expired:
            self._reserve(worker, id_, self.path(pick), MODELS[0], Ask(1, 1, 1, 1, 1, 1))

    def _reserve(self, worker: int, id_: str, path: ScopePath, model: str, ask: Ask) -> None:
        again = id_ in self.model.leases
        expected = self.model.reserve(id_, path, model, ask)
        ledger = self.desks[worker].ledger
        try:
            answer = self.run(ledger.reserve(path, model, lambda _: ask, recorded(b"request"), id_))
        except LedgerConflict:
            assert expected.code in ("CONFLICT", "ALREADY"), expected
            return
        if isinstance(answer, Reservation):
            assert ("GRANTED", answer.output_tokens) == (expected.code, expected.output)
            assert answer.reserved_nusd == contract.asked(ask, "usd", answer.output_tokens)
            if not again:  # invariant 1: a grant leaves no counter above its limit
                assert all(self.model.free(each) >= 0 for each in self.model.bindings(path, model))
            return
        assert isinstance(answer, Refusal)
        assert answer.code == expected.code, (answer, expected)
        if expected.scope:
            assert answer.scope == expected.scope
        if expected.code in ("TOO_LARGE", "LOWERED"):
            assert answer.fits_output == expected.output
        if expected.code in ("EXHAUSTED", "HELD"):
            assert answer.until_ms == expected.until_ms

    @precondition(lambda self: self.ids)
    @rule(worker=WORKER, picks=st.lists(PICK, min_size=1, max_size=4), truth=TRUTHS)
    def settle(self, worker: int, picks: list[int], truth: Truth) -> None:
        ledger = self.desks[worker].ledger
        for id_ in [self.known_id(pick) for pick in picks]:
            settling = ledger.settle(self.organisation, id_, truth, b"response", b"")
            assert self.run(settling) == self.model.settle(id_, truth)

    @precondition(lambda self: self.ids)
    @rule(worker=WORKER, pick=PICK)
    def release(self, worker: int, pick: int) -> None:
        id_ = self.known_id(pick)
        releasing = self.desks[worker].ledger.release(self.organisation, id_, b"released")
        assert self.run(releasing) == self.model.release(id_)

    @rule(worker=WORKER)
    def release_unknown(self, worker: int) -> None:
        id_ = self.desks[worker].session.new_id()
        self.ids.append(id_)
        releasing = self.desks[worker].ledger.release(self.organisation, id_, b"released")
        assert self.run(releasing) == self.model.release(id_)

    @precondition(lambda self: self.ids)
    @rule(worker=WORKER, picks=st.lists(PICK, min_size=1, max_size=4), path=PICK)
    def extend(self, worker: int, picks: list[int], path: int) -> None:
        leases = {self.known_id(pick): self.path(path) for pick in picks}
        for id_ in leases.keys() & self.model.leases.keys():
            leases[id_] = self.model.leases[id_].path
        answers = self.run(self.desks[worker].ledger.extend(self.organisation, [*leases.items()]))
        assert answers == {id_: self.model.extend(id_, where) for id_, where in leases.items()}

    @rule(worker=WORKER)
    def sweep(self, worker: int) -> None:
        swept = self.run(self.desks[worker].ledger.sweep(self.organisation))
        assert set(swept) == self.model.sweep()

    @rule(by_ms=st.one_of(st.integers(1, 5000), st.sampled_from((LEASE_MS // 2, LEASE_MS))))
    def advance(self, by_ms: int) -> None:
        self.move_to(self.model.clock_ms + by_ms)

    @rule(window=st.sampled_from(("minute", "hour", "day", "week", "month")), early=st.booleans())
    def advance_to_the_edge(self, window: Any, early: bool) -> None:
        _, end_s = contract.window_at(window, self.model.clock_ms)
        self.move_to(end_s * 1000 - (1 if early else 0))

    @rule(by_ms=st.integers(1, 10_000))
    def clock_steps_back(self, by_ms: int) -> None:
        self.move_to(self.model.clock_ms - by_ms)

    @rule(
        worker=WORKER,
        scope=PICK,
        action=st.sampled_from(("freeze", "thaw", "thaw", "thaw", "fence", "close")),
        attempt=st.integers(0, 2),
    )
    def set_state(self, worker: int, scope: int, action: str, attempt: int) -> None:
        path = self.place(scope)
        if action == "close" and scope % len(self.scopes) in (0, 1):
            return  # would end the example's interest: nothing below is granted any more
        administration = self.desks[worker].administration
        setting = administration.set_state(path, action, action, b"", attempt=attempt)
        assert self.run(setting) == self.model.set_state(path, action, attempt)

    @rule(worker=WORKER, scope=PICK, policy=POLICIES)
    def set_policy(self, worker: int, scope: int, policy: Policy) -> None:
        path = self.place(scope)
        before = self.model.scopes.get(path)
        setting = self.desks[worker].administration.set_policy(path, policy, b"set")
        if before is not None and contract.kept(before.policy, policy) == before.policy:
            with contextlib.suppress(ScopeClosed):
                assert self.run(setting) == before.policy
            return
        try:
            after = self.run(setting)
        except ScopeClosed:
            assert before is not None
            assert before.state == "closed"
            return
        assert before is None or before.state != "closed"
        self._assert_named(before.policy if before else Policy(), after, policy)
        self.model.scope(path).policy = after
        self.model.event()

    @rule(worker=WORKER, scope=PICK, change=st.integers(-2, 2))
    def change_amounts(self, worker: int, scope: int, change: int) -> None:
        current = self.model.scope(self.place(scope)).policy
        changed = tuple(
            msgspec.structs.replace(limit, amount_text=str(max(0, limit.amount + change)))
            for limit in current.limits
        )
        self.run(self.desks[0].session.load([self.place(scope)]))
        self.set_policy(worker, scope, msgspec.structs.replace(current, limits=changed))

    def _assert_named(self, before: Policy, after: Policy, wanted: Policy) -> None:
        """A limit keeps its id while it stays, and a new one has an id that nobody had."""
        assert contract.kept(after, wanted) == after
        for old, new in ((before.limits, after.limits), (before.per_child, after.per_child)):
            known = {limit.identity: limit.id for limit in old}
            for limit in new:
                if limit.identity in known:
                    assert limit.id == known[limit.identity]
                else:
                    assert limit.id.startswith(f"{self.model.seq + 1}.")

    @rule(worker=WORKER, path=PICK, model=st.one_of(st.none(), st.sampled_from(MODELS)))
    def check(self, worker: int, path: int, model: str | None) -> None:
        where = self.path(path)
        for node in where.nodes():
            self.model.scope(node)
        checked = self.run(self.desks[worker].ledger.check(where, model))
        refusal = self.model.state_refusal(where)
        found = checked.refusal
        assert (found and (found.code, found.scope)) == (refusal and (refusal.code, refusal.scope))
        if refusal:
            return  # test_check has the limits of a path that refuses
        bindings = self.model.bindings(where, model)
        assert [
            (each.bound.scope, each.bound.limit, each.spent, each.reserved, each.allotted)
            for each in checked.standings
        ] == [(each.scope, each.limit, *self.standing(each.counter)) for each in bindings]

    def standing(self, name: str) -> tuple[int, int, int]:
        """(spent, reserved, allotted) as the model has them."""
        model = self.model
        return model.spent(name), model.counter(name).reserved, model.allotted(name)

    @precondition(lambda self: self.model.counters)
    @rule(worker=WORKER, pick=PICK, delta=st.integers(-300, 300), again=st.booleans())
    def adjust(self, worker: int, pick: int, delta: int, again: bool) -> None:
        touched = [name for name, counter in self.model.counters.items() if name in self.booked]
        touched = [name for name in touched if not self._expired_in(name)]
        if not touched:
            return
        name = touched[pick % len(touched)]
        counter = self.model.counter(name)
        id_ = self.desks[worker].session.new_id()
        for answer in ("DONE", "ALREADY") if again else ("DONE",):
            negative = answer == "DONE" and self._least_of(name) + delta < 0
            adjusting = self.desks[worker].administration.adjust(
                self.organisation, id_, [(name, 1, delta)], b"adjusted"
            )
            assert self.run(adjusting) == ("NEGATIVE" if negative else answer)
            if negative:
                return
            if answer == "DONE":
                counter.spent += delta
                self.model.event()

    def _least_of(self, name: str) -> int:
        """What is spent in the counters that change with this one, in that with the least."""
        return self.model.spent(name)

    def _expired_in(self, name: str) -> bool:
        return any(name in charges for charges in self.model.expired.values())

    @rule(worker=WORKER)
    def confirm(self, worker: int) -> None:
        confirming = Recording(self.desks[worker].session, "test").confirm(
            self.organisation, 1, self.seq, 0
        )
        assert self.run(confirming) == self.seq - self.confirmed
        if self.seq > self.confirmed:
            self.confirmed = self.seq
            self.model.store_time()

    @invariant()
    def ledger_is_as_the_model(self) -> None:
        if hasattr(self, "model"):
            self.run(self._compare())

    async def _compare(self) -> None:
        desk, command = self.desks[0], self.transport.command
        ledger, entries, leases, expiry = await asyncio.gather(
            command("HGETALL", desk.key("ledger")),
            command("XRANGE", desk.key("outbox"), f"1-{self.seq + 1}", "+"),
            command("HKEYS", desk.key("leases")),
            command("ZRANGE", desk.key("expiry"), "0", "-1", "WITHSCORES"),
        )
        raw: Any = ledger
        fields = dict(zip(raw[::2], raw[1::2], strict=True))
        counters = {name: values for name, values in counters_of(fields).items() if any(values)}
        standings = {name: self.standing(name) for name in self.model.counters.keys() | counters}
        assert counters == {name: values for name, values in standings.items() if any(values)}
        assert all(value >= 0 for values in counters.values() for value in values)
        self._follow(entries)
        assert self.seq == self.model.seq == head_of(fields).seq
        summed = {name: both for name, both in self.booked.items() if any(both)}
        found = {name: values[:2] for name, values in counters.items() if any(values[:2])}
        assert found == summed, "the records must sum to the counters"
        self._compare_leases(leases, expiry, counters)

    def _follow(self, entries: Any) -> None:
        """The outbox goes on without a gap; its counters are added up."""
        for id_, fields in entries:
            entry = entry_of(id_, fields)
            self.seq += 1
            assert (entry.epoch, entry.seq) == (1, self.seq)
            for name, (spent, reserved) in entry.changes().items():
                before = self.booked.get(name, (0, 0))
                self.booked[name] = (before[0] + spent, before[1] + reserved)

    def _compare_leases(
        self, leases: Any, expiry: Any, counters: dict[str, tuple[int, int, int]]
    ) -> None:
        open_leases = {id_.decode() for id_ in leases}
        expiries = {
            id_.decode(): int(at_ms) for id_, at_ms in zip(expiry[::2], expiry[1::2], strict=True)
        }
        assert open_leases == self.model.leases.keys() == expiries.keys()
        assert expiries == {id_: each.expires_ms for id_, each in self.model.leases.items()}
        held: dict[str, int] = {}
        for lease in self.model.leases.values():
            for name, (_, amount) in lease.held.items():
                held[name] = held.get(name, 0) + amount
        for name, (_, reserved, _) in counters.items():
            assert reserved == held.get(name, 0)


async def _transport_to(address: NodeAddress) -> PipelinedTransport:
    return PipelinedTransport(address, TransportLimits(call_timeout_ms=30_000))


def test_scripts_keep_the_contract(valkey: EmbeddedServer) -> None:
    """Whatever is called in whatever order, answers, counters and outbox are the contract's."""
    run_state_machine_as_test(
        lambda: LedgerMachine(str(valkey.socket_path)),  # type: ignore[arg-type]  # a factory is as good
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
