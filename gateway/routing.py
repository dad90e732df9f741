"""Which deployment is tried next: pure, so that every way through failures can be tested.

One `Tries` goes with one call. It knows the deployments of the model that was asked for, what was
tried and how that failed; time, chance and who rests are passed in. Attempts, waits and models are
all bounded: a call ends.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.routes import Pool, Route
from gateway.routing_rules import NOT_SENT, FailureKind

ATTEMPTS_MAX = 16
"""Of one call, whatever the rules add up to."""
WAIT_MS_FIRST = 500
WAIT_MS_MAX = 8_000
"""As OpenAI's SDK waits: it doubles from half a second, by chance up to a quarter less."""
ASKED_WAIT_MS_MAX = 60_000
"""A provider that asks for a longer pause is not waited for."""
_MAY_PASS = frozenset(("not_reached", "rate_limited", "failed", "unknown"))
_SAME_MODEL = _MAY_PASS | {"account", "route_refused"}
_OTHER_MODEL = frozenset(("too_long", "against_policy"))


class Rest(NamedTuple):
    """A deployment is left alone until then (by the worker's clock, in milliseconds); `asked`: its
    provider has asked for that."""

    until_ms: int
    asked: bool


class Step(NamedTuple):
    """What to try, and how long to wait before."""

    route: Route
    wait_ms: int


Others = Callable[[tuple[str, ...]], list[Pool]]
Rests = Callable[[Route], Rest | None]


class Tries:
    """The way of one call through deployments. `others` finds the pools of models that its key may
    use; `is_named`: its client has named it, so that it is never paid twice."""

    __slots__ = (
        "_chance",
        "_failed",
        "_further",
        "_here",
        "_is_named",
        "_others",
        "_own",
        "_pool",
        "_rests",
        "_was_sent",
        "count",
    )

    def __init__(
        self,
        pool: Pool,
        others: Others,
        rests: Rests,
        chance: Callable[[], float],
        *,
        is_named: bool = False,
    ) -> None:
        self.count = 0
        self._own = pool
        self._pool = pool
        self._others = others
        self._rests = rests
        self._chance = chance
        self._is_named = is_named
        self._here = 0
        self._failed: dict[str, FailureKind] = {}
        self._further: list[Pool] | None = None
        self._was_sent = False

    def first(self) -> Route | None:
        """What is tried first; None where all that could be is asked for a pause."""
        own = self._own
        if not own.chooses:
            return self._taken(own.deployments[0])
        found = self._fresh() or self._of_another_model("failed")
        if found is None:
            self._pool = own
            found = self._soonest(own)
        return None if found is None else self._taken(found)

    def pause_ms(self, now_ms: int) -> int:
        """How long until one of the model's deployments may be asked again, where `first` has
        found none."""
        rests = [rest for each in self._own.deployments if (rest := self._rests(each))]
        return max(0, min((each.until_ms for each in rests), default=now_ms) - now_ms)

    def after(
        self, route: Route, kind: FailureKind, asked_wait_ms: int = 0, left_ms: int = 2**53
    ) -> Step | None:
        """What is tried after this failure; None to give up. `asked_wait_ms`: the pause that the
        provider has asked for; `left_ms`: no wait may be as long."""
        self._failed[route.deployment] = kind
        self._was_sent = self._was_sent or kind not in NOT_SENT
        if self.count >= ATTEMPTS_MAX or left_ms <= 0 or not self._may_follow(kind):
            return None
        step = None
        if kind in _SAME_MODEL and self._here <= self._retries(route, kind):
            found = self._fresh()
            if found is not None:
                step = Step(found, 0)
            elif kind != "rate_limited" or not self._models_after(kind):
                step = self._again(route, kind, asked_wait_ms)
        if step is None or step.wait_ms >= left_ms:
            found = self._of_another_model(kind)
            step = None if found is None else Step(found, 0)
        if step is not None:
            self._taken(step.route)
        return step

    def _may_follow(self, kind: FailureKind) -> bool:
        if kind == "unknown":
            return self._pool.rules.retry_unknown and not self._is_named
        if kind == "over_budget":
            return self._was_sent  # else a budget's no is the answer
        return kind in _SAME_MODEL or kind in _OTHER_MODEL

    def _retries(self, route: Route, kind: FailureKind) -> int:
        if route.retries is not None:
            return route.retries
        rules = self._pool.rules
        return rules.retries_by_kind.get(kind, rules.retries)

    def _taken(self, route: Route) -> Route:
        self.count += 1
        self._here += 1
        return route

    def _fresh(self) -> Route | None:
        """One of this model that has not failed here and does not rest."""
        pool, failed, rests = self._pool, self._failed, self._rests
        fresh = [
            each
            for each in pool.deployments
            if each.deployment not in failed and rests(each) is None
        ]
        return self._by_weight(fresh) if fresh else None

    def _by_weight(self, routes: list[Route]) -> Route:
        least = min(each.order for each in routes)
        routes = [each for each in routes if each.order == least]
        total = sum(each.weight for each in routes)
        if not total:  # all have weight 0: each as likely
            return routes[int(self._chance() * len(routes))]
        point = self._chance() * total
        for each in routes:
            point -= each.weight
            if point < 0:
                return each
        return next(each for each in reversed(routes) if each.weight)

    def _soonest(self, pool: Pool) -> Route | None:
        """All rest: the one whose rest ends first, unless its provider has asked for it; an only
        one in any case."""
        if len(pool.deployments) == 1:
            return pool.deployments[0]
        rests = [
            (rest.until_ms, at)
            for at, each in enumerate(pool.deployments)
            if (rest := self._rests(each)) is not None and not rest.asked
        ]
        return pool.deployments[min(rests)[1]] if rests else None

    def _again(self, route: Route, kind: FailureKind, asked_wait_ms: int) -> Step | None:
        """The same deployment or an earlier one, where its failure may pass by itself."""
        if kind in _MAY_PASS and asked_wait_ms <= ASKED_WAIT_MS_MAX:
            return Step(route, max(self._wait_ms(), asked_wait_ms))
        passing = [
            each
            for each in self._pool.deployments
            if self._failed.get(each.deployment) in ("not_reached", "failed")
        ]
        return Step(self._by_weight(passing), self._wait_ms()) if passing else None

    def _wait_ms(self) -> int:
        doubled_ms = min(WAIT_MS_MAX, WAIT_MS_FIRST << min(self._here - 1, 8))
        by_chance_ms = int(doubled_ms * (1 - self._chance() / 4))
        return max(by_chance_ms, self._pool.rules.wait_ms_least)

    def _models_after(self, kind: FailureKind) -> list[Pool]:
        """The pools of further models, fixed by the first failure that needs them: fallbacks have
        none of their own."""
        if self._further is None:
            own = self._own
            found = self._others(own.rules.fallbacks_of(own.name, kind))
            # Of one that is named twice, or by an alias, the first time counts.
            named = {each.name: each for each in found if each.name != own.name}
            self._further = list(named.values())
        return self._further

    def _of_another_model(self, kind: FailureKind) -> Route | None:
        further = self._models_after(kind)
        while further:
            self._pool, self._here = further.pop(0), 0
            self._failed = {}
            found = self._fresh()
            if found is not None:
                return found
        return None
