"""What the data plane says to whom it does not serve: a route that is not metered is not forwarded.

An attempt to open a WebSocket is answered with 426, which makes Codex go on over HTTP at once and
for its whole session; any other failure is tried again five times first (openai/codex,
`core/src/client.rs`, `WebsocketStreamOutcome::FallbackToHttp`).
"""

from collections.abc import Collection

from gateway.errors import EndpointNotFound, GatewayError, MethodNotAllowed, UpgradeRefused
from gateway.request import Request

STORED_RESPONSES = "/v1/responses/"
WHY_NOT_STORED = (
    "a stored response belongs to the provider's account, which all keys of this gateway share, so "
    "any key could read or delete any other's: keep what POST /v1/responses answers"
)


def refusal(request: Request, *, has_path: bool, served: Collection[str]) -> GatewayError:
    """The error for a request that is in no table; `has_path`: whether its path is, with another
    method."""
    if request.headers.get(b"upgrade", b"").lower() == b"websocket":
        return UpgradeRefused(f"{request.path} is not served over a WebSocket: POST to it")
    if request.path.startswith(STORED_RESPONSES) and not has_path:
        what = f"{request.method} {request.path}"
        return EndpointNotFound(f"{what} is not served: {WHY_NOT_STORED}")
    if has_path:
        return MethodNotAllowed(f"{request.path} does not take {request.method}")
    paths = ", ".join(sorted(served))
    return EndpointNotFound(f"{request.path} is not served here; this gateway serves {paths}")
