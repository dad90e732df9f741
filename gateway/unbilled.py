"""Calls that cost nothing at the provider, as counting tokens does: they are passed on, and neither
reserved nor recorded."""

import logging

from gateway.errors import UpstreamFailed
from gateway.failures import OPERATOR_STATUSES
from gateway.relay import ERROR_BODY_BYTES_MAX, PASSED_HEADERS, upstream_failure
from gateway.request import Request, respond
from gateway.routes import Route
from gateway.upstream import UpstreamError, UpstreamRequest

_log = logging.getLogger("comptroller.upstream")


async def pass_on(request: Request, route: Route, asked: UpstreamRequest) -> None:
    """The provider's answer as it came, apart from what is about the operator's account, or from
    between us and the provider. Raises UpstreamFailed."""
    try:
        response = await route.upstream.send(asked)
        try:
            body = route.without_secret(await response.read_all(ERROR_BODY_BYTES_MAX))
        finally:
            response.abort()  # after a whole answer this closes nothing
    except UpstreamError as error:
        raise upstream_failure(error, "") from error
    status = response.status
    headers = [each for each in response.headers if each[0] in PASSED_HEADERS]
    if status in OPERATOR_STATUSES:
        _log.error("the provider refuses this gateway: status %d; check its api_key", status)
        raise UpstreamFailed(f"the provider refused this gateway ({status})", status)
    if not dict(headers).get(b"content-type", b"").startswith(b"application/json"):
        raise UpstreamFailed(f"the provider's side answered with status {status}")
    await respond(request.send, status, headers, body)
