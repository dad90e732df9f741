"""From an entry of the outbox to rows: pure, so that whoever writes a batch writes the same bytes.

The ledger's part of an entry says what was booked, the writer's part what for. Payloads are kept as
their policy says: streamed answers assembled, secrets and personal data taken out where asked; the
hash in the chain is of what is kept.
"""

from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from budgets.learned import is_route_scope
from clickhouse.events import CHARGING_TYPES, Derived, EventRow, WrittenEvent, decode_written
from clickhouse.stream import Entry
from recorder.redaction import redacted
from recorder.surfaces import SURFACES
from recorder.surfaces.contract import Surface

CALL_TYPES = frozenset(
    ("llm_request", "llm_response", "reservation_expired", "correction", "budget_exceeded")
)
DETAIL_BYTES_MAX = 64 * 1024
AS_IT_IS = ("full", "truncated")
NAME_CHARS_MAX = 256  # providers write these
ERROR_CHARS_MAX = 1024
USD = 1
AMOUNTS = (
    *("reserved_nusd", "charged_nusd", "text_input", "cached_input", "cache_write_5m"),
    *("cache_write_1h", "audio_input", "image_input", "text_output", "reasoning_output"),
    *("audio_output", "tool_calls", "duration_ms", "video_input", "image_output"),
    *("search_calls", "audio_ms", "pages", "characters"),
)
REPORTS = ("reported_nusd", "computed_nusd")
MALFORMED = "event malformed"


class Rows(NamedTuple):
    """One entry's rows: the event, what was derived from its payload, and the payload as kept."""

    event: EventRow
    derived: tuple[Derived, ...]
    body: bytes


def rows_of(organisation: str, entry: Entry) -> Rows:
    """Everything that the records keep of an entry."""
    written, detail, error = _written(entry)
    is_request = entry.event_type == "llm_request"
    if entry.event_type == "settlement_unbooked":
        written = _without_amounts(written)
    if not is_request and _speaks_as_request(written):
        # Nobody was left to describe the end: its request does, and its payload is not ours.
        written = msgspec.structs.replace(written, payload_state="", body_sha256="")
    if not entry.body:
        event = _event(organisation, entry, written, written.body_sha256, detail, error)
        return Rows(event, (), b"")
    surface = SURFACES.get(written.endpoint)
    body = entry.body
    if surface is not None and written.streamed and not is_request:
        body = surface.assembled(body)
        if not written.finish_reason:  # the gateway only searches in a stream
            finish = surface.finish_reason(body)
            written = msgspec.structs.replace(written, finish_reason=finish)
    derived = _tools(surface, body, is_request=is_request) if surface is not None else ()
    if written.payload_state not in AS_IT_IS:  # not known is not public
        body = redacted(body)
    event = _event(organisation, entry, written, sha256(body).hexdigest(), detail, error)
    return Rows(event, derived, body)


