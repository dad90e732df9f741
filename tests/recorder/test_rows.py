"""From entries to rows: who, what, money, payloads, tools."""

import hashlib
import json
import re
from typing import Any

import msgspec
import pytest

from budgets.learned import route_scope
from clickhouse.events import COLUMNS, LATER_COLUMNS, EventRow
from clickhouse.query import load_query
from gateway.events import KeyEvent, PolicyEvent, RefusalEvent, encode
from gateway.route_events import RouteEvent
from recorder.rows import DETAIL_BYTES_MAX, NAME_CHARS_MAX, Rows, rows_of
from tests.recorder.workbench import entry, request_event, response_event

ORG = "acme"
SCOPE = "acme/research/nightly/key-1"
ROUTE = route_scope("acme", "p:m~1")
SUMMED = re.findall(r"sum\((\w+)\)", load_query("archive_day"))
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"


def sha256(data: bytes) -> str:
    """Hex."""
    return hashlib.sha256(data).hexdigest()


def rows(
    kind: str = "llm_response", event: bytes | None = None, body: bytes = b"", **more: Any
) -> Rows:
    """The rows of one entry; by default a settlement of 70 with 100 reserved."""
    said = response_event("r-1", SCOPE, 100, 70) if event is None else event
    return rows_of(ORG, entry(5, kind, said, body=body, **more))


def chat_answer(*calls: tuple[str, str, str], content: str | None = "hello") -> bytes:
    """A whole answer with these tool calls (id, name, arguments)."""
    message = {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in calls
        ],
    }
    return json.dumps({"id": "c", "choices": [{"index": 0, "message": message}]}).encode()


def chat_stream(*deltas: object) -> bytes:
    """The same as a stream."""
    events = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return ("".join(lines) + "data: [DONE]\n\n").encode()


def test_a_request_is_one_row() -> None:
    """Everything the gateway said, with the ledger's seq, time, grant and reservation; nothing is
    charged."""
    event = request_event("r-1", SCOPE, waited_ms=9)
    counters = (("c:1.0:0", 1, 300, 0),)
    made = rows_of(
        ORG, entry(5, "llm_request", event, output=40, reserved=300, counters=counters, epoch=2)
    )
    assert made.event == EventRow(
        org=ORG,
        epoch=2,
        seq=5,
        time_ms=entry(5).time_ms,
        event_type="llm_request",
        request_id="r-1",
        scope=SCOPE,
        project="research",
        agent="writer",
        key_id="key-1",
        endpoint="/v1/chat/completions",
        provider="openai",
        model_requested="small",
        model="small-1",
        input_tokens_max=100,
        output_cap_asked=50,
        output_tokens_max=40,
        reserved_nusd=300,
        price_version="p1",
        waited_ms=9,
        request_bytes=20,
        payload_state="full",
        counters=counters,
    )
    assert made.derived == ()
    assert made.body == b""


@pytest.mark.parametrize("field", msgspec.json.decode(response_event("r", "s", 2, 3)))
def test_a_settlement_keeps_every_field(field: str) -> None:
    """Each field of the gateway's event has its value in the row."""
    said = msgspec.json.decode(response_event("r", "s/p", 2, 3))
    row = rows(event=response_event("r", "s/p", 2, 3)).event
    assert getattr(row, field) == said[field]


@pytest.mark.parametrize(
    ("scope", "project"),
    [
        *(("acme", ""), ("acme/p", "p"), ("acme/p/w", "p"), ("acme/p/w/r/s/k", "p"), ("", "")),
        (ROUTE, ""),
    ],
)
def test_the_project_is_the_second_segment(scope: str, project: str) -> None:
    """Organisation first, project next; the organisation itself has none, nor has a route."""
    assert rows(event=response_event("r", scope, 0, 0)).event.project == project


def test_an_expiry_charges_what_was_reserved() -> None:
    """Described by its request: charged is the whole reservation, and the source says so."""
    event = request_event("r-1", SCOPE, body_sha256="ab", payload_state="hash")
    row = rows("reservation_expired", event, reserved=300, output=40).event
    assert (row.reserved_nusd, row.charged_nusd, row.usage_source) == (300, 300, "reserved")
    assert (row.scope, row.agent, row.model, row.request_id) == (SCOPE, "writer", "small-1", "r-1")
    assert row.output_tokens_max == 40


