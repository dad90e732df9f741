"""From the ledger's refusal to the answer that the caller reads.

Whoever is refused must learn which budget said no, what it has, what was asked, what would fit,
when it comes back, and the command that raises it.
"""

from datetime import UTC, datetime

from budgets.answers import Refusal
from budgets.learned import (
    FACTOR_MAX_THOUSANDTHS,
    HELD_TIMES,
    ONE_THOUSANDTHS,
    is_route_scope,
    route_of,
)
from budgets.plan import Bound, ScopePath
from gateway.errors import (
    BudgetExceeded,
    GatewayError,
    InvalidKey,
    LedgerGone,
    RateLimited,
)
from gateway.raising import how_to_raise
from pricing import dollars

# A lease that holds the money may run for long; asking again after this is honest enough, because
# settlements come far sooner than expiries.
HELD_RETRY_AFTER_S_MAX = 30
_UNITS = {"tokens": "tokens", "requests": "requests", "concurrency": "requests in flight"}


def refusal_error(
    refusal: Refusal,
    *,
    path: ScopePath,
    refusal_status: int,
    now_ms: int,
    of_request: bool = True,
) -> GatewayError:
    """The error for this refusal of a path, to make a request, or else to open an allotment;
    `now_ms` is the ledger's time."""
    match refusal.code:
        case "RECOVERING" | "BACKLOG":
            return LedgerGone(_UNAVAILABLE[refusal.code])
        case "CLOSED" | "FENCED" if refusal.scope == path.key_scope:
            return InvalidKey("this key was revoked: ask for a new one")
        case "CLOSED" | "FENCED" if refusal.scope in path.minter_scopes:
            return InvalidKey("a key that this one comes from was revoked: ask for a new one")
        case "FROZEN":
            message = (
                f"scope {refusal.scope} is frozen: `comptroller budget thaw {refusal.scope}` "
                "lets it go on"
            )
            return BudgetExceeded(refusal_status, message, "frozen", refusal.scope)
        case "CLOSING":
            message = (
                f"the allotment of {refusal.scope} is being closed, and its last requests are "
                "awaited: try again"
            )
            return RateLimited(message, "closing", HELD_RETRY_AFTER_S_MAX)
        case "CLOSED" | "FENCED":
            message = f"scope {refusal.scope} is closed: its run was halted or has ended"
            return BudgetExceeded(refusal_status, message, "run_halted", refusal.scope)
    bound = refusal.bound
    assert bound is not None
    retry_s = max(1, -(-(refusal.until_ms - now_ms) // 1000))
    if is_route_scope(bound.scope):
        return _route_refusal(bound, retry_s, refusal_status)
    if refusal.code == "HELD":
        return _held(refusal, bound, retry_s, of_request=of_request)
    if refusal.code == "EXHAUSTED" and bound.limit.window == "minute":
        message = f"{_standing(refusal, bound)} It resets in {retry_s} s."
        return RateLimited(message, "exhausted", retry_s)
    reason = "request_too_large" if refusal.code == "TOO_LARGE" else "exhausted"
    message = _explained(refusal, bound, of_request=of_request)
    return BudgetExceeded(refusal_status, message, reason, bound.scope, refusal.until_ms)


def _route_refusal(bound: Bound, retry_s: int, refusal_status: int) -> GatewayError:
    """By what was learned of the route: no budget holds it, and none would help."""
    at_once, route = bound.limit.amount, route_of(bound.scope)
    if at_once:
        message = (
            f"route {route} is on probation, because it is new here or has billed more than its "
            f"bound: {at_once} of its requests run at once until its bound has held {HELD_TIMES} "
            "times. That ends by itself: try again."
        )
        return RateLimited(message, "held", min(retry_s, HELD_RETRY_AFTER_S_MAX))
    message = (
        f"route {route} is stopped: it has billed more than "
        f"{FACTOR_MAX_THOUSANDTHS // ONE_THOUSANDTHS} times its bound, which nothing can be "
        "reserved for. Its operator says in model_info what the provider adds "
        "(token_count_framing), or turns it off, or says that it is mended (`comptroller prices "
        f"learned reset {route}`); the gateway's log names the request that has shown it."
    )
    return BudgetExceeded(refusal_status, message, "route_stopped")


def _held(refusal: Refusal, bound: Bound, retry_s: int, *, of_request: bool) -> RateLimited:
    standing = _standing(refusal, bound)
    if refusal.until_ms:
        message = f"{standing} Requests in flight hold the rest: try again."
        return RateLimited(message, "held", min(retry_s, HELD_RETRY_AFTER_S_MAX))
    # Closing an allotment is nobody's timer.
    why = "The rest is allotted to scopes below" if of_request else "The rest is held or allotted"
    return RateLimited(f"{standing} {why}: try later.", "held", HELD_RETRY_AFTER_S_MAX)


_UNAVAILABLE = {
    "RECOVERING": "the ledger is recovering: nothing is forwarded until it has caught up",
    "BACKLOG": "the event log is full (settings outbox_events_max, bodies_bytes_max)",
}


def _standing(refusal: Refusal, bound: Bound) -> str:
    limit = bound.limit
    free = limit.amount - refusal.spent - refusal.reserved - refusal.allotted
    window = "" if limit.window == "total" else f" per {limit.window}"
    models = f" for {', '.join(limit.models)}" if limit.models else ""
    noun = "allotment" if bound.allotment else "budget"
    return (
        f"{noun} of {bound.scope} ({amount_text(limit.dimension, limit.amount)}{window}{models}): "
        f"{amount_text(limit.dimension, max(0, free))} free, "
        f"{amount_text(limit.dimension, refusal.asked)} asked."
    )


def _explained(refusal: Refusal, bound: Bound, *, of_request: bool) -> str:
    parts = [_standing(refusal, bound)]
    if of_request and bound.limit.dimension in ("usd", "tokens"):
        if refusal.fits_output > 0:
            parts.append(f"At most {refusal.fits_output} output tokens would fit.")
        else:
            parts.append("Not even the input fits.")
    if refusal.until_ms:
        resets = datetime.fromtimestamp(refusal.until_ms / 1000, UTC)
        parts.append(f"It resets at {resets:%Y-%m-%dT%H:%M:%SZ}.")
    parts.append(how_to_raise(refusal, bound))
    return " ".join(parts)


def amount_text(dimension: str, amount: int) -> str:
    """An amount with its unit."""
    return f"${dollars(amount)}" if dimension == "usd" else f"{amount} {_UNITS[dimension]}"
