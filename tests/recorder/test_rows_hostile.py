"""Whatever anybody wrote into an event is recorded, and its money fits and is kept."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clickhouse.events import EVENT_TYPES
from clickhouse.stream import Entry
from recorder.rows import MALFORMED, rows_of
from tests.recorder.test_rows import ORG, SCOPE, SECRET, chat_answer, rows, sha256
from tests.recorder.workbench import entry, response_event

INT64 = range(-(2**63), 2**63)

HOSTILE = [
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"not json",
    b"\x00" * 50,
    b'{"scope":"\\ud800"}',
    b'{"status":-1}',
    b'{"status":1e400}',
    b'{"charged_nusd":1e30}',
    b'{"charged_nusd":99999999999999999999999}',
    b'{"streamed":"yes"}',
    b'{"attempt":-1}',
    b"\xef\xbb\xbf{}",
    b'{"model":"%b"}' % (b"x" * 5000),
]


@pytest.mark.parametrize("kind", ["llm_request", "llm_response", "correction", "step_failed"])
@pytest.mark.parametrize("event", HOSTILE)
def test_an_event_that_is_not_understood_is_recorded_as_it_is(kind: str, event: bytes) -> None:
    """It has an error, stands whole in detail, and the log goes on."""
    row = rows(kind, event, counters=(("c:1.0:0", 1, 5, 7),)).event
    assert row.error == MALFORMED
    assert row.detail == event.decode("utf-8", "replace")
    assert (row.org, row.seq, row.request_id) == (ORG, 5, "id-5")
    assert row.counters == (("c:1.0:0", 1, 5, 7),)


@pytest.mark.parametrize(
    "event",
    [
        b'{"scope":"\xff"}',
        b'{"\xff":1}',
        b'{"model_served":"caf\xe9"}',
        b'{"detail":"\xed\xa0\x80"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda event: repr(event[:24]),
)
@pytest.mark.parametrize("kind", ["llm_response", "step_failed"])
def test_bytes_that_break_a_parser_are_recorded_too(kind: str, event: bytes) -> None:
    """Text that is no UTF-8, and nesting without end: recorded, never raised. (`append` takes any
    bytes, and one event that raises here stops its organisation's log for ever.)"""
    row = rows(kind, event).event
    assert (row.seq, row.request_id) == (5, "id-5")


@given(st.binary(max_size=80), st.sampled_from(EVENT_TYPES), st.binary(max_size=40))
def test_any_bytes_are_recorded(event: bytes, kind: str, body: bytes) -> None:
    """Whatever was written, there are rows."""
    assert rows_of(ORG, entry(5, kind, event, body=body)).event.event_type == kind


NUMBER = st.integers(-(2**61), 2**61)


@example("correction", -(2**61), 2**61, 0, "r")
@example("correction", 2**61, -(2**61), 0, "r")
@given(
    st.sampled_from(EVENT_TYPES), NUMBER, NUMBER, st.integers(0, 2**53), st.sampled_from(("", "r"))
)
def test_money_fits_its_column(
    kind: str, reserved: int, charged: int, known: int, id_: str
) -> None:
    """Whatever amounts WrittenEvent admits, reserved and charged fit into 64 bits: else the batch
    would be refused, or wrapped, and never verify."""
    written = {"request_id": id_, "reserved_nusd": reserved, "charged_nusd": charged}
    row = rows_of(ORG, entry(5, kind, msgspec.json.encode(written), reserved=known)).event
    assert row.reserved_nusd in INT64
    assert row.charged_nusd in INT64


def test_an_answer_that_names_a_long_model_keeps_its_money() -> None:
    """A provider may write anything of any length as model or finish reason: the charge is booked
    in the ledger, so the records must have it too."""
    for name in ("model_served", "finish_reason", "error"):
        event = response_event("r-1", SCOPE, 100, 70, **{name: "x" * 5000})
        row = rows(event=event, counters=(("c:1.0:0", 1, 100, 70),)).event
        assert row.charged_nusd == 70, name
        assert 0 < len(getattr(row, name)) <= 1024


def test_an_answer_that_names_a_long_model_is_still_redacted() -> None:
    """What its scope wants taken out must not depend on what a provider writes."""
    event = response_event("r-1", SCOPE, 100, 70, payload_state="redacted", model_served="x" * 5000)
    made = rows(event=event, body=chat_answer(content=f"use {SECRET} now"))
    assert SECRET.encode() not in made.body


@given(st.binary(max_size=60), st.sampled_from(("full", "redacted", "truncated")), st.booleans())
def test_rows_are_a_pure_function(body: bytes, state: str, streamed: bool) -> None:
    """The same entry gives the same rows, and the row's hash is always that of the kept body."""
    event = response_event("r", SCOPE, 1, 1, payload_state=state, streamed=streamed)
    one: Entry = entry(5, "llm_response", event, body=body)
    first, second = rows_of(ORG, one), rows_of(ORG, one)
    assert first == second
    assert first.event.response_sha256 == (sha256(first.body) if body else "")