@pytest.mark.parametrize("kind", ["reservation_expired", "llm_response", "correction"])
@pytest.mark.parametrize("state", ["full", "redacted", "hash", "truncated"])
def test_a_request_that_speaks_for_an_ending_brings_no_payload(kind: str, state: str) -> None:
    """The request's payload state and hash are of the request: an ending of its own has neither."""
    event = request_event("r-1", SCOPE, payload_state=state, body_sha256="ab" * 32)
    row = rows(kind, event, reserved=300).event
    assert (row.payload_state, row.request_sha256, row.response_sha256) == ("", "", "")


def test_a_release_that_nobody_described() -> None:
    """Nothing charged, what was reserved is said by the ledger, the source is `released`."""
    row = rows("llm_response", request_event("r-1", SCOPE), reserved=300).event
    assert (row.reserved_nusd, row.charged_nusd, row.usage_source) == (300, 0, "released")


def test_a_late_release_that_nobody_described_takes_the_charge_back() -> None:
    """After an expiry: the difference to it is the whole reservation."""
    row = rows("correction", request_event("r-1", SCOPE), reserved=300).event
    assert (row.reserved_nusd, row.charged_nusd, row.usage_source) == (300, -300, "released")


@pytest.mark.parametrize("charged", [0, 70, 100, 250])
def test_a_late_settlement_is_the_difference_to_the_expiry(charged: int) -> None:
    """The gateway says what was reserved and what it truly cost; the expiry had charged the
    reservation."""
    row = rows("correction", response_event("r-1", SCOPE, 100, charged)).event
    assert (row.reserved_nusd, row.charged_nusd) == (100, charged - 100)
    assert row.usage_source == "provider"


def test_a_late_release_with_its_event_takes_the_charge_back() -> None:
    """The gateway's own release event after an expiry."""
    event = response_event("r-1", SCOPE, 100, 0, status=0, usage_source="released")
    row = rows("correction", event).event
    assert (row.charged_nusd, row.usage_source) == (-100, "released")


def test_an_adjustment_is_what_it_says() -> None:
    """A correction of no request: its charge is taken as it is written."""
    event = b'{"scope":"acme/p","charged_nusd":-55,"by":"ops","detail":"price"}'
    row = rows("correction", event).event
    assert (row.charged_nusd, row.reserved_nusd, row.request_id) == (-55, 0, "id-5")
    assert (row.by, row.project, row.detail) == ("ops", "p", "price")


def test_what_was_not_booked_is_told_and_adds_up_to_nothing() -> None:
    """A settlement that the ledger did not know any more: who and what as columns, every amount in
    the detail alone, so that no sum over the log has it."""
    more = {"pages": 3, "video_input": 4, "reported_nusd": 500, "computed_nusd": 400}
    said = response_event("r-1", SCOPE, 200, 500, tool_calls=1, **more)
    row = rows("settlement_unbooked", said, counters=()).event
    assert (row.request_id, row.scope, row.key_id, row.model) == ("r-1", SCOPE, "key-1", "small-1")
    assert len(SUMMED) > 10
    assert not any(getattr(row, name) for name in SUMMED)
    assert (row.reported_nusd, row.computed_nusd) == (None, None)
    assert json.loads(row.detail) == json.loads(said)
    assert json.loads(row.detail)["charged_nusd"] == 500


def test_what_an_answer_says_of_its_price_is_in_columns() -> None:
    """Each later column as it was written, the tier cut as all that providers write."""
    counts = {name: 100 + n for n, name in enumerate(LATER_COLUMNS) if name != "service_tier"}
    said = response_event("r-1", SCOPE, 200, 500, **counts, service_tier="t" * 1_000)
    row = rows("llm_response", said).event
    assert {name: getattr(row, name) for name in counts} == counts
    assert row.service_tier == "t" * NAME_CHARS_MAX
    free = rows("llm_response", response_event("r-1", SCOPE, 2, 0, reported_nusd=0)).event
    assert (free.reported_nusd, free.computed_nusd) == (0, None)


