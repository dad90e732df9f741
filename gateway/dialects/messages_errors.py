"""Errors as Anthropic's API writes them (API reference, "Errors").

`{"type": "error", "error": {"type", "message"}}`. The code and the field of the error, and what a
refusal says of itself, stand beside them, as they do on other surfaces.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.dialects.openai_error import refusal_fields
from gateway.errors import BudgetExceeded, GatewayError

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        409: "invalid_request_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
_ANY = "api_error"


def error_body(error: GatewayError) -> bytes:
    """The body of a refusal or a failure."""
    said: dict[str, Any] = {"type": _type(error), "message": error.message, "code": error.code}
    if error.param:
        said["param"] = error.param
    said |= refusal_fields(error)
    return msgspec.json.encode({"type": "error", "error": said})


def error_event(error: GatewayError) -> bytes:
    """The same inside a stream that has begun (guide "Streaming Messages", error events)."""
    return b"event: error\ndata: " + error_body(error) + b"\n\n"


def _type(error: GatewayError) -> str:
    """A budget's refusal is one of money, whatever status the operator has set for it."""
    if isinstance(error, BudgetExceeded):
        return "billing_error"
    return _TYPES.get(error.status, _ANY)
