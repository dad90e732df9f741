"""Errors as OpenAI writes them, which its surfaces share (API reference, "Error codes")."""

from typing import Any

import msgspec

from gateway.errors import BudgetExceeded, GatewayError


def error_fields(error: GatewayError) -> dict[str, Any]:
    """`{message, type, param, code}`, and what `refusal_fields` adds."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return fields | refusal_fields(error)


def refusal_fields(error: GatewayError) -> dict[str, Any]:
    """What every surface says of a refusal, each where there is one: its reason, the scope whose
    budget it is, and when that begins anew, in ms since 1970 as GET /v1/budget has it."""
    fields: dict[str, Any] = {}
    if error.reason:
        fields["reason"] = error.reason
    if isinstance(error, BudgetExceeded):
        if error.scope:
            fields["scope"] = error.scope
        if error.resets_at_ms:
            fields["resets_at"] = error.resets_at_ms
    return fields


def error_body(error: GatewayError) -> bytes:
    """`{"error": {...}}`."""
    return msgspec.json.encode({"error": error_fields(error)})
