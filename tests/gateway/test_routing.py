"""Which deployment is next: by weight and order, never where it failed for good, and it ends."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.keys import Key
from gateway.demo import DemoUpstream
from gateway.routes import Route, Routes
from gateway.routing import ATTEMPTS_MAX, WAIT_MS_MAX, Rest, Step, Tries
from gateway.routing_rules import FailureKind, RoutingRules
from gateway.upstream import Origin
from tests.gateway.fake_routes import fake_route

CHAT = "/v1/chat/completions"
TWICE = RoutingRules(retries=2)
KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


def key_for(*models: str) -> Key:
    """One that may use these, or all."""
    return Key(id="k", name="k", scope="acme", created_at_ms=0, models=models)


ANYBODY = key_for()


def deployment(name: str, number: int = 1, **more: int | None) -> Route:
    """One of a model."""
    made = fake_route(name, Origin("http", "127.0.0.1", 1), DemoUpstream())
    return dataclasses.replace(made, deployment=f"{name}-{number}", **more)  # type: ignore[arg-type]


def no_rest(_route: Route) -> Rest | None:
    """Nobody rests."""
    return None


def resting(**until_ms: Rest) -> Callable[[Route], Rest | None]:
    """These rest, by deployment with _ for -."""
    return lambda route: until_ms.get(route.deployment.replace("-", "_"))


def tries(
    routes: list[Route],
    rules: RoutingRules = TWICE,
    rests: Callable[[Route], Rest | None] = no_rest,
    *,
    key: Key = ANYBODY,
    seed: int = 1,
    is_named: bool = False,
) -> Tries:
    """The way of a call for the first of these models."""
    found = Routes(routes, rules)
    pool = found.find(key, routes[0].name, CHAT)
    chance = random.Random(seed).random
    return Tries(
        pool, lambda names: found.others(key, names, CHAT), rests, chance, is_named=is_named
    )


def way(made: Tries, *kinds: FailureKind, asked_wait_ms: int = 0) -> list[str]:
    """The deployments that are tried while each fails in its turn."""
    route = made.first()
    names = []
    for kind in kinds:
        if route is None:
            break
        names.append(route.deployment)
        step = made.after(route, kind, asked_wait_ms)
        route = None if step is None else step.route
    return names if route is None else [*names, route.deployment]


def test_weights_decide_how_often_a_deployment_is_first() -> None:
    """3 to 1, over many calls; without weights each as often."""
    routes = [deployment("m", 1, weight=3), deployment("m", 2, weight=1)]
    counted = Counter(way(tries(routes, seed=seed))[0] for seed in range(2_000))
    assert 1_400 < counted["m-1"] < 1_600
    even = [deployment("m", number) for number in (1, 2)]
    counted = Counter(way(tries(even, seed=seed))[0] for seed in range(2_000))
    assert 900 < counted["m-1"] < 1_100


def test_what_has_no_weight_is_tried_after_the_others() -> None:
    """A weight of 0 is never first, and is there when those with a weight have failed."""
    routes = [deployment("m", 1, weight=0), deployment("m", 2, weight=5)]
    for seed in range(50):
        assert way(tries(routes, seed=seed), "failed") == ["m-2", "m-1"]


def test_the_lowest_order_comes_first() -> None:
    """Whatever the weights; the next order when all of the first have failed or rest."""
    routes = [deployment("m", 1, order=2, weight=9), *(deployment("m", n, order=1) for n in (2, 3))]
    for seed in range(20):
        first, second, third = way(tries(routes, seed=seed), "failed", "not_reached")
        assert {first, second} == {"m-2", "m-3"}
        assert third == "m-1"
    rests = resting(m_2=Rest(9, asked=False), m_3=Rest(9, asked=True))
    assert way(tries(routes, rests=rests)) == ["m-1"]


@pytest.mark.parametrize("kind", ["not_reached", "failed", "rate_limited", "account"])
def test_another_deployment_is_tried_at_once(kind: FailureKind) -> None:
    """What cost nothing moves on to a deployment that has not failed, without a wait."""
    made = tries([deployment("m", 1), deployment("m", 2)])
    first = made.first()
    assert first is not None
    step = made.after(first, kind)
    assert step is not None
    assert (step.route.deployment != first.deployment, step.wait_ms) == (True, 0)


@pytest.mark.parametrize("kind", ["final", "unknown", "over_budget", "repeated"])
def test_what_may_have_cost_or_would_be_refused_again_is_not_tried_again(kind: FailureKind) -> None:
    """A client's mistake, an unknown outcome, a budget's no and another's name end it."""
    made = tries([deployment("m", 1), deployment("m", 2), deployment("other")])
    assert len(way(made, kind)) == 1


