"""The command that raises a limit: whoever is refused can type it as it stands.

`budget set` replaces the whole budget of a scope, so all that this one says goes along.
"""

from budgets.answers import Refusal
from budgets.plan import Bound
from budgets.policy import AMOUNT_MAX, Limit, Policy
from pricing import dollars

CENT_NUSD = 10_000_000
_DEFAULT = Policy()


def how_to_raise(refusal: Refusal, bound: Bound) -> str:
    """A sentence with the command: this limit doubled, or more where what was asked needs more.
    Where the command line cannot say all that the budget says, with the ones to look and write."""
    if bound.allotment:
        return (
            "An allotment is not raised: ask whoever opened it for a larger one. "
            f"`comptroller budget show {bound.scope}` shows what it has left."
        )
    policy = bound.policy
    raised = _raised(refusal, bound.limit)
    if raised <= bound.limit.amount or not _can_be_typed(policy):
        scope = bound.scope
        return (
            f"`comptroller budget show {scope}` shows its whole budget, and "
            f"`comptroller budget set {scope} LIMIT...` replaces it."
        )
    words = [
        _word(each, raised if each.identity == bound.limit.identity else each.amount)
        for each in policy.limits
    ]
    for each in policy.per_child:
        words += ["--per-child", _word(each, each.amount)]
    if policy.on_exceed != _DEFAULT.on_exceed:
        words += ["--on-exceed", policy.on_exceed]
    if policy.payloads is not None:
        words += ["--payloads", policy.payloads]
    return f"Raise it with `comptroller budget set {bound.scope} {' '.join(words)}`."


def _raised(refusal: Refusal, limit: Limit) -> int:
    needed = refusal.spent + refusal.reserved + refusal.allotted + refusal.asked
    amount = max(2 * limit.amount, needed)
    if limit.dimension == "usd":
        amount = -(-amount // CENT_NUSD) * CENT_NUSD
    return min(amount, AMOUNT_MAX)


def _can_be_typed(policy: Policy) -> bool:
    return (
        bool(policy.limits)
        and not any(each.models for each in (*policy.limits, *policy.per_child))
        and policy.share_of_free_percent == _DEFAULT.share_of_free_percent
        and policy.output_tokens_default is None
    )


def _word(limit: Limit, amount: int) -> str:
    """As `comptroller budget set` reads it: `5.00/day`, `tokens=100000`."""
    text = dollars(amount) if limit.dimension == "usd" else f"{limit.dimension}={amount}"
    return text if limit.window == "total" else f"{text}/{limit.window}"