def _written(entry: Entry) -> tuple[WrittenEvent, str, str]:
    """The writer's part, what has no column, and an error where it cannot be read: an event that
    is not understood is recorded as it is, because the log must go on."""
    try:
        written = decode_written(entry.event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return WrittenEvent(), _text(entry.event), MALFORMED
    detail = written.detail if entry.event_type in CALL_TYPES else _text(entry.event)
    return written, detail, written.error


def _without_amounts(written: WrittenEvent) -> WrittenEvent:
    """What was not booked must not be added to what was: its amounts are in the detail alone."""
    none: dict[str, Any] = dict.fromkeys(AMOUNTS, 0) | dict.fromkeys(REPORTS)
    return msgspec.structs.replace(written, **none, overrun=False)


def _text(event: bytes) -> str:
    return event[:DETAIL_BYTES_MAX].decode("utf-8", "replace")


def _event(
    organisation: str, entry: Entry, written: WrittenEvent, digest: str, detail: str, error: str
) -> EventRow:
    is_request = entry.event_type == "llm_request"
    reserved_nusd, charged_nusd = _money(entry, written)
    return EventRow(
        org=organisation,
        epoch=entry.epoch,
        seq=entry.seq,
        time_ms=entry.time_ms,
        event_type=entry.event_type,
        request_id=written.request_id or entry.id,
        correlation_id=written.correlation_id,
        scope=written.scope,
        project=_project(written),
        workflow=written.workflow,
        workflow_version=written.workflow_version,
        run_id=written.run_id,
        step_id=written.step_id,
        attempt=written.attempt,
        agent=written.agent,
        key_id=written.key_id,
        triggered_by=written.triggered_by,
        by=written.by,
        endpoint=written.endpoint,
        provider=written.provider,
        model_requested=written.model_requested,
        model=written.model,
        model_served=written.model_served[:NAME_CHARS_MAX],
        streamed=int(written.streamed),
        status=written.status,
        finish_reason=written.finish_reason[:NAME_CHARS_MAX],
        error=error[:ERROR_CHARS_MAX],
        text_input=written.text_input,
        cached_input=written.cached_input,
        cache_write_5m=written.cache_write_5m,
        cache_write_1h=written.cache_write_1h,
        audio_input=written.audio_input,
        image_input=written.image_input,
        text_output=written.text_output,
        reasoning_output=written.reasoning_output,
        audio_output=written.audio_output,
        tool_calls=written.tool_calls,
        input_tokens_max=written.input_tokens_max,
        output_cap_asked=written.output_cap_asked,
        output_tokens_max=entry.output_tokens,
        reserved_nusd=reserved_nusd,
        charged_nusd=charged_nusd,
        price_version=written.price_version,
        usage_source=_usage_source(entry, written),
        overrun=int(written.overrun),
        waited_ms=written.waited_ms,
        first_byte_ms=written.first_byte_ms,
        duration_ms=written.duration_ms,
        overhead_us=written.overhead_us,
        request_bytes=written.request_bytes,
        response_bytes=written.response_bytes,
        request_sha256=digest if is_request else "",
        response_sha256="" if is_request else digest,
        payload_state=written.payload_state,
        trace_id=written.trace_id,
        counters=entry.counters,
        detail=detail,
        video_input=written.video_input,
        image_output=written.image_output,
        search_calls=written.search_calls,
        audio_ms=written.audio_ms,
        pages=written.pages,
        characters=written.characters,
        service_tier=written.service_tier[:NAME_CHARS_MAX],
        reported_nusd=written.reported_nusd,
        computed_nusd=written.computed_nusd,
    )


def _project(written: WrittenEvent) -> str:
    """The scope's second segment, unless that is the key itself, or the scope a route's."""
    if is_route_scope(written.scope):
        return ""
    _, _, below = written.scope.partition("/")
    project = below.partition("/")[0]
    return "" if project == written.key_id else project


def _money(entry: Entry, written: WrittenEvent) -> tuple[int, int]:
    """Reserved and charged nano-dollars. Where the request speaks for an ending, the ledger says
    what was reserved. A correction is what the ledger changed, or the difference to the whole
    reservation, which its expiry had charged."""
    reserved = entry.reserved_nusd or written.reserved_nusd
    charged = reserved if entry.event_type == "reservation_expired" else written.charged_nusd
    booked = next((each[3] for each in entry.counters if each[1] == USD), None)
    if entry.event_type == "correction" and written.request_id:
        charged = charged - reserved if booked is None else booked
    elif not written.request_id and entry.event_type in CHARGING_TYPES and booked is not None:
        charged = booked  # nobody said, or it is not understood: the ledger knows
    return reserved, charged


def _speaks_as_request(written: WrittenEvent) -> bool:
    return bool(written.request_id) and not written.usage_source and not written.status


def _usage_source(entry: Entry, written: WrittenEvent) -> str:
    """An expiry charges the reservation; a release that nobody described was one."""
    if entry.event_type == "reservation_expired":
        return "reserved"
    if entry.event_type in ("llm_response", "correction") and _speaks_as_request(written):
        return "released"
    return written.usage_source


def _tools(surface: Surface, body: bytes, *, is_request: bool) -> tuple[Derived, ...]:
    """The tool calls of an answer, or the results that a request brings."""
    if is_request:
        results = surface.tool_results(body)
        return tuple(
            Derived(
                part, each.name, each.call_id, "returned", each.result_bytes, each.result_sha256
            )
            for part, each in enumerate(results, 1)
        )
    calls = surface.tool_calls(body)
    return tuple(
        Derived(part, each.name, each.id, "called", each.arguments_bytes, each.arguments_sha256)
        for part, each in enumerate(calls, 1)
    )