def test_an_unknown_outcome_is_tried_again_only_where_the_rules_say_so_and_never_under_a_name() -> (
    None
):
    """It is paid twice, so an operator has to want it; a named request is paid once."""
    rules = RoutingRules(retries=1, retry_unknown=True)
    routes = [deployment("m", 1), deployment("m", 2)]
    assert len(way(tries(routes, rules), "unknown", "unknown")) == 2
    assert len(way(tries(routes, rules, is_named=True), "unknown")) == 1
    assert len(way(tries(routes, rules, is_named=True), "failed")) == 2


def test_the_only_deployment_is_tried_again_after_a_growing_wait() -> None:
    """Half a second, doubled, a quarter less by chance; as the provider asks where that is more."""
    made = tries([deployment("m")], RoutingRules(retries=3))
    route = made.first()
    assert route is not None
    waits = [step.wait_ms for _ in range(3) if (step := made.after(route, "failed"))]
    assert [375 <= waits[0] <= 500, 750 <= waits[1] <= 1_000, 1_500 <= waits[2] <= 2_000] == [
        True
    ] * 3
    assert made.after(route, "failed") is None
    made = tries([deployment("m")])
    assert made.first() is not None
    assert made.after(route, "rate_limited", 4_000) == Step(route, 4_000)
    assert made.after(route, "rate_limited", 61_000) is None
    made = tries([deployment("m")])
    assert made.first() is not None
    assert made.after(route, "rate_limited", 4_000, left_ms=4_000) is None


def test_an_account_that_is_refused_is_not_asked_again() -> None:
    """Nothing that a wait would change."""
    assert way(tries([deployment("m")]), "account") == ["m-1"]


def test_retries_are_counted_as_the_rules_and_the_deployment_say() -> None:
    """num_retries, a deployment's own instead of it, and those of a kind of failure."""
    routes = [deployment("m", number) for number in (1, 2, 3, 4)]
    often: list[FailureKind] = ["failed"] * 9
    assert len(way(tries(routes), *often)) == 3
    assert len(way(tries(routes, RoutingRules()), *often)) == 1
    by_kind = RoutingRules(retries=2, retries_by_kind={"rate_limited": 0})
    assert len(way(tries(routes, by_kind), "rate_limited")) == 1
    own = [dataclasses.replace(each, retries=3) for each in routes]
    assert len(way(tries(own), *often)) == 4


def test_fallbacks_come_after_the_model_s_own_deployments() -> None:
    """In their order, those of `*` for who has none, and none for who may not use them."""
    routes = [deployment("a"), deployment("b"), deployment("c")]
    rules = RoutingRules(fallbacks={"a": ("b", "c"), "*": ("a",)})
    assert way(tries(routes, rules), "failed", "failed", "failed") == ["a-1", "b-1", "c-1"]
    assert way(tries([routes[1], routes[0]], rules), "failed", "failed") == ["b-1", "a-1"]
    narrow = key_for("a", "c")
    assert way(tries(routes, rules, key=narrow), "failed", "failed") == ["a-1", "c-1"]


def test_a_fallback_that_is_named_twice_is_tried_once() -> None:
    """Also where one of the names is an alias, of it or of the model that was asked for."""
    routes = [deployment("a"), deployment("b")]
    rules = RoutingRules(fallbacks={"a": ("b", "old-a", "old-b", "b")})
    found = Routes(routes, rules, {"old-a": "a", "old-b": "b"})
    made = Tries(
        found.find(ANYBODY, "old-a", CHAT),
        lambda names: found.others(ANYBODY, names, CHAT),
        no_rest,
        random.random,
    )
    assert way(made, "account", "account") == ["a-1", "b-1"]


