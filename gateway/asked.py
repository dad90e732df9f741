"""What one caller wants, from its first attempt to its last."""

import msgspec

from budgets.answers import Mark
from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.dialects.contract import Call
from gateway.failures import Failed
from gateway.idempotency import Recording
from gateway.options import GatewayOptions
from gateway.request import Request
from gateway.routes import Pool, Route, Routes
from gateway.routing import Tries
from gateway.upstream import Timeouts


class Asked(msgspec.Struct):
    """`routes`, `options`: those of its beginning; `attempts`: so far; `began_ms`, `deadline_ms`:
    no attempt begins after the latter, by the worker's clock; `first_id`: the first attempt's
    request; `failed`: what the caller reads if no attempt is the answer, of `failed_model`;
    `tries`: where there is, or was, something to choose.
    """

    request: Request
    key: Key
    path: ScopePath
    call: Call
    mark: Mark | None
    recording: Recording | None
    routes: Routes
    options: GatewayOptions
    pool: Pool
    began_ms: int
    tries: Tries | None = None
    attempts: int = 0
    deadline_ms: int = 0
    first_id: str = ""
    failed: Failed | None = None
    failed_model: str = ""

    def begins(self, route: Route) -> None:
        """An attempt there. All together have the longest time that one of them has."""
        self.attempts += 1
        first_byte_ms = self._timeouts_of(route).first_byte_ms
        self.deadline_ms = max(self.deadline_ms, self.began_ms + first_byte_ms)

    def timeouts(self, route: Route, now_ms: int) -> Timeouts:
        """Of the attempt that has begun there. A further one has the time that is left."""
        timeouts = self._timeouts_of(route)
        if self.attempts == 1:
            return timeouts
        left_ms = max(1, self.deadline_ms - now_ms)
        first_byte_ms = min(timeouts.first_byte_ms, left_ms)
        return msgspec.structs.replace(timeouts, first_byte_ms=first_byte_ms)

    def _timeouts_of(self, route: Route) -> Timeouts:
        return route.stream_timeouts if self.call.stream else route.timeouts

    def has_failed(self, route: Route, failed: Failed) -> None:
        """Keeps what the caller reads if nothing helps: what became of the model that was asked
        for says more than a fallback's end, a provider's word more than ours, and a budget's no
        more than that one deployment could not have served it."""
        kept = self.failed
        if kept is None:
            self.failed, self.failed_model = failed, route.name
        elif route.name == self.failed_model:
            is_budgets_no = kept.kind == "route_refused" and failed.kind == "over_budget"
            if failed.was_sent or is_budgets_no:
                self.failed = failed
