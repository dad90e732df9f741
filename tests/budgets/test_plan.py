"""Which limits bind a path, in which counters, and until when a plan holds."""

import struct
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from budgets.allotments import Allotment
from budgets.plan import Plan, ScopePath, ScopeRecord, build_plan
from budgets.policy import PAYLOADS, SEGMENTS_MAX, Limit, Payloads, Policy, ancestors
from tests.budgets.conftest import START_MS

OPEN, FROZEN, CLOSING, CLOSED = range(4)
MINUTE_S = START_MS // 1000 - 10


def record(
    policy: Policy | None = None, state: int = OPEN, fence: int = 0, pending: int = 0
) -> ScopeRecord:
    """A scope as the ledger has it, with version 7."""
    return ScopeRecord(struct.pack("<BqqB", state, 7, fence, pending), policy or Policy())


def limit(
    id_: str, amount: int, dimension: Any = "usd", window: Any = "total", *models: str
) -> Limit:
    """A limit with an id."""
    return Limit(id_, dimension, window, str(amount), models)


def plan_of(path: ScopePath, records: dict[str, ScopeRecord], model: str | None = "m") -> Plan:
    """The plan, with empty scopes for those that a test leaves out."""
    whole = {node: records.get(node, record()) for node in path.nodes()}
    return build_plan(path, model, whole, START_MS)


def packed(plan: Plan) -> list[tuple[int, ...]]:
    """(dimension, share, amount, start, end) of each limit."""
    flat = msgspec.msgpack.decode(plan.limits, type=list[int])
    return [tuple(flat[at : at + 5]) for at in range(0, len(flat), 5)]


def test_nodes_are_the_path_and_the_key_beside_it() -> None:
    """All ancestors top down; a key's own scope last, once."""
    assert ScopePath("o/a/b").nodes() == ("o", "o/a", "o/a/b")
    assert ScopePath("o/a/b", "o/a/key").nodes() == ("o", "o/a", "o/a/b", "o/a/key")
    assert ScopePath("o/a/key", "o/a/key").nodes() == ("o", "o/a", "o/a/key")
    assert ScopePath("o/a/b").organisation == "o"


def test_every_limit_of_the_path_is_packed_with_its_counter() -> None:
    """Order, dimension numbers, shares of their own scope, and fields named by id and window."""
    plan = plan_of(
        ScopePath("o/a"),
        {
            "o": record(Policy(limits=(limit("3.0", 50), limit("3.1", 9, "tokens", "minute")))),
            "o/a": record(
                Policy(
                    limits=(limit("5.0", 4, "requests", "day"), limit("5.1", 2, "concurrency")),
                    share_of_free_percent=50,
                )
            ),
        },
    )
    day_s = MINUTE_S - MINUTE_S % 86_400
    assert packed(plan) == [
        (1, 25, 50, 0, 0),
        (2, 25, 9, MINUTE_S, MINUTE_S + 60),
        (3, 50, 4, day_s, day_s + 86_400),
        (4, 50, 2, 0, 0),
    ]
    assert plan.fields == (
        *(b"s:o", b"s:o/a"),
        *(b"c:3.0:0", f"c:3.1:{MINUTE_S}".encode(), f"c:5.0:{day_s}".encode(), b"c:5.1:0"),
    )
    assert [bound.scope for bound in plan.bounds] == ["o", "o", "o/a", "o/a"]
    assert plan.bounds[1].resets_at_ms == (MINUTE_S + 60) * 1000
    assert plan.bounds[0].resets_at_ms == 0


def test_a_plan_holds_until_its_first_window_ends() -> None:
    """And without windows for ever."""
    records = {"o": record(Policy(limits=(limit("1.0", 5, "usd", "month"), limit("1.1", 5))))}
    assert plan_of(ScopePath("o"), records).valid_until_ms == START_MS + 50_000
    assert plan_of(ScopePath("o"), {}).valid_until_ms > 2**60


def test_a_model_takes_the_limits_that_cover_it() -> None:
    """Without a model, all of them."""
    records = {"o": record(Policy(limits=(limit("1.0", 1), limit("1.1", 2, "usd", "day", "x*"))))}
    for model, amounts in (("m", [1]), ("x1", [1, 2]), (None, [1, 2])):
        plan = plan_of(ScopePath("o"), records, model)
        assert [bound.limit.amount for bound in plan.bounds] == amounts


def test_a_template_gives_each_child_counters_of_its_own() -> None:
    """The parent's template under the child's name, where the child has no limits; not for the
    grandchild, and with the share of the scope that the template is on."""
    template = Policy(per_child=(limit("4.0", 9),), share_of_free_percent=60)
    records = {"o/app": record(template)}
    plan = plan_of(ScopePath("o/app/ann/deep"), records)
    assert plan.fields[4:] == (b"c:4.0:o/app/ann:0",)
    assert packed(plan) == [(1, 60, 9, 0, 0)]
    assert [bound.scope for bound in plan.bounds] == ["o/app/ann"]
    other = plan_of(ScopePath("o/app/bob"), records)
    assert other.fields[3:] == (b"c:4.0:o/app/bob:0",)
    own = {**records, "o/app/ann": record(Policy(limits=(limit("6.0", 1),)))}
    assert plan_of(ScopePath("o/app/ann"), own).fields[3:] == (b"c:6.0:0",)


