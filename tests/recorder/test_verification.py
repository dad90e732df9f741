"""The log's verifier: what is right passes, whatever is in it; what is wrong is found and named."""

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickhouse.events import COLUMNS, FIRST_COLUMNS, LATER_COLUMNS, EventRow, canonical, whole
from clickhouse.query import load_query
from recorder.packing import follows, insert_events
from recorder.verification import (
    CHAIN_COLUMNS,
    PROGRESS_EVERY,
    RowUnreadable,
    read_row,
    verify,
)
from tests.recorder.chains import (
    KEY,
    ORG,
    PLACES,
    SIGNED,
    START_MS,
    TAMPERINGS,
    Chained,
    Log,
    as_list,
    chained,
    checked,
    clean,
    event,
    evidence,
    in_engines_style,
    lines,
    other,
    signed,
)
from tests.recorder.workbench import StoreProcess, begin_anew

KEY_HEX = KEY.public_hex
CHAIN = string.Template(load_query("chain")).substitute(columns=CHAIN_COLUMNS)
EVERYTHING = "".join(map(chr, (*range(0x180), 0x2028, 0x2029, 0xFEFF, 0xFFFF, 0x1F600, 0x10FFFF)))


def test_what_is_as_written_passes() -> None:
    """A clean log with a new epoch in it is right, and signed to its end."""
    log, heads = clean()
    verdict = verify(lines(log), heads, KEY_HEX)
    assert verdict.ok
    assert verdict.events == len(log)
    assert verdict.end == verdict.signed == log[-1].head
    assert "All 12 events up to 2-14 are as they were written" in verdict.message


def test_events_after_the_last_signed_head_are_said_to_be_unsigned() -> None:
    """The verdict never claims a signature for what no head covers."""
    log, heads = clean()
    verdict = verify(lines(log), heads[:1], KEY_HEX)
    assert verdict.ok
    assert verdict.signed == log[3].head
    assert "Up to 1-4 a signature vouches" in verdict.message
    assert "No signed head" in verify(lines(log), [], KEY_HEX).message


def test_an_empty_log_is_right_if_nothing_was_signed() -> None:
    """No events and no heads: nothing is wrong, and nothing claimed."""
    verdict = verify([], [], KEY_HEX)
    assert verdict.ok
    assert (verdict.events, verdict.end, verdict.signed) == (0, None, None)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(name: str) -> None:
    """Whatever was done to a log, the verdict names the first wrong event and how it is wrong."""
    tampering = TAMPERINGS[name]
    log, heads = tampering.done(*clean())
    verdict = verify(lines(log), heads, KEY_HEX)
    assert (verdict.fault, verdict.place, verdict.events) == (
        tampering.fault,
        tampering.place,
        tampering.right,
    )
    assert f"{tampering.place[0]}-{tampering.place[1]}" in verdict.message
    assert not verdict.ok


@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("column", [*COLUMNS, "hash", "prev_hash"])
def test_no_column_can_be_changed(column: str, row: int) -> None:
    """Changing one column of one row, the hashes among them, is found at that row."""
    log, heads = clean()
    values = dict(
        zip(("hash", "prev_hash", *COLUMNS), [*log[row][:2], *as_list(log[row].event)], strict=True)
    )
    values[column] = other(column, values[column])
    tampered = [*lines(log[:row]), in_engines_style(list(values.values())), *lines(log[row + 1 :])]
    verdict = verify(tampered, heads, KEY_HEX)
    assert (verdict.fault, verdict.events) == ("changed", row)
    assert verdict.place == (values["epoch"], values["seq"])


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"nonsense",
        b'["a","b"]',
        b"[]",
        b'["' + b"0" * 64 + b'", "' + b"0" * 64 + b'", "acme", 1]',
    ],
)
def test_a_line_that_no_event_makes_is_a_change(spoilt: bytes) -> None:
    """What cannot be read is reported in its place, not raised; an empty line is no row."""
    log, heads = clean()
    verdict = verify([*lines(log[:5]), spoilt, *lines(log[5:])], heads, KEY_HEX)
    if spoilt:
        assert (verdict.fault, verdict.events) == ("changed", 5)
    else:
        assert verdict.ok


def test_a_log_may_begin_after_a_signed_head() -> None:
    """Days that were dropped are no fault if the first event stands on the last head before it."""
    log, heads = clean()
    for first in (4, 8):
        verdict = verify(lines(log[first:]), heads, KEY_HEX)
        assert verdict.ok
        assert verdict.events == len(log) - first


@pytest.mark.parametrize(("first", "place"), [(5, (1, 5)), (9, (2, 12)), (3, (1, 3))])
def test_a_log_may_begin_nowhere_else(first: int, place: tuple[int, int]) -> None:
    """A log that begins between signed heads lacks events."""
    log, heads = clean()
    verdict = verify(lines(log[first:]), heads, KEY_HEX)
    assert verdict.fault in {"missing", "replaced"}
    assert verdict.events == 0
    assert verdict.place in {place, (log[first].event.epoch, log[first].event.seq)}


