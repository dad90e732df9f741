"""What Hypothesis draws for the ledger's model test: small budgets that a few requests exhaust, and
now and then amounts at the upper end, where doubles lose digits.
"""

from typing import Any

import hypothesis.strategies as st

from budgets.answers import Ask, Truth
from budgets.policy import Limit, Policy

MODELS = ("small-1", "large-1")
PATTERNS = ((), ("small-*",), ("large-?", "huge"))
WINDOWS = ("total", "minute", "hour", "day", "week", "month")
AMOUNTS: dict[str, st.SearchStrategy[int]] = {
    "usd": st.one_of(st.integers(300, 5000), st.integers(0, 5000), st.integers(10**13, 8 * 10**15)),
    "tokens": st.one_of(st.integers(300, 5000), st.integers(0, 5000)),
    "requests": st.one_of(st.integers(2, 9), st.integers(0, 9)),
    "concurrency": st.one_of(st.integers(2, 5), st.integers(0, 5)),
}


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    dimension: Any = draw(st.sampled_from(tuple(AMOUNTS)))
    window: Any = "total" if dimension == "concurrency" else draw(st.sampled_from(WINDOWS))
    amount = draw(AMOUNTS[dimension])
    return Limit("@.0", dimension, window, str(amount), draw(st.sampled_from(PATTERNS)))


LIMITS = st.lists(limits(), max_size=2, unique_by=lambda limit: limit.identity).map(tuple)
POLICIES = st.builds(
    Policy,
    limits=LIMITS,
    per_child=st.one_of(st.just(()), LIMITS),
    share_of_free_percent=st.sampled_from((1, 25, 50, 100)),
)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    wanted = draw(st.integers(0, 800))
    least = draw(st.sampled_from((wanted, min(wanted, 100), min(wanted, 10))))
    huge = draw(st.sampled_from((False, False, False, True)))
    return Ask(
        draw(st.integers(0, 9 * 10**13 if huge else 200)),
        draw(st.integers(0, 10**13 if huge else 3000)),
        draw(st.integers(0, 100)),
        draw(st.integers(0, 2)),
        wanted,
        least,
        tells_lowered=draw(st.booleans()),
    )


BURSTS = st.lists(asks(), min_size=1, max_size=4)
PICK = st.integers(0, 10**6)
WORKER = st.integers(0, 1)
UNKNOWN = st.none()
TRUTHS = st.builds(
    Truth,
    st.one_of(UNKNOWN, st.integers(0, 1500), st.integers(0, 9 * 10**13)),
    st.one_of(UNKNOWN, st.integers(0, 1500)),
    st.one_of(UNKNOWN, st.integers(0, 1)),
)
