"""Allotments against the contract, step by step: the ledger's model test, with money that moves.

To what `test_model.py` draws come openings and closings, nested, that expire, are overrun and
revoked with requests open, and truth that comes late. After every step the counters are summed anew
from what the server itself keeps of each allotment.
"""

import json
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from budgets.allotments import Allotment, AllotmentInvalid, AllotmentOpen
from budgets.answers import Ask, Refusal, Truth
from budgets.embedded import EmbeddedServer
from budgets.plan import ScopePath
from budgets.policy import Dimension, Limit, Policy, ancestors
from tests.budgets.drawn import LIMITS, MODELS, PICK, POLICIES, TRUTHS, WORKER
from tests.budgets.harness import counters_of
from tests.budgets.moved import AllotmentModel, MovingModel
from tests.budgets.test_model import LEASE_MS, SCOPES, STARTS, LedgerMachine

CHILDREN = (*SCOPES[1:], "/lab/run/step", "/lab/run/step/deep")
# Outer and inner, as numbers of CHILDREN.
PAIRS = ((0, 1), (0, 3), (4, 5), (5, 6), (6, 7))
AMOUNTS: dict[Dimension, st.SearchStrategy[int]] = {
    "usd": st.one_of(st.integers(1, 3000), st.integers(1, 300), st.integers(10**13, 8 * 10**15)),
    "tokens": st.one_of(st.integers(1, 3000), st.integers(1, 300)),
}
MOVED = st.one_of(
    st.fixed_dictionaries({"usd": AMOUNTS["usd"]}),
    st.fixed_dictionaries({"tokens": AMOUNTS["tokens"]}),
    st.fixed_dictionaries({"usd": AMOUNTS["usd"], "tokens": AMOUNTS["tokens"]}),
)
LASTS_MS = st.one_of(st.just(10**10), st.just(10**10), st.integers(-1, 2 * LEASE_MS))


@st.composite
def moneyed(draw: st.DrawFn) -> Policy:
    """A budget of money, seldom too small to be moved, and sometimes something beside it."""
    windows: Any = st.sampled_from(("total", "total", "day", "month", "minute"))
    amounts = st.one_of(st.integers(2000, 20_000), st.integers(300, 5000), st.just(8 * 10**15))
    dimensions: Any = draw(st.sampled_from((("usd",), ("usd",), ("usd", "tokens"), ())))
    own = [Limit("@.0", each, draw(windows), str(draw(amounts))) for each in dimensions]
    beside = draw(st.one_of(st.just(()), st.just(()), LIMITS))
    known = {each.identity for each in own}
    return msgspec.structs.replace(
        draw(POLICIES), limits=(*own, *(each for each in beside if each.identity not in known))
    )


MONEYED = moneyed()
# What fits into most allotments, often more than once.
MODEST = st.lists(
    st.builds(
        Ask,
        st.integers(0, 60),
        st.sampled_from((0, 1000, 3000)),
        st.integers(0, 20),
        st.integers(0, 1),
        st.integers(0, 60),
        st.just(0),
    ),
    min_size=1,
    max_size=5,
)


