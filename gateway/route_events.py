"""What becomes known of routes, as events of type `budget_changed`."""

import msgspec

from budgets.learned import Learned, route_of
from gateway.events import encode


class RouteEvent(msgspec.Struct, frozen=True):
    """`scope` is the route's own (budgets.learned), `detail` a RouteDetail as JSON."""

    scope: str
    by: str
    detail: str


class RouteDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """`action` is probation_began, probation_ended, or factor_raised: then the factors before and
    after are there, in thousandths of the bound. `request_id`: the request that has shown it."""

    action: str
    route: str
    request_id: str = ""
    input_thousandths_before: int | None = None
    input_thousandths: int | None = None
    output_thousandths_before: int | None = None
    output_thousandths: int | None = None


class RouteEvents:
    """See budgets.learning.RouteEvents; `by` is who acts."""

    def __init__(self, by: str) -> None:
        self._by = by

    def began(self, scope: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        return self._event(scope, RouteDetail("probation_began", route_of(scope)))

    def trusted(self, scope: str, request_id: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        return self._event(scope, RouteDetail("probation_ended", route_of(scope), request_id))

    def raised(self, scope: str, was: Learned, now: Learned, request_id: str) -> bytes:
        """See budgets.learning.RouteEvents."""
        detail = RouteDetail(
            "factor_raised",
            route_of(scope),
            request_id,
            was.input_thousandths,
            now.input_thousandths,
            was.output_thousandths,
            now.output_thousandths,
        )
        return self._event(scope, detail)

    def _event(self, scope: str, detail: RouteDetail) -> bytes:
        return encode(RouteEvent(scope, self._by, encode(detail).decode()))
