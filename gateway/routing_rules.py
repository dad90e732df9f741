"""What follows when a deployment fails: the rules of an operator, as values.

Names and defaults of what they are read from are LiteLLM's ("Router settings"); see
`comptroller.router_settings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FailureKind = Literal[
    "not_reached",
    "rate_limited",
    "failed",
    "account",
    "unknown",
    "too_long",
    "against_policy",
    "route_refused",
    "over_budget",
    "repeated",
    "final",
]
"""How an attempt went wrong, by what may follow.

* `not_reached`: provably nothing was sent
* `rate_limited`: the provider's own 429
* `failed`: its own error of 5xx, or an error in place of an answer
* `account`: it refuses this gateway (401, 402, 403)
* `unknown`: it may have worked, and bills
* `too_long`, `against_policy`: it refuses this request, and another model might not
* `route_refused`: no quote, or what was learned of the route holds it
* `over_budget`: a budget has no room for it
* `repeated`: another request has its Idempotency-Key by now
* `final`: anything else
"""
NOT_SENT: frozenset[FailureKind] = frozenset(("route_refused", "over_budget", "repeated"))
ANY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """`retries`: further attempts at a model's deployments, `retries_by_kind` instead of it;
    `retry_unknown`: also where the provider may have worked, which is paid twice. `wait_ms_least`:
    before the same deployment is tried again.

    `fallbacks`: model -> models that are tried after it, at most `fallbacks_max`; `*` is any model.
    `too_long_fallbacks`, `against_policy_fallbacks`: the same, of failures of that kind alone.

    A deployment that has failed more than `allowed_fails` times within a minute rests for
    `cooldown_ms` (0: none ever does)."""

    retries: int = 0
    retries_by_kind: Mapping[FailureKind, int] = field(default_factory=dict)
    retry_unknown: bool = False
    wait_ms_least: int = 0
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fallbacks_max: int = 5
    too_long_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    against_policy_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allowed_fails: int = 3
    cooldown_ms: int = 5_000

    def fallbacks_of(self, model: str, kind: FailureKind) -> tuple[str, ...]:
        """The models that are tried after a failure of this kind, in order."""
        named = self.fallbacks
        if kind == "too_long":
            named = self.too_long_fallbacks
        elif kind == "against_policy":
            named = self.against_policy_fallbacks
        found = named.get(model) or named.get(ANY_MODEL, ())
        return tuple(each for each in found if each != model)[: self.fallbacks_max]


NO_RULES = RoutingRules()
"""Every request is tried once."""
