"""Whatever a run writes into the log fits into its columns and is JSON."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from clickhouse.events import EVENT_TYPES, decode_written
from orchestrator.events import (
    DETAIL_BYTES_MAX,
    RunEventType,
    bounded,
    event_id,
    of_attempt,
    of_run,
)
from orchestrator.places import PLAIN, AttemptPlace, RunPlace, TaskId

RUN = RunPlace("r1", "acme/project/r1", "report", 3)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=30,
)
DETAIL = st.dictionaries(st.text(), JSON, max_size=4)


@given(detail=DETAIL)
def test_what_is_short_is_told_whole(detail: dict[str, Any]) -> None:
    """And what is not is still an object, within its bounds."""
    text = bounded(detail)
    assert len(text.encode()) <= DETAIL_BYTES_MAX
    told = json.loads(text)
    if len(json.dumps(detail, ensure_ascii=False).encode()) <= 1_000:
        assert told == json.loads(json.dumps(detail))


@pytest.mark.parametrize(
    "detail",
    [
        {"output": "x" * 100_000, "error": "why"},
        {"output": ["\u2603" * 50] * 10_000, "error": "why"},
        {"output": {f"name-{n}": {"of": "x" * 500} for n in range(3_000)}, "error": "why"},
    ],
)
def test_what_is_long_is_cut_where_it_is_long(detail: dict[str, Any]) -> None:
    """Names stay, and short texts beside long ones."""
    text = bounded(detail)
    assert len(text.encode()) <= DETAIL_BYTES_MAX
    assert json.loads(text)["error"] == "why"
    assert len(text) > 200


def test_what_no_cut_makes_short_is_left_out() -> None:
    """A value that is wide everywhere, or deep, or no text at all."""
    wide: Any = "x"
    for _ in range(8):
        wide = [wide] * 50
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for detail in (
        {"a": wide},
        {"a": deep},
        {"a" * 90_000: 1},
        {"half": "\ud800", "\udfff": 2**90},
    ):
        assert len(bounded(detail).encode()) <= DETAIL_BYTES_MAX
        assert isinstance(json.loads(bounded(detail)), dict)


@given(by=st.text(st.characters(), max_size=9_000), detail=DETAIL)
def test_the_recorder_reads_what_is_written(by: str, detail: dict[str, Any]) -> None:
    """Into the columns of its run."""
    attempt = AttemptPlace(RUN, TaskId("search", 3), 7)
    for event, step, number in (
        (of_run(RUN, by=by, triggered_by="a" * 32, detail=detail), "", 0),
        (
            of_attempt(attempt, by=by, agent=by, triggered_by="a" * 32, detail=detail),
            "search[3]",
            7,
        ),
    ):
        written = decode_written(event)
        assert (written.workflow, written.workflow_version) == ("report", 3)
        assert (written.run_id, written.correlation_id) == ("r1", "r1")
        assert (written.step_id, written.attempt) == (step, number)
        assert written.triggered_by == "a" * 32
        assert written.scope == ("acme/project/r1/search/3" if step else "acme/project/r1")


def test_its_types_are_the_log_s() -> None:
    """All of them have a place there."""
    assert set(RunEventType.__args__) <= set(EVENT_TYPES)  # type: ignore[attr-defined]  # of a Literal


def test_an_id_is_the_same_for_the_same_only() -> None:
    """12 digits of time, 20 that tell what it is."""
    known = event_id(1_900_000_000_000, "r1", "step_started", "1")
    assert known == event_id(1_900_000_000_000, "r1", "step_started", "1")
    assert (len(known), int(known[:12], 16)) == (32, 1_900_000_000_000)
    others = {
        event_id(1_900_000_000_000, "r1", "step_started1"),
        event_id(1_900_000_000_000, "r1step_started", "1"),
        event_id(1_900_000_000_001, "r1", "step_started", "1"),
    }
    assert len({known, *others}) == 4


@given(
    st.lists(
        st.tuples(st.integers(PLAIN, 2_000), st.integers(1, 10**6)),
        min_size=2,
        max_size=50,
        unique=True,
    )
)
def test_no_two_attempts_share_a_key_s_id(places: list[tuple[int, int]]) -> None:
    """An organisation keeps its keys by id; the id is a segment of a scope."""
    attempts = [AttemptPlace(RUN, TaskId("a", entry), number) for entry, number in places]
    attempts += [AttemptPlace(RUN, TaskId("b", entry), number) for entry, number in places]
    assert len({each.key_id for each in attempts}) == len(attempts)
    assert all(len(each.key_id) <= 64 and each.key_id.isascii() for each in attempts)
