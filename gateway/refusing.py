"""A refusal on the path of a request: recorded where it is a budget's, and told."""

from budgets.answers import Refusal
from budgets.exhausted import exhausted_by
from budgets.learned import is_route_scope
from gateway.asked import Asked
from gateway.errors import BudgetExceeded, RateLimited
from gateway.events import RequestEvent
from gateway.failures import Failed
from gateway.parts import Parts
from gateway.refusals import refusal_error
from gateway.routes import Pool


def refused(parts: Parts, refusal: Refusal, asked: Asked, event: RequestEvent) -> Failed:
    """A budget's refusal becomes an event; a revoked key's call or a ledger that cannot decide does
    not. Returns what a limit refuses: another deployment may fit. Raises what no other would
    change: GatewayError of a state of the path."""
    path = asked.path
    error = refusal_error(
        refusal,
        path=path,
        refusal_status=asked.options.refusal_status,
        now_ms=parts.ledger.time_ms(path.organisation),
    )
    if isinstance(error, BudgetExceeded | RateLimited):
        parts.refusals.note(event, path, refusal, error)
    bound = refusal.bound
    if bound is None:
        raise error
    if is_route_scope(bound.scope):
        return Failed("route_refused", error=error)
    return Failed("over_budget", error=error, exhausted=exhausted_by(refusal, asked.key))


def all_rest(pool: Pool, pause_ms: int) -> RateLimited:
    """Every provider of a model has asked for a pause, and no other model may stand in."""
    pause_s = max(1, -(-pause_ms // 1000))
    message = (
        f"every deployment of {pool.name} has asked for a pause: try again in {pause_s} s. "
        "Nothing was sent or charged."
    )
    return RateLimited(message, "cooling_down", pause_s)
