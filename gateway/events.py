"""The events that the path of a request writes, as the worker's part of an outbox entry.

The ledger adds seq, time, granted output and the counters that it touched. Meters have
OpenTelemetry's GenAI names where it has one. Encoded once, in C, and never parsed on the hot path.
"""

import msgspec

from budgets.keys import Key
from pricing import Meters


class RequestEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`llm_request`: what was asked, before it is sent."""

    request_id: str
    scope: str
    key_id: str
    agent: str
    endpoint: str
    provider: str
    model_requested: str
    model: str
    streamed: bool
    input_tokens_max: int
    output_cap_asked: int
    price_version: str
    request_bytes: int


class ResponseEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`llm_response`: how it ended. `usage_source` is provider, counted, reserved, none (settled at
    zero) or released; `charged_nusd` is what this says was booked."""

    request_id: str
    scope: str
    key_id: str
    status: int
    usage_source: str
    reserved_nusd: int
    charged_nusd: int
    price_version: str
    model_served: str = ""
    finish_reason: str = ""
    text_input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    text_output: int = 0
    reasoning_output: int = 0
    audio_output: int = 0
    tool_calls: int = 0
    overrun: bool = False
    error: str = ""
    first_byte_ms: int = 0
    duration_ms: int = 0
    response_bytes: int = 0


class KeyEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`key_minted` and `key_revoked`: never a secret."""

    key_id: str
    name: str
    scope: str
    by: str
    agent: str = ""


class PolicyEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`budget_changed`: the ledger adds the seq that names the new limits."""

    scope: str
    by: str


_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class KeyEvents:
    """Key life as events; `by` is who acts."""

    def __init__(self, by: str) -> None:
        self._by = by

    def minted(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return encode(KeyEvent(key.id, key.name, key.scope, self._by, key.agent))

    def budget_changed(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return encode(PolicyEvent(key.key_scope, self._by))

    def revoked(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return encode(KeyEvent(key.id, key.name, key.scope, self._by, key.agent))


def meter_fields(meters: Meters | None) -> dict[str, int]:
    """The meters of a response event."""
    if meters is None:
        return {}
    return {
        "text_input": meters.text_input,
        "cached_input": meters.cached_input,
        "cache_write_5m": meters.cache_write_5m,
        "cache_write_1h": meters.cache_write_1h,
        "audio_input": meters.audio_input,
        "image_input": meters.image_input,
        "text_output": meters.text_output,
        "reasoning_output": meters.reasoning_output,
        "audio_output": meters.audio_output,
        "tool_calls": meters.tool_calls,
    }
