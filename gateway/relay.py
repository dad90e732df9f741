"""Carries an answer from the provider to the client: whole, streamed, or failed.

The reservation is booked before the last byte leaves, so that whoever has the whole answer already
finds its cost in the budget.
"""

import contextlib
import logging

from gateway.answer_headers import grant_headers
from gateway.dialects.contract import Call, Dialect, StreamReader
from gateway.ending import BEYOND_GRANT, FIRST, Ending
from gateway.errors import UpstreamFailed
from gateway.failures import (
    OPERATOR_STATUSES,
    Failed,
    asked_wait_ms,
    attempts_header,
    own_error_kind,
)
from gateway.options import GatewayOptions
from gateway.request import Headers, Request, respond
from gateway.routing_rules import FailureKind
from gateway.upstream import (
    UpstreamError,
    UpstreamNotReached,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from pricing import dollars

PASSED_HEADERS = frozenset((b"content-type", b"retry-after", b"retry-after-ms", b"x-should-retry"))
# What stands between us and a provider answers so; whether the provider worked is not known.
BETWEEN_STATUSES = frozenset((502, 503, 504))
ERROR_BODY_BYTES_MAX = 1024 * 1024
_log = logging.getLogger("comptroller.upstream")
_JSON: Headers = [(b"content-type", b"application/json")]
_EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


async def relay_answer(
    request: Request,
    ending: Ending,
    response: UpstreamResponse,
    dialect: Dialect,
    options: GatewayOptions,
) -> Failed | None:
    """A whole answer, with its cost. One that is the provider's error is a failure, which another
    deployment may mend."""
    body = await response.read_all(options.answer_bytes_max)
    ending.received(body)
    ending.usage, raw_usage = dialect.usage(body, ending.route.biller)
    cost_nusd = ending.cost
    await ending.book()
    if ending.usage.is_error:
        return _whole_error(ending, dialect, body)
    cost_usd = dollars(cost_nusd) if cost_nusd is not None and options.usage_cost else None
    body = dialect.told(body, raw_usage, cost_usd)
    headers = grant_headers(
        ending.reservation, cost_nusd, ending.tokens_back, lowered=ending.lowered
    )
    if ending.attempt is not FIRST:
        headers += attempts_header(ending.attempt.number)
    await respond(request.send, 200, _JSON + headers, body)
    return None


def _whole_error(ending: Ending, dialect: Dialect, body: bytes) -> Failed:
    """The provider says with status 200 that it has failed. Whose client speaks its format reads it
    as it is, any other a failure with its words."""
    body = ending.route.without_secret(body)
    headers = _JSON + grant_headers(ending.reservation, None, 0, lowered=ending.lowered)
    status = 200 if ending.route.translation is None else 502
    return Failed("failed", 0, None, status, headers, dialect.provider_error(status, body))


async def relay_stream(
    request: Request,
    ending: Ending,
    response: UpstreamResponse,
    dialect: Dialect,
    call: Call,
    options: GatewayOptions,
) -> Failed | None:
    """A streamed answer: per chunk a copy and a search. It begins with its first byte: a stream
    that has failed before is a failure like any other, which another deployment may mend."""
    reader = dialect.stream_reader(call, ending.route.biller)
    instead = await _carry(request, ending, response, reader)
    if instead:
        return await _error_instead(ending, response, reader, instead)
    reader.end()
    ending.usage = reader.usage
    cost_nusd = ending.cost
    await ending.book()
    cost_usd = dollars(cost_nusd) if cost_nusd is not None and options.usage_cost else None
    tail = reader.finish(cost_usd)
    if not request.started and ending.usage.is_error:
        return Failed("failed", status=200, headers=_stream_headers(ending), body=tail)
    cut_short = UpstreamFailed("the provider ended its stream without its end")
    if not (request.started or tail or reader.complete):
        return Failed("unknown", error=cut_short)
    if not request.started:
        await _begin_stream(request, ending)
    if not reader.complete:
        tail += dialect.error_event(cut_short)
    await request.send({"type": "http.response.body", "body": tail})
    await ending.let_go()
    return None


async def _carry(
    request: Request, ending: Ending, response: UpstreamResponse, reader: StreamReader
) -> bytes:
    """All but the end of it. What came in place of output, where that is the provider's error."""
    send, read, feed, received = request.send, response.read, reader.feed, ending.received
    try:
        while not reader.complete and (chunk := await read()):
            received(chunk)
            passed = feed(chunk)
            if passed:
                if not request.started:
                    if reader.usage.is_error:
                        return passed
                    await _begin_stream(request, ending)
                ending.delivering = True
                await send({"type": "http.response.body", "body": passed, "more_body": True})
                ending.delivering = False
    except UpstreamError:
        if not reader.usage_is_final:
            raise  # else all that money needs was said before the connection broke
    return b""


async def _begin_stream(request: Request, ending: Ending) -> None:
    request.started = True
    headers = _stream_headers(ending)
    await request.send({"type": "http.response.start", "status": 200, "headers": headers})


def _stream_headers(ending: Ending) -> Headers:
    headers = _EVENT_STREAM + grant_headers(ending.reservation, None, 0, lowered=ending.lowered)
    if ending.attempt is FIRST:
        return headers
    return headers + attempts_header(ending.attempt.number)


async def _error_instead(
    ending: Ending, response: UpstreamResponse, reader: StreamReader, passed: bytes
) -> Failed:
    """The provider says with status 200 that it has failed, before any output. Read to its end:
    what it has used after all is charged, and then it is passed on as it is."""
    pieces, bytes_left = [passed], ERROR_BODY_BYTES_MAX - len(passed)
    with contextlib.suppress(UpstreamError):
        while not reader.complete and (chunk := await response.read()):
            ending.received(chunk)
            bytes_left -= len(chunk)  # not of what is passed on: a translation passes it on once
            if bytes_left < 0:
                break
            pieces.append(reader.feed(chunk))
    reader.end()
    ending.usage = reader.usage
    await ending.book()
    pieces.append(reader.finish(None))
    kind: FailureKind = "failed" if ending.usage.is_error else "final"
    return Failed(kind, status=200, headers=_stream_headers(ending), body=b"".join(pieces))


async def read_failure(
    ending: Ending, response: UpstreamResponse, dialect: Dialect, now_ms: int
) -> Failed:
    """The provider's own error costs nothing and is passed on as it is; an answer of something
    between us and the provider leaves the outcome unknown."""
    status = response.status
    body = ending.route.without_secret(await response.read_all(ERROR_BODY_BYTES_MAX))
    if status not in OPERATOR_STATUSES:
        ending.received(body)
    ending.error = f"status {status}"
    headers = [each for each in response.headers if each[0] in PASSED_HEADERS]
    content_type = dict(headers).get(b"content-type", b"")
    if (
        status < 400
        or status in BETWEEN_STATUSES
        or not content_type.startswith(b"application/json")
    ):
        await ending.book()
        told = UpstreamFailed(
            f"the provider's side answered with status {status}: what it did is not known",
            status if status >= 400 else 502,
        )
        return Failed("unknown", asked_wait_ms(headers, now_ms), told)
    ending.outcome = "provider_error"
    await ending.book()
    kind = own_error_kind(status, body)
    if kind == "account":
        # Its body may repeat the operator's key: neither log nor records get it.
        _log.error("the provider refuses this gateway: status %d; check its api_key", status)
        return Failed(
            kind, error=UpstreamFailed(f"the provider refused this gateway ({status})", status)
        )
    wait_ms = asked_wait_ms(headers, now_ms)
    headers.append((b"x-comptroller-request-id", ending.reservation.id.encode()))
    return Failed(kind, wait_ms, None, status, headers, dialect.provider_error(status, body))


def upstream_failure(error: Exception, cut_reason: str) -> UpstreamFailed:
    """What the caller is told when sending or reading failed."""
    if cut_reason:
        return UpstreamFailed(f"the answer was stopped: {_CUT.get(cut_reason, cut_reason)}")
    _log.warning("upstream failed: %s", error)  # names hosts: for the operator alone
    if isinstance(error, UpstreamTimeout):
        return UpstreamFailed("the provider did not answer in time", 504)
    if isinstance(error, UpstreamTooLarge):
        return UpstreamFailed(
            f"the provider's answer has more than {error.bytes_max} bytes, the most that "
            "gateway.answer_bytes_max takes: ask for less at once (vectors are shorter with "
            "encoding_format base64)"
        )
    if isinstance(error, UpstreamNotReached):
        return UpstreamFailed("the provider cannot be reached: nothing was sent or charged")
    return UpstreamFailed("the provider's answer broke off")


_CUT = {
    BEYOND_GRANT: "the provider streams beyond the cap that it was sent",
    "GONE": "its reservation is no longer there",
    "EXPIRED": "the ledger could not extend its reservation",
    "FROZEN": "a budget above it was frozen",
    "CLOSED": "its key was revoked or its run halted",
    "FENCED": "a later attempt of its step has begun",
}