def test_a_dropped_day_must_be_older_than_what_is_kept() -> None:
    """With the bound of retention, deleting a day that is still kept is found, however cleanly."""
    log, heads = clean()
    cut = log[3].event.time_ms
    assert verify(lines(log[4:]), heads, KEY_HEX, kept_since_ms=cut + 1).ok
    verdict = verify(lines(log[4:]), heads, KEY_HEX, kept_since_ms=cut)
    assert (verdict.fault, verdict.place) == ("missing", (1, 4))
    everything = log[-1].event.time_ms
    assert verify([], heads, KEY_HEX, kept_since_ms=everything + 1).ok
    assert verify([], heads, KEY_HEX, kept_since_ms=everything).fault == "missing"


def test_the_first_event_must_stand_on_the_signed_one() -> None:
    """After dropped days, a first event on another hash than the signed one was replaced."""
    log, heads = clean()
    other_log = chained([each.event for each in log[4:]], "3" * 64)
    verdict = verify(lines(other_log), heads, KEY_HEX)
    assert (verdict.fault, verdict.place) == ("replaced", (1, 5))


def test_the_first_of_all_stands_on_nothing() -> None:
    """Without heads, only seq 1 on the genesis hash begins a log: neither a chain on something that
    is not there, nor one that was numbered to hide its beginning."""
    log, _ = clean()
    on_something = chained([each.event for each in log], "3" * 64)
    from_two = chained([each.event for each in log[1:]])
    for other_log in (on_something, from_two):
        verdict = verify(lines(other_log), [], KEY_HEX)
        assert (verdict.fault, verdict.events, verdict.place) == ("missing", 0, (1, 1))


def test_a_head_tells_which_of_two_was_replaced() -> None:
    """Where two neighbours do not fit, the signed one, or the one the next stands on, is right."""
    log, heads = clean()
    after_signed = [*log[:4], *chained([each.event for each in log[4:]], "5" * 64)]
    assert verify(lines(after_signed), heads, KEY_HEX).place == (1, 5)
    assert verify(lines(after_signed), [], KEY_HEX).place == (1, 4)
    last = chained([log[10].event], "4" * 64)[0]  # the end of an unsigned log: the earlier is named
    assert verify(lines([*log[:10], last]), heads[:2], KEY_HEX).place == (2, 12)


def test_progress_is_told() -> None:
    """Every ten thousand rows, and at the end."""
    log = chained(event(1, seq) for seq in range(1, PROGRESS_EVERY + 3))
    told: list[int] = []
    assert verify(lines(log), [], KEY_HEX, told.append).ok
    assert told == [PROGRESS_EVERY, PROGRESS_EVERY + 2]


@given(
    first=st.sampled_from([(1, 1), (2, 1), (2, 9), (3, 1)]),
    second=st.tuples(st.integers(1, 3), st.integers(1, 4)),
)
def test_what_may_follow_is_what_the_packer_lets_follow(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    """Verifier and packer agree on which place comes next after a place."""
    log = chained([event(*first), event(*second)])
    assert verify(lines(log), [], KEY_HEX).ok == follows(log[0].head, *second)


@pytest.mark.parametrize(
    "line", [b"", b"[", b'["' + b"0" * 64 + b'", "' + b"0" * 64 + b'", "\xff"]']
)
def test_unreadable_rows_are_refused(line: bytes) -> None:
    """`read_row` raises one error for all that is no row, broken UTF-8 among it."""
    with pytest.raises(RowUnreadable):
        read_row(line)


TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\"\\/\b\f\n\r\t\0\x1f\x7f\u2028\ufeff\U0001f600<>&'"),
    ),
    max_size=30,
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(-(2**63), 2**64 - 1),
    int | None: st.none() | st.integers(-(2**63), 2**63 - 1),
}
LATER_EMPTY = st.booleans()
EMPTY = msgspec.structs.astuple(EventRow("", 1, 1, 1, "", ""))
CHANGES = st.tuples(TEXTS, st.integers(0, 255), KINDS[int], KINDS[int])


@st.composite
def random_logs(draw: st.DrawFn) -> Log:
    """A chain of events with anything in every column."""
    events = []
    for seq in range(1, draw(st.integers(1, 4)) + 1):
        values = {
            field.name: draw(KINDS[field.type])
            for field in msgspec.structs.fields(EventRow)
            if field.name not in {"org", "epoch", "seq", "time_ms", "counters"}
        }
        if draw(LATER_EMPTY):
            values = {name: each for name, each in values.items() if name not in LATER_COLUMNS}
        counters = tuple(draw(st.lists(CHANGES, max_size=3)))
        events.append(EventRow(ORG, 1, seq, START_MS + seq, **values, counters=counters))
    return chained(events)


