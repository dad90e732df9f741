"""Every error that a caller of the data port can get: one tree, one file.

    GatewayError
    |- InvalidRequest        400  malformed, wrong type, bad value
    |- BodyTooLarge          413  over a named limit, compressed or not
    |- InvalidKey            401  no, unknown, expired or revoked key
    |- NotAllowed            403  model or endpoint outside the key's list
    |  `- DelegationRefused  403  may mint no keys, or none so wide, or no more
    |- NotFound              404  unknown model, unknown endpoint (405: wrong method)
    |- UpgradeRefused        426  no WebSockets here
    |- NotPriced             400  a charge that nobody has priced
    |- IdempotencyConflict   409  its Idempotency-Key is taken; 422: by another request
    |- BudgetExceeded        402  (a setting changes it) exhausted, too large, frozen
    |- RateLimited           429  comes free again soon; Retry-After says when
    |- UpstreamFailed        502  the provider failed (504: timed out)
    |- LedgerGone            503  no ledger, no forward
    `- Stopping              503  this worker stops, and may wait no longer

SDKs retry 429 and 5xx, up to 27 requests for one call; `x-should-retry: false` stops almost all of
them where trying again cannot help.
"""

NO_RETRY = ((b"x-should-retry", b"false"),)


class GatewayError(Exception):
    """An answer other than 2xx. `code` is for programs, `message` for people."""

    status = 500
    code = "internal_error"
    type = "api_error"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(
        self, message: str, *, param: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.reason = reason


class InvalidRequest(GatewayError):
    """The request cannot be served as it is written."""

    status = 400
    code = "invalid_request_error"
    type = "invalid_request_error"
    headers = NO_RETRY


class BodyTooLarge(InvalidRequest):
    """The body is over a limit."""

    status = 413


class InvalidKey(GatewayError):
    """No, unknown, expired or revoked key."""

    status = 401
    code = "invalid_api_key"
    type = "authentication_error"
    headers = NO_RETRY


class NotAllowed(GatewayError):
    """The key may not use this model or endpoint."""

    status = 403
    code = "model_not_allowed"
    type = "permission_error"
    headers = NO_RETRY


class DelegationRefused(NotAllowed):
    """The key may not mint keys, or asks for one that may do more than itself, or has as many."""

    code = "delegation_refused"


class NotFound(GatewayError):
    """No such model."""

    status = 404
    code = "model_not_found"
    type = "not_found_error"
    headers = NO_RETRY


class EndpointNotFound(NotFound):
    """No such route: what is not metered is not forwarded."""

    code = "endpoint_not_found"


class KeyNotFound(NotFound):
    """No such key below the one that asks."""

    code = "key_not_found"


class MethodNotAllowed(EndpointNotFound):
    """The route exists with another method."""

    status = 405


class UpgradeRefused(GatewayError):
    """An attempt to open a WebSocket. The connection closes: it is of no use for HTTP any more."""

    status = 426
    code = "upgrade_refused"
    type = "invalid_request_error"
    headers = ((b"upgrade", b"HTTP/1.1"), (b"connection", b"close"), *NO_RETRY)


class NotPriced(InvalidRequest):
    """The request could incur a charge that has no price."""

    code = "model_not_priced"


class IdempotencyConflict(GatewayError):
    """Another request has this Idempotency-Key; `headers` say which, and what it cost."""

    status = 409
    code = "idempotency_conflict"
    type = "invalid_request_error"

    def __init__(
        self, status: int, message: str, reason: str, headers: list[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.headers = (*NO_RETRY, *headers)


class BudgetExceeded(GatewayError):
    """A budget refuses; trying again changes nothing before `resets_at_ms` (0: ever). `scope` is
    whose it is, empty where it is nobody's."""

    code = "budget_exceeded"
    type = "insufficient_quota"
    headers = NO_RETRY

    def __init__(
        self, status: int, message: str, reason: str, scope: str = "", resets_at_ms: int = 0
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.scope = scope
        self.resets_at_ms = resets_at_ms


class RateLimited(GatewayError):
    """A budget refuses for now."""

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"

    def __init__(self, message: str, reason: str, retry_after_s: int) -> None:
        super().__init__(message, reason=reason)
        self.headers = ((b"retry-after", str(retry_after_s).encode()),)


class UpstreamFailed(GatewayError):
    """The provider could not be reached, or failed, or its answer did not come in time."""

    code = "upstream_error"
    type = "api_error"

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class LedgerGone(GatewayError):
    """The ledger cannot be asked: nothing is forwarded."""

    status = 503
    code = "ledger_unavailable"
    type = "api_error"
    headers = ((b"retry-after", b"1"),)


class Stopping(GatewayError):
    """The worker stops, and this request did not end in the time that it had (`drain_ms`)."""

    status = 503
    code = "gateway_stopping"
    type = "api_error"
    headers = ((b"retry-after", b"1"),)

    def __init__(self) -> None:
        super().__init__("this gateway stops and cannot wait for the answer: send it again")
