"""Errors as OpenAI writes them, which its surfaces share (API reference, "Error codes")."""

from typing import Any

import msgspec

from gateway.errors import GatewayError


def error_fields(error: GatewayError) -> dict[str, Any]:
    """`{message, type, param, code}`, and a reason where one is."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if error.reason:
        fields["reason"] = error.reason
    return fields


def error_body(error: GatewayError) -> bytes:
    """`{"error": {...}}`."""
    return msgspec.json.encode({"error": error_fields(error)})