def test_a_model_that_is_limited_is_left_for_its_fallback_and_one_that_failed_is_tried_again() -> (
    None
):
    """A wait for the provider's window would be longer than another model takes."""
    routes = [deployment("a"), deployment("b")]
    rules = RoutingRules(retries=1, fallbacks={"a": ("b",)})
    assert way(tries(routes, rules), "rate_limited", "final") == ["a-1", "b-1"]
    assert way(tries(routes, rules), "failed", "failed", "final") == ["a-1", "a-1", "b-1"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("too_long", "long"), ("against_policy", "mild"), ("failed", "any")]
)
def test_a_request_that_a_model_refuses_has_fallbacks_of_its_own(
    kind: FailureKind, expected: str
) -> None:
    """A longer window for what is too long, another policy for what is against one; no retry."""
    routes = [deployment(name) for name in ("a", "long", "mild", "any")]
    rules = RoutingRules(
        fallbacks={"a": ("any",)},
        too_long_fallbacks={"a": ("long",)},
        against_policy_fallbacks={"a": ("mild",)},
    )
    assert way(tries(routes, rules), kind, "final") == ["a-1", f"{expected}-1"]
    assert way(tries(routes, RoutingRules()), kind) == ["a-1"]


def test_a_budget_that_refuses_the_fallback_leads_to_the_next_one() -> None:
    """It has room for less, perhaps; before anything was sent its no is the answer."""
    routes = [deployment("a"), deployment("b"), deployment("c")]
    rules = RoutingRules(fallbacks={"a": ("b", "c")})
    assert way(tries(routes, rules), "failed", "over_budget") == ["a-1", "b-1", "c-1"]
    assert way(tries(routes, rules), "over_budget") == ["a-1"]


def test_who_rests_is_passed_over() -> None:
    """Another one, else another model, else the one that rests least; but a pause that all their
    providers have asked for is kept, except by an only deployment."""
    routes = [deployment("a", 1), deployment("a", 2), deployment("b")]
    tired = {"a_1": Rest(10, asked=True), "a_2": Rest(20, asked=False)}
    assert way(tries(routes, rests=resting(a_1=tired["a_1"]))) == ["a-2"]
    rules = RoutingRules(fallbacks={"a": ("b",)})
    assert way(tries(routes, rules, resting(**tired))) == ["b-1"]
    assert way(tries(routes, rests=resting(**tired))) == ["a-2"]
    asked = {"a_1": Rest(10, asked=True), "a_2": Rest(20, asked=True)}
    made = tries(routes, rests=resting(**asked))
    assert made.first() is None
    assert made.pause_ms(4) == 6
    assert way(tries(routes[:1], rests=resting(**asked))) == ["a-1"]
    assert way(tries([routes[0], routes[2]], rules, resting(**asked))) == ["b-1"]


routes_made = st.lists(
    st.builds(
        deployment,
        st.sampled_from("abc"),
        st.integers(1, 4),
        weight=st.integers(0, 3),
        order=st.integers(0, 2),
        retries=st.none() | st.integers(0, 10),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda each: each.deployment,
)
names = st.lists(st.sampled_from("abc"), max_size=3).map(tuple)
lists = st.dictionaries(st.sampled_from("abc*"), names)
rules_made = st.builds(
    RoutingRules,
    retries=st.integers(0, 10),
    retry_unknown=st.booleans(),
    fallbacks=lists,
    too_long_fallbacks=lists,
    against_policy_fallbacks=lists,
)


kinds_made = st.lists(st.sampled_from(KINDS), min_size=ATTEMPTS_MAX + 1, max_size=ATTEMPTS_MAX + 1)


@given(routes_made, rules_made, kinds_made, st.data())
def test_every_way_ends_and_stays_where_it_may(
    routes: list[Route], rules: RoutingRules, kinds: list[FailureKind], data: st.DataObject
) -> None:
    """Whatever fails however: at most ATTEMPTS_MAX attempts, of the model and the fallbacks that
    the key may use, each wait bounded and within the time that is left; a deployment whose account
    is refused is not asked twice, and nothing follows what may have been paid."""
    may_use = data.draw(st.sampled_from([(), ("a",), ("a", "b")]))
    key = key_for(*may_use, routes[0].name) if may_use else ANYBODY
    made = tries(routes, rules, key=key, is_named=data.draw(st.booleans()))
    route, count, refused = made.first(), 0, set()
    for kind in kinds:
        if route is None:
            break
        count += 1
        assert not key.models or route.name in key.models
        assert route.deployment not in refused
        if kind == "account":
            refused.add(route.deployment)
        left_ms = data.draw(st.integers(0, 20_000))
        step = made.after(route, kind, left_ms=left_ms)
        if step is not None:
            assert step.wait_ms < left_ms
            assert step.wait_ms <= WAIT_MS_MAX
            assert kind != "final"
            assert kind != "unknown" or rules.retry_unknown
        route = None if step is None else step.route
    assert route is None
    assert made.count == count <= ATTEMPTS_MAX
