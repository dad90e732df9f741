"""What is known of a route by what it has billed: how many times its bound, and where that stands.

A route is one model of one provider at one place. What an organisation knows of it is the policy of
a scope beside all paths, `<organisation>/~route/<name>`: a scope's version goes with every reserve,
so a changed policy counts at the next one on every worker, and the records and a recovery have it
like any other. No user can write such a name: segments begin with a letter or a digit.
"""

import re
from hashlib import sha256

import msgspec

from budgets.calibration import NOT_CALIBRATED, Calibration

ONE_THOUSANDTHS = 1_000
"""The factor of a bound that holds."""

FACTOR_STEP_THOUSANDTHS = 100
"""Factors are rounded up to whole steps, so that bills which creep up do not change a policy each
time."""

FACTOR_MAX_THOUSANDTHS = 1_000_000
"""A route that bills a thousand times its bound is not reserved for any more, but stopped."""

HELD_TIMES = 3
"""So many requests in one worker whose bound held end a route's probation."""

NAME_CHARS_MAX = 48
DIGEST_CHARS = 8
_SEGMENT = "/~route/"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:@-]")


class Learned(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many times its bound a route bills at most, in thousandths, as far as was seen."""

    input_thousandths: int = ONE_THOUSANDTHS
    output_thousandths: int = ONE_THOUSANDTHS

    @property
    def is_beyond(self) -> bool:
        """Whether it bills more than can be reserved for."""
        return max(self.input_thousandths, self.output_thousandths) > FACTOR_MAX_THOUSANDTHS

    def or_more(self, other: "Learned") -> "Learned":
        """The larger factor of both: what is learned never falls."""
        return Learned(
            max(self.input_thousandths, other.input_thousandths),
            max(self.output_thousandths, other.output_thousandths),
        )


class RouteBound(msgspec.Struct, frozen=True):
    """What a plan knows of its route: its scope, what was learned, whether it is on probation,
    and the bound that was learned, where its operator wants that."""

    scope: str
    learned: Learned
    on_probation: bool
    calibration: Calibration = NOT_CALIBRATED


class Bounded(msgspec.Struct, frozen=True):
    """What was set aside for a request, with the factors `learned` in it: tokens of input, tokens
    of output that were granted for all choices (without a factor), nano-dollars in all."""

    learned: Learned
    input_tokens: int
    output_tokens: int
    nusd: int


class Billed(msgspec.Struct, frozen=True):
    """What the provider says that it was: tokens of input and output, and their cost."""

    input_tokens: int
    output_tokens: int
    nusd: int


def seen(bounded: Bounded, billed: Billed) -> Learned:
    """What a bill shows: the factors that it was reserved with where they held, more where not.

    Tokens count although the reservation covered them in money: the next request may use all of
    its output. Where the tokens held and the money did not, some rate is not what was assumed, and
    both factors grow as the cost did.
    """
    known = bounded.learned
    input_bound = max(1, bounded.input_tokens * ONE_THOUSANDTHS // known.input_thousandths)
    output_bound = max(1, bounded.output_tokens)
    found = known
    if billed.input_tokens > bounded.input_tokens:
        found = found.or_more(Learned(input_thousandths=_factor(billed.input_tokens, input_bound)))
    if billed.output_tokens * ONE_THOUSANDTHS > output_bound * known.output_thousandths:
        output_factor = _factor(billed.output_tokens, output_bound)
        found = found.or_more(Learned(output_thousandths=output_factor))
    if found is known and billed.nusd > bounded.nusd:
        nusd = max(1, bounded.nusd)
        found = Learned(
            _factor(billed.nusd * known.input_thousandths, nusd * ONE_THOUSANDTHS),
            _factor(billed.nusd * known.output_thousandths, nusd * ONE_THOUSANDTHS),
        )
    return found


def _factor(billed: int, bound: int) -> int:
    """Thousandths, rounded up to a step; at most one step beyond what is reserved for."""
    step = bound * FACTOR_STEP_THOUSANDTHS
    steps = -(-billed * ONE_THOUSANDTHS // step)
    return min(steps * FACTOR_STEP_THOUSANDTHS, FACTOR_MAX_THOUSANDTHS + FACTOR_STEP_THOUSANDTHS)


def route_name(provider: str, model: str, *identity: object) -> str:
    """A name that people recognise, and that is another one for each `identity` (any that `repr`
    tells apart): what is learned of one is not believed of another."""
    shown = _NOT_IN_NAMES.sub(":", f"{provider}:{model}")[:NAME_CHARS_MAX]
    digest = sha256(repr((provider, model, *identity)).encode()).hexdigest()
    return f"{shown}~{digest[:DIGEST_CHARS]}"


def route_scope(organisation: str, name: str) -> str:
    """Where an organisation has what it knows of a route."""
    return f"{organisation}{_SEGMENT}{name}"


def is_route_scope(scope: str) -> bool:
    """Whether a scope is a route's, and nobody's budget."""
    return _SEGMENT in scope


def route_of(scope: str) -> str:
    """The name of the route whose scope it is."""
    return scope.partition(_SEGMENT)[2]
