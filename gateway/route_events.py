"""What becomes known of routes, as events of type `budget_changed`."""

import msgspec

from budgets.calibration import Calibration
from budgets.learned import Learned, route_of
from gateway.events import encode


class RouteEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`scope` is the route's own (budgets.learned); the records keep all of it in `detail`, too.
    `action` is probation_began, probation_ended, or, with the factors before and after (in
    thousandths of the bound), factor_raised or learning_reset; or bound_calibrated or
    bound_given_up, with the learned bound before and after (in thousandths of the bytes; 0: all of
    them) and the highest share that was seen. `request_id`: the request that has
    shown it."""

    scope: str
    by: str
    action: str
    route: str
    request_id: str = ""
    input_thousandths_before: int | None = None
    input_thousandths: int | None = None
    output_thousandths_before: int | None = None
    output_thousandths: int | None = None
    bound_thousandths_before: int | None = None
    bound_thousandths: int | None = None
    seen_thousandths: int | None = None


class RouteEvents:
    """See budgets.learning.RouteEvents; `by` is who acts."""

    def __init__(self, by: str) -> None:
        self._by = by

    def began(self, scope: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        return self._event(scope, "probation_began")

    def trusted(self, scope: str, request_id: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        return self._event(scope, "probation_ended", request_id)

    def raised(self, scope: str, was: Learned, now: Learned, request_id: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        factors = (
            was.input_thousandths,
            now.input_thousandths,
            was.output_thousandths,
            now.output_thousandths,
        )
        return self._event(scope, "factor_raised", request_id, *factors)

    def reset(self, scope: str, was: Learned) -> bytes:
        """Somebody has what was learned forgotten: it begins anew."""
        now = Learned()
        factors = (
            was.input_thousandths,
            now.input_thousandths,
            was.output_thousandths,
            now.output_thousandths,
        )
        return self._event(scope, "learning_reset", "", *factors)

    def calibrated(self, scope: str, was: Calibration, now: Calibration, request_id: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        event = RouteEvent(
            scope,
            self._by,
            "bound_calibrated" if now.bound_thousandths else "bound_given_up",
            route_of(scope),
            request_id,
            bound_thousandths_before=was.bound_thousandths,
            bound_thousandths=now.bound_thousandths,
            seen_thousandths=now.seen_thousandths,
        )
        return encode(event)

    def _event(self, scope: str, action: str, request_id: str = "", *factors: int) -> bytes:
        return encode(RouteEvent(scope, self._by, action, route_of(scope), request_id, *factors))