class AllotmentMachine(LedgerMachine):
    """Two workers and the model, with allotments."""

    model: MovingModel
    model_of = MovingModel

    @initialize(start=st.sampled_from(STARTS), policies=st.lists(MONEYED, min_size=7, max_size=7))
    def begin(self, start: str, policies: list[Policy]) -> None:
        super().begin(start, policies)

    @rule(worker=WORKER, scope=PICK, policy=MONEYED)
    def set_policy(self, worker: int, scope: int, policy: Policy) -> None:
        super().set_policy(worker, scope, policy)

    @rule(
        worker=WORKER,
        scope=PICK,
        action=st.sampled_from((*("freeze", "fence"), *("thaw",) * 6, "close")),
        attempt=st.integers(0, 2),
    )
    def set_state(self, worker: int, scope: int, action: str, attempt: int) -> None:
        super().set_state(worker, scope, action, attempt)

    @rule(worker=WORKER, child=PICK, amounts=MOVED, lasts_ms=LASTS_MS)
    def allot(self, worker: int, child: int, amounts: dict[Dimension, int], lasts_ms: int) -> None:
        scope = self.organisation + CHILDREN[child % len(CHILDREN)]
        expires_at_ms = self.model.time_ms + lasts_ms
        expected = self.model.allot(scope, amounts, expires_at_ms)
        administration = self.desks[worker].administration
        try:
            answer = self.run(administration.allot(scope, amounts, expires_at_ms, b"{}"))
        except AllotmentOpen:
            assert expected.code == "ALLOTTED"
        except AllotmentInvalid:
            assert expected.code == "TOO_LATE"
        else:
            self._assert_answered(answer, expected)

    def _assert_answered(self, answer: Allotment | Refusal, expected: Any) -> None:
        if isinstance(answer, Refusal):
            assert (answer.code, answer.until_ms) == (expected.code, expected.until_ms)
            if expected.scope:
                assert answer.scope == expected.scope
            return
        assert expected.code == "OPENED", expected
        opened = self.model.allotments[-1]
        assert answer.id == opened.id
        free = self._free_in_raised(opened)
        assert all(each >= 0 for each in free), "an opening raises nothing above its limit"

    def _free_in_raised(self, opened: AllotmentModel) -> list[int]:
        """What is free in each limit that an opening has raised."""
        raised = {name for names in opened.raised.values() for name in names}
        return [
            self.model.free(binding)
            for node in ancestors(opened.scope)[:-1]
            for binding in self.model.bindings(ScopePath(node), None)
            if binding.scope == node and binding.counter in raised
        ]

    @rule(
        worker=WORKER,
        pair=st.sampled_from(PAIRS),
        amounts=MOVED,
        share=st.integers(1, 100),
        asked=MODEST,
    )
    def allot_within(
        self,
        worker: int,
        pair: tuple[int, int],
        amounts: dict[Dimension, int],
        share: int,
        asked: list[Ask],
    ) -> None:
        """One, and a part of it to a scope below, which begins to spend it."""
        outer, inner = pair
        self.allot(worker, outer, amounts, 10**10)
        part = {name: max(1, amount * share // 100) for name, amount in amounts.items()}
        self.allot(worker, inner, part, 10**10)
        self._spend(worker, self.organisation + CHILDREN[inner], MODELS[0], asked)

    @precondition(lambda self: self.model.allotments)
    @rule(worker=WORKER, pick=PICK, before=MODEST, after=MODEST)
    def close_allotment(self, worker: int, pick: int, before: list[Ask], after: list[Ask]) -> None:
        """With requests open, often, and some that come too late."""
        scope = self.model.allotments[pick % len(self.model.allotments)].scope
        self._spend(worker, scope, MODELS[0], before)
        administration = self.desks[worker].administration
        closing = self.run(administration.close_allotment(scope, b"{}"))
        assert closing == self.model.close_allotment(scope)
        self._spend(1 - worker, scope, MODELS[1], after)

    @precondition(lambda self: self.model.allotments)
    @rule(worker=WORKER, pick=PICK, model=st.sampled_from(MODELS), asked=MODEST)
    def spend(self, worker: int, pick: int, model: str, asked: list[Ask]) -> None:
        """Where money was moved."""
        scope = self.model.allotments[pick % len(self.model.allotments)].scope
        self._spend(worker, scope, model, asked)

    def _spend(self, worker: int, scope: str, model: str, asked: list[Ask]) -> None:
        named = tuple((node, 2) for node in ScopePath(scope).nodes())
        for ask in asked:
            id_ = self.desks[worker].session.new_id()
            self.ids.append(id_)
            self._reserve(worker, id_, ScopePath(scope, "", named), model, ask)

    @precondition(lambda self: self.model.leases)
    @rule(worker=WORKER, pick=PICK, usd=st.integers(0, 4000), tokens=st.integers(0, 4000))
    def overrun(self, worker: int, pick: int, usd: int, tokens: int) -> None:
        """A truth that is seldom what was reserved, where money was moved if there is any."""
        leases = self.model.leases
        moved = [each for each in leases if any(":a" in name for name in leases[each].held)]
        pool = moved or [*leases]
        id_ = pool[pick % len(pool)]
        truth = Truth(usd, tokens, 1)
        settling = self.desks[worker].ledger.settle(self.organisation, id_, truth, b"over", b"")
        assert self.run(settling) == self.model.settle(id_, truth) == "SETTLED"

    @precondition(lambda self: self.model.expired)
    @rule(worker=WORKER, pick=PICK, truth=TRUTHS)
    def true_up(self, worker: int, pick: int, truth: Truth) -> None:
        """Late truth, also of what was reserved in an allotment that is closed."""
        id_ = [*self.model.expired][pick % len(self.model.expired)]
        settling = self.desks[worker].ledger.settle(self.organisation, id_, truth, b"late", b"")
        assert self.run(settling) == self.model.settle(id_, truth) == "CORRECTED"

    @rule(worker=WORKER)
    def come_to_rest(self, worker: int) -> None:
        """Whatever is open expires: then nothing is reserved or allotted any more."""
        self.move_to(self.model.time_ms + LEASE_MS)
        for each in self.model.allotments:
            scope = each.scope
            closing = self.desks[worker].administration.close_allotment(scope, b"{}")
            assert self.run(closing) == self.model.close_allotment(scope)
        while self.model.leases:
            self.sweep(worker)
        counters = self.run(self.desks[0].counters())
        assert not any(reserved or allotted for _, reserved, allotted in counters.values())

    def _least_of(self, name: str) -> int:
        return min(map(self.model.spent, self.model.changed_with(name)))

    def _expired_in(self, name: str) -> bool:
        charged = {each for charges in self.model.expired.values() for each in charges}
        return any(name in self.model.changed_with(each) for each in charged)

    @invariant()
    def money_over_the_tree_is_conserved(self) -> None:
        if hasattr(self, "model"):
            self.run(self._sum_up())

    async def _sum_up(self) -> None:
        """From the server's own records: on every counter `allotted` is what the allotments cost
        that are not closed; `spent` of the closed ones is in the model's comparison."""
        desk, command = self.desks[0], self.transport.command
        ledger: Any = await command("HGETALL", desk.key("ledger"))
        fields = dict(zip(ledger[::2], ledger[1::2], strict=True))
        counters = counters_of(fields)
        costs: dict[str, int] = {}
        open_scopes = set()
        for name, text in fields.items():
            if not name.startswith(b"a:"):
                continue
            kept = json.loads(text)
            if kept["state"] != "closed":
                open_scopes.add(kept["scope"])
                assert fields[b"o:" + kept["scope"].encode()] == name[2:]
            for number, dimension in enumerate(("usd", "tokens"), start=1):
                move = kept["moves"].get(dimension)
                if move is None:
                    continue
                spent = counters.get(f"c:{kept['id']}.{number}:0", (0, 0, 0))[0]
                for raised in move["raised"].split():
                    if kept["state"] != "closed":
                        costs[raised] = costs.get(raised, 0) + max(int(move["amount"]), spent)
        assert {name: each[2] for name, each in counters.items() if each[2]} == costs
        assert open_scopes == {name[2:].decode() for name in fields if name.startswith(b"o:")}


# Drawn often enough without money that moves; here they would take the place of what matters.
for _name in (
    *("reserve_again", "reserve_for_a_user", "release_unknown", "extend", "confirm"),
    *("change_amounts", "clock_steps_back"),
):
    setattr(AllotmentMachine, _name, None)


def test_allotments_keep_the_contract(valkey: EmbeddedServer) -> None:
    """Whatever is moved, spent and closed in whatever order, the money is conserved."""
    run_state_machine_as_test(
        lambda: AllotmentMachine(str(valkey.socket_path)),  # type: ignore[arg-type]  # a factory is as good
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
