"""An attempt that failed: what kind of failure it is, and what the caller reads if it is all."""

from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from budgets.exhausted import Exhausted
from gateway.errors import GatewayError, UpstreamFailed
from gateway.request import Headers, Request, respond
from gateway.routing_rules import NOT_SENT, FailureKind
from gateway.upstream import (
    UpstreamAborted,
    UpstreamError,
    UpstreamNotReached,
    UpstreamTooLarge,
)

# About the operator's account, not about the request: the caller would take it for our refusal.
OPERATOR_STATUSES = frozenset((401, 402, 403))
ATTEMPTS = b"x-comptroller-attempts"
ASKED_WAIT_MS_MAX = 86_400_000
# What providers say, in an error of 400, where a request is longer than the model's window:
# OpenAI's code; Anthropic's message; the message of OpenAI, vLLM and others.
_TOO_LONG = (b"context_length_exceeded", b"prompt is too long", b"maximum context length")
# OpenAI's and Azure's codes.
_AGAINST_POLICY = (b"content_policy_violation", b"content_filter", b"ResponsibleAIPolicyViolation")


class Failed(msgspec.Struct, frozen=True):
    """`asked_wait_ms`: the pause that the provider asks for, 0 for none. The caller reads `error`,
    or else the provider's own answer, status, headers and body. `exhausted`: what that means
    for the run that the caller works for."""

    kind: FailureKind
    asked_wait_ms: int = 0
    error: GatewayError | None = None
    status: int = 0
    headers: Headers = []
    body: bytes = b""
    exhausted: Exhausted | None = None

    @property
    def was_sent(self) -> bool:
        """Whether a provider was asked, or was to be."""
        return self.kind not in NOT_SENT

    async def tell(self, request: Request, attempts: int) -> None:
        """The end of a call that has failed after so many attempts. Raises `error`."""
        counted = attempts_header(attempts)
        if self.error is not None:
            self.error.headers = (*self.error.headers, *counted)
            raise self.error
        await respond(request.send, self.status, self.headers + counted, self.body)


def attempts_header(attempts: int) -> Headers:
    """For who was not served at once."""
    return [(ATTEMPTS, str(attempts).encode())] if attempts > 1 else []


def own_error_kind(status: int, body: bytes) -> FailureKind:
    """Of an error that is the provider's own, and costs nothing."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limited"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "failed"
    if status in OPERATOR_STATUSES:
        return "account"
    if status == HTTPStatus.BAD_REQUEST:
        if any(each in body for each in _TOO_LONG):
            return "too_long"
        if any(each in body for each in _AGAINST_POLICY):
            return "against_policy"
    return "final"


def broken_off(error: UpstreamError, told: UpstreamFailed, cut_reason: str) -> Failed:
    """Sending or reading failed before the caller had a byte."""
    kind: FailureKind = "unknown"
    if cut_reason or isinstance(error, UpstreamAborted | UpstreamTooLarge):
        kind = "final"
    elif isinstance(error, UpstreamNotReached):
        kind = "not_reached"
    return Failed(kind, error=told)


def asked_wait_ms(headers: Headers, now_ms: int) -> int:
    """`retry-after-ms` (OpenAI's), else `retry-after` (RFC 9110, 10.2.3: seconds or a date) in
    milliseconds; 0 where neither can be read."""
    named = dict(headers)
    wait_ms = _number(named.get(b"retry-after-ms", b""), 1)
    if not wait_ms:
        text = named.get(b"retry-after", b"")
        wait_ms = _number(text, 1000) or _until(text, now_ms)
    return min(max(0, wait_ms), ASKED_WAIT_MS_MAX)


def _number(text: bytes, times: int) -> int:
    """Whole or with a point; 0 for anything else."""
    whole, _, part = text.strip().partition(b".")
    if not whole.isdigit() or len(whole) > 12 or (part and not part.isdigit()):
        return 0
    thousandths = int(part[:3].ljust(3, b"0")) if part else 0
    return int(whole) * times + thousandths * times // 1000


def _until(text: bytes, now_ms: int) -> int:
    try:
        then = parsedate_to_datetime(text.decode("ascii"))
        return int(then.timestamp() * 1000) - now_ms
    except (ValueError, OverflowError):
        return 0
