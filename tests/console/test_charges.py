"""What a correction is: pure, and the same whoever makes it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.events import WrittenEvent, decode_written
from clickhouse.stream import Entry
from console.charges import Charged, Correction, Owed
from recorder.rows import rows_of
from tests.recorder.workbench import response_event

NOON_MS = 1_795_000_000_000
AMOUNTS = st.integers(0, 10**15)


def charged(**changes: Any) -> Charged:
    """A request of the recorder's tests as the page of a recost has it."""
    said = msgspec.json.decode(response_event("r-1", "acme/p/key-1", 100, 40))
    known = {name: value for name, value in said.items() if name in Charged.__struct_fields__}
    absent = {
        **dict.fromkeys(("workflow", "run_id", "step_id", "model_served", "agent"), ""),
        **dict.fromkeys(("workflow_version", "attempt", "cache_write_5m", "cache_write_1h"), 0),
        **dict.fromkeys(("audio_input", "image_input", "audio_output", "tool_calls"), 0),
    }
    place = {
        "epoch": 1,
        "seq": 9,
        "time_ms": NOON_MS,
        "last_epoch": 1,
        "last_seq": 9,
        "asked_ms": NOON_MS - 500,
        "asked": (("c:1.0:0", 1, 100, 0), ("c:2.1:0", 2, 50, 0)),
    }
    return msgspec.convert({**absent, **known, **place, **changes}, Charged)


def correction(cost_nusd: int = 50, **changes: Any) -> Correction:
    """To this cost."""
    return Correction(charged(**changes), Owed(cost_nusd, "p2"))


@given(before=AMOUNTS, after=AMOUNTS)
def test_the_record_says_what_the_counters_do(before: int, after: int) -> None:
    """The recorder makes a row of the event and of what the ledger has booked: its charge is the
    difference, it names the request, it has no meters and no reservation, and its text is whole."""
    made = correction(after, charged_nusd=before)
    difference = after - before
    assert made.deltas == [("c:1.0:0", 1, difference)]
    counters = tuple((name, dimension, 0, delta) for name, dimension, delta in made.deltas)
    entry = Entry(1, 10, "correction", NOON_MS, made.id, 0, 0, counters, made.event("ops"), b"")
    row = rows_of("acme", entry).event
    assert (row.charged_nusd, row.reserved_nusd) == (difference, 0)
    assert (row.request_id, row.by, row.error) == ("r-1", "ops", "")
    assert (row.text_input, row.cached_input, row.text_output, row.reasoning_output) == (0,) * 4
    assert (row.project, row.model, row.usage_source) == ("p", "small-1", "recost")
    detail = msgspec.json.decode(row.detail)
    assert detail["owed_nusd"] - detail["charged_before_nusd"] == difference


def test_a_request_under_no_dollar_limit_is_corrected_in_the_record_alone() -> None:
    """No counter changes, and the event says the difference all the same."""
    made = correction(50, charged_nusd=40, asked=(("c:2.1:0", 2, 50, 0),))
    assert made.deltas == []
    entry = Entry(1, 10, "correction", NOON_MS, made.id, 0, 0, (), made.event("ops"), b"")
    assert rows_of("acme", entry).event.charged_nusd == 10


def test_an_id_follows_from_the_request_and_its_last_charge() -> None:
    """The same for everybody and every price, another once something more was charged; its time is
    that of the event, so that its tombstone is found again."""
    one = correction(50)
    assert one.id == correction(60).id
    assert one.id != correction(50, last_seq=12).id
    assert one.id != correction(50, request_id="r-2").id
    assert (int(one.id[:12], 16), len(one.id)) == (NOON_MS, 32)


def test_what_an_allotment_passed_on_is_not_named() -> None:
    """Where the request's own event is gone, its ending tells: what held nothing and charged
    something was passed on."""
    ended = (("c:a4.1:0", 1, 100, 40), ("c:1.0:0", 1, 0, 40), ("c:9.0:0", 1, 0, 0))
    assert charged(asked=(), ended=ended).usd_counters == ["c:a4.1:0", "c:9.0:0"]
    assert charged(ended=ended).usd_counters == ["c:1.0:0"]


@pytest.mark.parametrize(
    ("asked_ms", "ended_ms"),
    [(NOON_MS - 500, NOON_MS - 488), (NOON_MS - 5, NOON_MS), (0, NOON_MS)],
)
def test_truth_that_came_late_has_the_price_of_its_own_hour(asked_ms: int, ended_ms: int) -> None:
    """When it was asked and how long it took, never after its event; else when that was."""
    assert charged(asked_ms=asked_ms).ended_ms == ended_ms


def test_every_group_of_the_sums_is_kept() -> None:
    """What rollups and reports group by is in the correction as in the event that it corrects."""
    request = charged(workflow="w", run_id="run", step_id="s", attempt=2, agent="a")
    written: WrittenEvent = decode_written(Correction(request, Owed(1, "p2")).event("ops"))
    for name in (
        "scope",
        "workflow",
        "run_id",
        "step_id",
        "attempt",
        "agent",
        "key_id",
        "provider",
    ):
        assert getattr(written, name) == getattr(request, name), name
    for name in ("model", "model_requested", "endpoint", "workflow_version", "model_served"):
        assert getattr(written, name) == getattr(request, name), name