@settings(max_examples=100)
@given(log=random_logs(), style=st.sampled_from(["ours", "engine's", "escaped", "quoted"]))
def test_any_content_survives_the_way(log: Log, style: str) -> None:
    """Whatever is in the columns, and however the engine writes it as JSON, both verifiers find the
    chain right, and the text that is hashed is what Python's json module makes of the columns."""
    heads = signed(log, [len(log) - 1])
    verdict = verify([styled(each, style) for each in log], heads, KEY_HEX)
    assert verdict.ok, verdict.message
    for each in log:
        said = as_list(each.event)
        while len(said) > FIRST_COLUMNS and said[-1] == EMPTY[len(said) - 1]:
            said.pop()
        plain = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        assert canonical(each.event) == plain.encode()
    assert checked(evidence(log, heads)).startswith("RIGHT")


def styled(row: Chained, style: str) -> bytes:
    """A row as JSON, with the liberties that JSON leaves."""
    values = [row.hash, row.prev_hash, *as_list(row.event)]
    if style == "ours":
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    if style == "escaped":
        return json.dumps(values).encode()
    if style == "quoted":  # 64-bit integers as texts: the default of ClickHouse before 25.8
        return in_engines_style([str(v) if isinstance(v, int) else v for v in values])
    return in_engines_style(values)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """The engine with the migrations, in a process of its own."""
    store = StoreProcess(Path(tmp_path_factory.mktemp("records")))
    try:
        yield store
    finally:
        store.stop()


UNSIGNED = {"UInt8": 2**8, "UInt16": 2**16, "UInt32": 2**32, "UInt64": 2**64}
LAST_MS = 10_413_791_999_999  # the end of 2299, and of DateTime64


async def test_the_engine_gives_back_what_was_hashed(records: StoreProcess) -> None:
    """Rows with every character and the bounds of every column's type, inserted as the recorder
    does and read by chain.sql in pages, verify, and a row that was changed is named."""
    await begin_anew(records)
    described = await records.rows("DESCRIBE TABLE comptroller.events")
    log = chained(
        [*(event(*place) for place in PLACES), *extremes({r[0]: r[1] for r in described})]
    )
    await records.insert(insert_events(), b"\n".join(inserted(each) for each in log), "all")
    heads = signed(log, (*SIGNED, len(log) - 1))
    rows = await pages(records, 5)
    verdict = verify(rows, heads, KEY_HEX)
    assert verdict.ok, verdict.message
    assert verdict.events == len(log)
    assert [read_row(line).event for line in rows] == [each.event for each in log]
    assert checked(evidence(log, heads)).startswith("RIGHT")
    tampered = [row.replace(b"1000006", b"1000007") for row in rows]
    assert verify(tampered, heads, KEY_HEX).place == (1, 6)


def extremes(types: dict[str, str]) -> list[EventRow]:
    """Events with the least and the greatest of each column's type."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for name in COLUMNS:
        kind = types[name].removeprefix("LowCardinality(").rstrip(")") if name in types else ""
        if kind in UNSIGNED:
            least[name], greatest[name] = 0, UNSIGNED[kind] - 1
        elif kind == "Int64":
            least[name], greatest[name] = -(2**63), 2**63 - 1
        elif kind == "Nullable(Int64":
            least[name], greatest[name] = None, 2**63 - 1
        elif kind == "String":
            least[name], greatest[name] = "", EVERYTHING
    counters = ((EVERYTHING, 255, 2**63 - 1, -(2**63)), ("", 0, 0, 0))
    assert {*COLUMNS} - {*least} <= {"time_ms", "counters"}
    place = {"org": ORG, "epoch": 3, "seq": 15}
    greatest |= {"org": ORG, "time_ms": LAST_MS, "counters": counters}
    return [EventRow(**{**least, **place, "time_ms": 0}), EventRow(**greatest)]


def inserted(row: Chained) -> bytes:
    """A row as the recorder inserts it: with nothing derived."""
    head = f'["{row.hash}","{row.prev_hash}",0,"","","",0,"",'.encode()
    return head + whole(row.event)[1:]


async def pages(records: StoreProcess, size: int) -> list[bytes]:
    """All of the log, a few rows at a time."""
    rows: list[bytes] = []
    place: tuple[int, int] = (0, 0)
    while True:
        parameters: dict[str, str | int] = {
            "org": ORG,
            "epoch": place[0],
            "seq": place[1],
            "limit": size,
        }
        page = (await records.select(CHAIN, parameters)).splitlines()
        rows += page
        if len(page) < size:
            return rows
        place = read_row(page[-1]).place
