"""What an event is: one frozen row of the log, the same in the stream, in the chain and in SQL.

`EventRow` is the truth about columns: its fields, in their order, are the columns that the chain
covers, and its JSON array is the canonical text that is hashed, inserted and exported. Migrations
and the stand-alone verifier are checked against it by tests. A column is only ever added at the
end, in a migration of its own; a text ends before the later columns that are empty at its end.

Meters have OpenTelemetry's GenAI names where it has one; money is in integer nano-dollars.
"""

from typing import Annotated, Literal, get_args

import msgspec

EventType = Literal[
    "run_submitted",
    "step_started",
    "tool_called",
    "llm_request",
    "llm_response",
    "step_completed",
    "step_failed",
    "approval_requested",
    "approval_resolved",
    "budget_exceeded",
    "workflow_halted",
    "run_completed",
    "reservation_expired",
    "budget_changed",
    "allotment_opened",
    "allotment_closed",
    "key_minted",
    "key_revoked",
    "correction",
    "settlement_unbooked",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
# Those that end a reservation or correct an ending: their charges add up to what was spent. A
# settlement that came too late to be booked (`settlement_unbooked`) is none of them.
CHARGING_TYPES = ("llm_response", "reservation_expired", "correction")

# A counter as an event touched it: field, dimension number (1 usd, 2 tokens, 3 requests,
# 4 concurrency), amount that was reserved (llm_request) or given back, amount charged.
CounterChange = tuple[str, int, int, int]


class EventRow(msgspec.Struct, frozen=True, array_like=True):
    """One event as it is chained and stored. Strings are empty and numbers zero where they do not
    apply; `charged_nusd` of all events of a scope adds up to what it spent."""

    org: str
    epoch: int
    seq: int
    time_ms: int
    event_type: str
    request_id: str
    correlation_id: str = ""
    scope: str = ""
    project: str = ""
    workflow: str = ""
    workflow_version: int = 0
    run_id: str = ""
    step_id: str = ""
    attempt: int = 0
    agent: str = ""
    key_id: str = ""
    triggered_by: str = ""
    by: str = ""
    endpoint: str = ""
    provider: str = ""
    model_requested: str = ""
    model: str = ""
    model_served: str = ""
    streamed: int = 0
    status: int = 0
    finish_reason: str = ""
    error: str = ""
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
    input_tokens_max: int = 0
    output_cap_asked: int = 0
    output_tokens_max: int = 0
    reserved_nusd: int = 0
    charged_nusd: int = 0
    price_version: str = ""
    usage_source: str = ""
    overrun: int = 0
    waited_ms: int = 0
    first_byte_ms: int = 0
    duration_ms: int = 0
    overhead_us: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    request_sha256: str = ""
    response_sha256: str = ""
    payload_state: str = ""
    trace_id: str = ""
    counters: tuple[CounterChange, ...] = ()
    detail: str = ""
    video_input: int = 0
    image_output: int = 0
    search_calls: int = 0
    audio_ms: int = 0
    pages: int = 0
    characters: int = 0
    service_tier: str = ""
    reported_nusd: int | None = None
    computed_nusd: int | None = None


COLUMNS: tuple[str, ...] = EventRow.__struct_fields__
FIRST_COLUMNS = 57
"""As many columns had the first version, `org` to `detail`: the text of every event has these."""
LATER_COLUMNS = COLUMNS[FIRST_COLUMNS:]
"""Columns that came later: the text of an event leaves those out that are empty at its end, as it
did when they were not there, so that its hash still holds."""


class Derived(msgspec.Struct, frozen=True, array_like=True):
    """What the recorder adds beside the chain: part 0 is the event itself, further parts are the
    tool calls (`state` called) and results (returned) found in its payload."""

    part: int = 0
    tool_name: str = ""
    tool_call_id: str = ""
    tool_state: str = ""
    tool_bytes: int = 0
    tool_sha256: str = ""


DERIVED_COLUMNS: tuple[str, ...] = Derived.__struct_fields__


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Amount = Annotated[int, msgspec.Meta(ge=-(2**61), le=2**61)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


class WrittenEvent(msgspec.Struct, frozen=True):
    """The part of an event that its writer knows: a JSON object in the outbox. What has no column
    is kept in `detail`: by the writer, or for events that are not about a call the whole object.
    Bounded to what the columns hold; texts that providers write are cut, not refused."""

    request_id: Text = ""
    correlation_id: Text = ""
    scope: Text = ""
    workflow: Text = ""
    workflow_version: Number = 0
    run_id: Text = ""
    step_id: Text = ""
    attempt: Number = 0
    agent: Text = ""
    key_id: Text = ""
    triggered_by: Text = ""
    by: Text = ""
    endpoint: Text = ""
    provider: Text = ""
    model_requested: Text = ""
    model: Text = ""
    model_served: str = ""
    streamed: bool = False
    status: Annotated[int, msgspec.Meta(ge=0, le=999)] = 0
    finish_reason: str = ""
    error: str = ""
    text_input: Count = 0
    cached_input: Count = 0
    cache_write_5m: Count = 0
    cache_write_1h: Count = 0
    audio_input: Count = 0
    image_input: Count = 0
    text_output: Count = 0
    reasoning_output: Count = 0
    audio_output: Count = 0
    tool_calls: Count = 0
    input_tokens_max: Count = 0
    output_cap_asked: Count = 0
    reserved_nusd: Amount = 0
    charged_nusd: Amount = 0
    price_version: Text = ""
    usage_source: Text = ""
    overrun: bool = False
    waited_ms: Count = 0
    first_byte_ms: Count = 0
    duration_ms: Count = 0
    overhead_us: Count = 0
    request_bytes: Count = 0
    response_bytes: Count = 0
    payload_state: Text = ""
    body_sha256: Text = ""
    trace_id: Text = ""
    detail: Text = ""
    video_input: Count = 0
    image_output: Count = 0
    search_calls: Count = 0
    audio_ms: Count = 0
    pages: Count = 0
    characters: Count = 0
    service_tier: str = ""
    reported_nusd: Amount | None = None
    computed_nusd: Amount | None = None


_NOTHING = WrittenEvent()
_decode = msgspec.json.Decoder(WrittenEvent).decode
_encode = msgspec.json.Encoder().encode
# What an empty later column is written as, the last one first.
_LATER_EMPTY = tuple(
    b",%b" % _encode(getattr(EventRow("", 1, 1, 1, "", ""), name))
    for name in reversed(LATER_COLUMNS)
)


def decode_written(event: bytes) -> WrittenEvent:
    """A writer's part of an event; empty where nobody was left to write one."""
    return _decode(event) if event else _NOTHING


def whole(row: EventRow) -> bytes:
    """All columns as a JSON array, without spaces, UTF-8: what is inserted."""
    return _encode(row)


def canonical(row: EventRow) -> bytes:
    """The text that the chain hashes: `whole` without later columns that are empty at its end."""
    return chained(_encode(row))


def chained(whole_text: bytes) -> bytes:
    """The canonical text of a row, from its `whole`. An array that ends with such bytes has just
    that value at its end: within a text, a quote has a backslash before it."""
    end = len(whole_text) - 1
    for empty in _LATER_EMPTY:
        if not whole_text.endswith(empty, 0, end):
            break
        end -= len(empty)
    return whole_text[:end] + b"]"