def test_an_event_that_nobody_wrote_has_the_ledger_s_part() -> None:
    """Id, time, type and counters without a writer's word; no error."""
    made = rows("llm_response", b"", counters=(("c:1.0:0", 1, 5, 7),))
    assert (made.event.request_id, made.event.error) == ("id-5", "")
    assert made.event.counters == (("c:1.0:0", 1, 5, 7),)


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("key_minted", KeyEvent("key-9", "ci", "acme/p", "cli", "agent-7")),
        ("key_revoked", KeyEvent("key-9", "ci", "acme/p", "cli")),
        ("budget_changed", PolicyEvent("acme/p", "cli")),
        ("budget_changed", RouteEvent(ROUTE, "gateway", "factor_raised", "p:m~1", "r", 1, 2)),
    ],
)
def test_events_of_policy_and_keys_are_kept_whole(kind: str, event: msgspec.Struct) -> None:
    """Every field is in the column of its name or in `detail`, where the event stands whole."""
    row = rows(kind, encode(event)).event
    assert msgspec.json.decode(row.detail) == msgspec.json.decode(encode(event))
    for name, value in msgspec.to_builtins(event).items():
        assert name not in COLUMNS or getattr(row, name) == value


def test_a_refusal_has_the_detail_that_was_written() -> None:
    """What the gateway counted and why, and not the whole event again."""
    event = RefusalEvent("acme/p/key-1", "held", '{"count":7}', "r-1", status=429)
    row = rows("budget_exceeded", encode(event)).event
    assert (row.error, row.detail, row.request_id, row.status) == (
        "held",
        '{"count":7}',
        "r-1",
        429,
    )
    assert (row.scope, row.project, row.charged_nusd, row.reserved_nusd) == (event.scope, "p", 0, 0)


def test_foreign_events_are_kept_up_to_a_bound() -> None:
    """What has no column stands in detail, cut at DETAIL_BYTES_MAX, wherever the cut falls."""
    event = '{{"scope":"acme/p","note":"{}"}}'.format("é" * DETAIL_BYTES_MAX).encode()
    row = rows("step_failed", event).event
    assert row.scope == "acme/p"
    assert row.detail.startswith('{"scope":"acme/p","note":"é')
    assert len(row.detail.encode()) <= DETAIL_BYTES_MAX + 3


@pytest.mark.parametrize("body", [b"plain", b"\xff\x00\xfe", b"{}", b"x" * 2**20])
def test_under_full_the_payload_is_kept_and_hashed_as_it_is(body: bytes) -> None:
    """The body of a whole answer and of a request, byte for byte, its hash on its own side."""
    answer = rows(body=body)
    assert (answer.body, answer.event.response_sha256) == (body, sha256(body))
    assert answer.event.request_sha256 == ""
    request = rows("llm_request", request_event("r-1", SCOPE), body)
    assert (request.body, request.event.request_sha256) == (body, sha256(body))
    assert request.event.response_sha256 == ""


def test_under_redacted_the_hash_is_of_what_is_kept() -> None:
    """What is taken out is neither in the body nor hinted at by a hash of the original."""
    body = chat_answer(content=f"use {SECRET} now")
    made = rows(event=response_event("r", SCOPE, 1, 1, payload_state="redacted"), body=body)
    assert SECRET.encode() not in made.body
    assert b"[redacted:" in made.body
    assert made.event.response_sha256 == sha256(made.body) != sha256(body)
    assert made.event.payload_state == "redacted"


@pytest.mark.parametrize("state", ["hash", "off", ""])
def test_without_a_payload_the_gateway_s_hash_stands(state: str) -> None:
    """`hash` brings a hash and no body, `off` and an answer that never came bring neither."""
    digest = "ab" * 32 if state == "hash" else ""
    answer = rows(event=response_event("r", SCOPE, 1, 1, payload_state=state, body_sha256=digest))
    assert (answer.body, answer.event.response_sha256) == (b"", digest)
    event = request_event("r", SCOPE, payload_state=state, body_sha256=digest)
    request = rows("llm_request", event)
    assert (request.body, request.event.request_sha256) == (b"", digest)
    assert answer.event.payload_state == request.event.payload_state == state


