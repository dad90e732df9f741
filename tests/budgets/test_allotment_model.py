"""Allotments against the contract, step by step: the ledger's model test, with money that moves.

To what `test_model.py` draws come openings and closings, nested, that expire, are overrun and
revoked with requests open, and truth that comes late. After every step the counters are summed anew
from what the server itself keeps of each allotment.
"""

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from budgets.allotments import Allotment, AllotmentInvalid, AllotmentOpen
from budgets.answers import Ask, Refusal
from budgets.embedded import EmbeddedServer
from budgets.plan import ScopePath
from budgets.policy import Dimension, ancestors
from tests.budgets.drawn import BURSTS, MODELS, PICK, WORKER
from tests.budgets.harness import counters_of
from tests.budgets.moved import AllotmentModel, MovingModel
from tests.budgets.test_model import LEASE_MS, SCOPES, LedgerMachine

CHILDREN = (*SCOPES[1:], "/lab/run/step", "/lab/run/step/deep")
AMOUNTS: dict[Dimension, st.SearchStrategy[int]] = {
    "usd": st.one_of(st.integers(1, 3000), st.integers(1, 300), st.integers(10**13, 8 * 10**15)),
    "tokens": st.one_of(st.integers(1, 3000), st.integers(1, 300)),
}
MOVED = st.one_of(
    st.fixed_dictionaries({"usd": AMOUNTS["usd"]}),
    st.fixed_dictionaries({"tokens": AMOUNTS["tokens"]}),
    st.fixed_dictionaries({"usd": AMOUNTS["usd"], "tokens": AMOUNTS["tokens"]}),
)
LASTS_MS = st.one_of(st.just(10**10), st.integers(-1, 2 * LEASE_MS))


class AllotmentMachine(LedgerMachine):
    """Two workers and the model, with allotments."""

    model: MovingModel
    model_of = MovingModel

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

    @precondition(lambda self: self.model.allotments)
    @rule(worker=WORKER, pick=PICK)
    def close_allotment(self, worker: int, pick: int) -> None:
        scope = self.model.allotments[pick % len(self.model.allotments)].scope
        administration = self.desks[worker].administration
        closing = self.run(administration.close_allotment(scope, b"{}"))
        assert closing == self.model.close_allotment(scope)

    @precondition(lambda self: self.model.allotments)
    @rule(worker=WORKER, pick=PICK, model=st.sampled_from(MODELS), asked=BURSTS)
    def spend(self, worker: int, pick: int, model: str, asked: list[Ask]) -> None:
        """Where money was moved."""
        scope = self.model.allotments[pick % len(self.model.allotments)].scope
        named = tuple((node, 2) for node in ScopePath(scope).nodes())
        for ask in asked:
            id_ = self.desks[worker].session.new_id()
            self.ids.append(id_)
            self._reserve(worker, id_, ScopePath(scope, "", named), model, ask)

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


def test_allotments_keep_the_contract(valkey: EmbeddedServer) -> None:
    """Whatever is moved, spent and closed in whatever order, the money is conserved."""
    run_state_machine_as_test(
        lambda: AllotmentMachine(str(valkey.socket_path)),  # type: ignore[arg-type]  # a factory is as good
        settings=settings(
            max_examples=120,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