def test_a_keys_own_scope_is_nobodys_template_child() -> None:
    """The template is for whom a key serves: it would else bind the key that serves all of them."""
    records = {"o/app": record(Policy(per_child=(limit("4.0", 9),)))}
    plan = plan_of(ScopePath("o/app/ann", "o/app/key"), records)
    assert [bound.scope for bound in plan.bounds] == ["o/app/ann"]


@pytest.mark.parametrize(
    ("node", "attempt", "admits"),
    [
        (record(), 0, True),
        (record(fence=2), 2, True),
        (record(fence=2), 1, False),
        (record(state=FROZEN), 9, False),
        (record(state=CLOSING), 9, False),
        (record(state=CLOSED), 9, False),
        (record(pending=1), 9, False),
        (ScopeRecord(b"", Policy()), 9, False),
    ],
)
def test_records_are_expected_only_where_they_admit(
    node: ScopeRecord, attempt: int, admits: bool
) -> None:
    """A record that refuses is never among what the script takes for granted: the script names the
    refusal, each time."""
    assert node.admits(attempt) == admits
    plan = plan_of(ScopePath("o/a", "", (("o/a", attempt),)), {"o/a": node})
    assert plan.expected == (record().packed + node.packed if admits else b"")
    assert msgspec.msgpack.decode(plan.attempts) == [0, attempt]


def test_versions_are_those_of_the_records() -> None:
    """-1 where the ledger does not know the scope."""
    assert record().version == 7
    assert ScopeRecord(b"", Policy()).version == -1


def test_one_refuse_on_the_path_ends_clamping() -> None:
    """And the default cap is that of the budget nearest to the request."""
    refuse = Policy(on_exceed="refuse", output_tokens_default=100)
    assert plan_of(ScopePath("o/a"), {}).clampable
    plan = plan_of(ScopePath("o/a"), {"o": record(refuse)})
    assert (plan.clampable, plan.output_tokens_default) == (False, 100)
    nearer = {"o": record(refuse), "o/a": record(Policy(output_tokens_default=50))}
    assert plan_of(ScopePath("o/a"), nearer).output_tokens_default == 50


DEEPEST = "/".join(f"s{n}" for n in range(SEGMENTS_MAX - 1))


@given(
    own=st.sampled_from(PAYLOADS),
    decided=st.dictionaries(
        st.sampled_from((*ancestors(DEEPEST), "s0/key")), st.sampled_from(PAYLOADS)
    ),
    model=st.sampled_from((None, "m")),
)
@settings(max_examples=200, deadline=None, database=None)
def test_the_strictest_policy_for_payloads_holds(
    own: Payloads, decided: dict[str, Payloads], model: str | None
) -> None:
    """Whoever decided, at whatever depth, the key beside the path or the process: nobody can
    weaken what another one wants, and what nobody on the path says changes nothing."""
    path = ScopePath(DEEPEST, "s0/key")
    records = {node: record(Policy(payloads=decided.get(node))) for node in path.nodes()}
    records["s0/elsewhere"] = record(Policy(payloads="off"))
    plan = build_plan(path, model, records, START_MS, own)
    assert plan.payloads == PAYLOADS[max(map(PAYLOADS.index, (own, *decided.values())))]


def test_a_path_without_a_policy_for_payloads_has_the_full_ones() -> None:
    """Unset everywhere is `full`, whether the records admit or not."""
    assert plan_of(ScopePath("o/a"), {}).payloads == "full"
    frozen = {"o": record(Policy(payloads="hash"), state=FROZEN)}
    assert plan_of(ScopePath("o/a"), frozen).payloads == "hash"


def test_what_an_allotment_moves_is_asked_up_to_its_scope_only() -> None:
    """Its own bound stands for the limits above; minutes, models and other dimensions stay; below
    a second one the first is not asked either."""
    limits = (
        limit("3.0", 50),
        limit("3.1", 50, "usd", "minute"),
        limit("3.2", 50, "usd", "total", "m"),
        limit("3.3", 50, "tokens"),
    )
    own = Policy(limits=(limit("5.0", 9),))
    outer = Allotment("a7", "o/a", {"usd": 20}, 9)
    inner = Allotment("a8", "o/a/b", {"usd": 5}, 9)
    records = {"o": record(Policy(limits=limits)), "o/a": replace(record(own), allotment=outer)}
    rest = [b"c:3.1:%d" % MINUTE_S, b"c:3.2:0", b"c:3.3:0"]
    plan = plan_of(ScopePath("o/a/b"), records)
    assert plan.fields[3:] == (*rest, b"c:5.0:0", b"c:a7.1:0")
    assert packed(plan)[-1] == (1, 25, 20, 0, 0)
    assert plan.bounds[-1].allotment is outer
    records["o/a/b"] = replace(record(), allotment=inner)
    assert plan_of(ScopePath("o/a/b/c"), records).fields[4:] == (*rest, b"c:a8.1:0")
    beside = plan_of(ScopePath("o/a/x", "o/a/b"), records)
    assert beside.fields[4:] == (*rest, b"c:a8.1:0"), "the key's own scope is a node, too"
    alone = plan_of(ScopePath("o/a"), records)
    assert alone.fields[2:] == (*rest, b"c:5.0:0", b"c:a7.1:0")