def test_a_truncated_payload_is_kept_and_says_so() -> None:
    """What is longer than is kept: the beginning, under its state."""
    made = rows(event=response_event("r", SCOPE, 1, 1, payload_state="truncated"), body=b'{"cut')
    assert (made.body, made.event.payload_state) == (b'{"cut', "truncated")


def test_an_endpoint_without_a_surface_is_kept_as_bytes() -> None:
    """Nothing is read from what is not known, but it is kept, redacted where asked."""
    event = response_event("r", SCOPE, 1, 1, endpoint="/v1/other", streamed=True)
    body = chat_stream({"content": "x"})
    assert rows(event=event, body=body).body == body
    event = response_event("r", SCOPE, 1, 1, endpoint="/v1/other", payload_state="redacted")
    assert SECRET.encode() not in rows(event=event, body=SECRET.encode()).body


def test_the_tools_of_an_answer_are_found() -> None:
    """One row for each call, numbered from 1, with size and hash of its arguments."""
    made = rows(body=chat_answer(("a", "search", '{"q":1}'), ("b", "read", "")))
    assert [tuple(msgspec.to_builtins(each)) for each in made.derived] == [
        (1, "search", "a", "called", 7, sha256(b'{"q":1}')),
        (2, "read", "b", "called", 0, sha256(b"")),
    ]


def test_the_tools_of_a_stream_are_found_in_the_assembled_answer() -> None:
    """A streamed answer is kept as the answer that it is; its calls are those of a whole one."""
    event = response_event("r", SCOPE, 1, 1, streamed=True)

    def piece(arguments: str, **more: str) -> object:
        function = {"arguments": arguments, **({"name": "search"} if more else {})}
        return {"tool_calls": [{"index": 0, **more, "function": function}]}

    body = chat_stream(piece('{"q"', id="a"), piece(":1}"))
    made = rows(event=event, body=body)
    assert [(each.tool_name, each.tool_call_id, each.tool_bytes) for each in made.derived] == [
        ("search", "a", 7)
    ]
    kept = msgspec.json.decode(made.body)
    (call,) = kept["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "search", "arguments": '{"q":1}'}
    assert made.event.response_sha256 == sha256(made.body)


def test_a_stream_says_in_the_records_why_it_ended() -> None:
    """The gateway looks for nothing in a stream but its usage: the end's reason is that of the
    assembled answer, unless the gateway knew one; a stream that was cut has none."""
    event = response_event("r", SCOPE, 1, 1, streamed=True)
    ended = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
    assert rows(event=event, body=ended + b"data: [DONE]\n\n").event.finish_reason == "length"
    cut = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    assert rows(event=event, body=cut).event.finish_reason == ""
    knew = response_event("r", SCOPE, 1, 1, streamed=True, finish_reason="stop")
    assert rows(event=knew, body=ended).event.finish_reason == "stop"


def test_the_results_in_a_request_are_found() -> None:
    """A request brings results of the calls before it, named after them; a streamed request's body
    is a request all the same."""
    messages = [
        json.loads(chat_answer(("a", "search", "{}")))["choices"][0]["message"],
        {"role": "tool", "tool_call_id": "a", "content": "found"},
    ]
    body = json.dumps({"messages": messages}).encode()
    for streamed in (False, True):
        made = rows("llm_request", request_event("r", SCOPE, streamed=streamed), body)
        assert [tuple(msgspec.to_builtins(each)) for each in made.derived] == [
            (1, "search", "a", "returned", 5, sha256(b"found"))
        ]
        assert made.body == body


def test_tools_are_measured_before_anything_is_taken_out() -> None:
    """Size and hash of a call are those of what the model wrote, also under `redacted`."""
    arguments = json.dumps({"key": SECRET})
    event = response_event("r", SCOPE, 1, 1, payload_state="redacted")
    made = rows(event=event, body=chat_answer(("a", "call", arguments)))
    assert made.derived[0].tool_bytes == len(arguments)
    assert SECRET.encode() not in made.body
