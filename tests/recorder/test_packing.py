"""Batches: the same entries on the same head are the same bytes, the chain through them verifies,
and the real engine takes and keeps them byte for byte."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.chain import GENESIS, link
from clickhouse.events import COLUMNS, DERIVED_COLUMNS, EVENT_TYPES, EventRow, canonical
from clickhouse.stream import Entry
from recorder.batch import Head
from recorder.packing import OutboxGap, follows, insert_events, pack, same_day
from recorder.rows import rows_of
from tests.recorder.test_rows import chat_answer
from tests.recorder.workbench import (
    BEFORE_ALL,
    DAY_MS,
    NOON_MS,
    StoreProcess,
    begin_anew,
    entry,
    request_event,
    response_event,
)

ORG = "acme"
SCOPE = "acme/research/key-1"
MIDNIGHT_MS = NOON_MS // DAY_MS * DAY_MS
AFTER_DERIVED = 2 + len(DERIVED_COLUMNS)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def store(process: StoreProcess) -> StoreProcess:
    """Empty records."""
    await begin_anew(process)
    return process


def one_of_each(first: int = 1) -> list[Entry]:
    """Entries with and without payloads, tools and counters."""
    answer = chat_answer(("a", "search", "{}"), ("b", "read", "[1]"))
    counters = (("c:1.0:0", 1, 100, 70), ("c:2.0:acme/x:0", 2, 9, -3))
    request = request_event("r-1", SCOPE)
    response = response_event("r-1", SCOPE, 100, 70)
    return [
        entry(first, "budget_changed", b'{"scope":"acme","by":"cli"}'),
        entry(first + 1, "llm_request", request, reserved=100, output=5, body=b'{"messages":[]}'),
        entry(first + 2, "llm_response", response, counters=counters, body=answer),
        entry(first + 3, "reservation_expired", request, reserved=100),
        entry(first + 4, "step_failed", b"not json \xff"),
        entry(first + 5, "llm_response", b""),
    ]


def lines_of(events: bytes) -> list[list[Any]]:
    """The rows of a batch as they are inserted."""
    return [msgspec.json.decode(line) for line in events.split(b"\n")]


def test_the_same_entries_are_the_same_batch() -> None:
    """Packing is pure: whoever packs, and however often, gets the same bytes and the same token."""
    first, second = pack(ORG, BEFORE_ALL, one_of_each()), pack(ORG, BEFORE_ALL, one_of_each())
    assert first == second
    assert first.token == second.token == "acme-1-1-6"
    assert (first.first_seq, first.event_count) == (1, 6)
    bodies = sum(len(each.body) for each in one_of_each())
    assert first.payload_bytes == bodies


def test_two_batches_are_one_batch_in_two_pieces() -> None:
    """Where a batch is cut makes no difference to the rows and to the end of the chain."""
    whole = pack(ORG, BEFORE_ALL, one_of_each())
    for cut in range(1, 6):
        left = pack(ORG, BEFORE_ALL, one_of_each()[:cut])
        right = pack(ORG, left.head, one_of_each()[cut:])
        assert right.head == whole.head
        assert left.events + b"\n" + right.events == whole.events
        assert left.bodies + right.bodies == whole.bodies
        assert left.payload_bytes + right.payload_bytes == whole.payload_bytes


def test_the_chain_verifies_from_what_is_inserted() -> None:
    """Each event's hash is the link of the one before and of its own columns as they are written;
    derived rows have none and are not counted."""
    batch = pack(ORG, BEFORE_ALL, one_of_each())
    before, seqs = GENESIS, []
    for line in lines_of(batch.events):
        row = msgspec.convert(line[AFTER_DERIVED:], EventRow)
        if line[2]:
            assert line[:2] == ["", ""]
            continue
        assert line[1] == before
        assert line[0] == link(before, canonical(row))
        before = line[0]
        seqs.append(row.seq)
    assert seqs == [1, 2, 3, 4, 5, 6]
    assert batch.head == Head(1, 6, before, NOON_MS)


def test_rows_have_a_value_for_each_column() -> None:
    """As many values as columns are named, in every row."""
    statement = insert_events()
    named = statement[statement.index("(") + 1 : -1].split(", ")
    assert named == ["hash", "prev_hash", *DERIVED_COLUMNS, *COLUMNS]
    lines = lines_of(pack(ORG, BEFORE_ALL, one_of_each()).events)
    assert {len(line) for line in lines} == {len(named)}


def test_derived_rows_say_who_and_when_but_no_money() -> None:
    """`tool_called` rows are beside their event, at its seq, and add nothing to any sum."""
    lines = lines_of(pack(ORG, BEFORE_ALL, one_of_each()).events)
    derived = [line for line in lines if line[2]]
    assert [line[2:6] for line in derived] == [
        [1, "search", "a", "called"],
        [2, "read", "b", "called"],
    ]
    for line in derived:
        row = msgspec.convert(line[AFTER_DERIVED:], EventRow)
        assert (row.event_type, row.seq, row.scope) == ("tool_called", 3, SCOPE)
        assert (row.agent, row.request_id, row.time_ms) == ("writer", "r-1", NOON_MS)
        assert (row.reserved_nusd, row.charged_nusd, row.text_input, row.overrun) == (0, 0, 0, 0)
        assert row.counters == ()


@pytest.mark.parametrize(
    ("head", "epoch", "seq", "comes_next"),
    [
        ((0, 0), 1, 1, True),
        ((0, 0), 3, 1, True),
        ((0, 0), 1, 2, False),
        ((0, 0), 2, 7, True),  # recovered before anything was recorded
        ((0, 0), 2, 0, False),
        ((0, 0), 1, 0, False),
        ((1, 5), 1, 6, True),
        ((1, 5), 1, 7, False),
        ((1, 5), 1, 5, False),
        ((1, 5), 1, 1, False),
        ((1, 5), 2, 6, True),
        ((1, 5), 2, 900, True),
        ((1, 5), 3, 6, True),
        ((1, 5), 2, 5, False),
        ((1, 5), 2, 1, False),
        ((2, 5), 1, 6, False),
        ((2, 5), 1, 900, False),
    ],
)
def test_what_comes_next(head: tuple[int, int], epoch: int, seq: int, comes_next: bool) -> None:
    """In an epoch the next seq and no other; a later epoch goes on above; an earlier one never.
    Before all, the first event of all, or where a recovery goes on that found nothing."""
    assert follows(Head(*head, GENESIS, 0), epoch, seq) is comes_next
    entries = [entry(seq, epoch=epoch)]
    if comes_next:
        assert pack(ORG, Head(*head, GENESIS, 0), entries).head.seq == seq
    else:
        with pytest.raises(OutboxGap, match=rf"{ORG}.*{epoch}-{seq} .*{head[0]}-{head[1]}"):
            pack(ORG, Head(*head, GENESIS, 0), entries)


@given(st.integers(1, 5), st.sampled_from(("drop", "repeat", "swap")))
def test_a_gap_anywhere_in_a_batch_is_noticed(at: int, fault: str) -> None:
    """A lost, repeated or exchanged event: nothing is packed, nothing is skipped."""
    entries = one_of_each()
    if fault == "drop":
        del entries[at - 1]
        if at == 6:
            return
    elif fault == "repeat":
        entries.insert(at, entries[at])
    else:
        entries[at - 1], entries[at] = entries[at], entries[at - 1]
    with pytest.raises(OutboxGap):
        pack(ORG, BEFORE_ALL, entries)


def test_a_day_ends_at_midnight_utc() -> None:
    """The last millisecond of a day belongs to it, the next one does not."""
    times = (MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - 1, MIDNIGHT_MS + DAY_MS)
    entries = [entry(n, at_ms=at) for n, at in enumerate(times, 1)]
    assert same_day(entries) == entries[:1]
    assert same_day(entries[1:]) == entries[1:3]
    assert same_day(entries[3:]) == entries[3:]


TEXT = st.text(max_size=12)
COUNT = st.integers(0, 2**53)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    found = []
    for seq in range(1, draw(st.integers(1, 6)) + 1):
        written = {
            "scope": draw(TEXT),
            "agent": draw(TEXT),
            "model_served": draw(TEXT),
            "detail": draw(TEXT),
            "text_input": draw(COUNT),
            "charged_nusd": draw(st.integers(-(2**61), 2**61)),
            "status": draw(st.integers(0, 999)),
            "streamed": draw(st.booleans()),
        }
        counters = draw(
            st.lists(
                st.tuples(
                    TEXT,
                    st.integers(1, 4),
                    st.integers(0, 2**53),
                    st.integers(-(2**53), 2**53),
                ),
                max_size=3,
            )
        )
        event = draw(st.one_of(st.just(msgspec.json.encode(written)), st.binary(max_size=9)))
        found.append(
            entry(
                seq,
                draw(st.sampled_from(EVENT_TYPES)),
                event,
                counters=tuple(counters),
                output=draw(COUNT),
                body=draw(st.binary(max_size=9)),
            )
        )
    return found


def drawn_entries(count: int) -> list[list[Entry]]:
    """Examples of the strategy that an engine can be shown in one go."""
    seen: list[list[Entry]] = []

    @given(entries())
    def collect(drawn: list[Entry]) -> None:
        seen.append(drawn)

    collect()
    return seen[:count]


async def test_the_engine_keeps_what_was_hashed(store: StoreProcess) -> None:
    """Whatever texts and numbers are in a row, SQL gives back the row whose canonical text has the
    hash: so anyone can verify the chain from the database."""
    for number, drawn in enumerate(drawn_entries(60)):
        organisation = f"org-{number}"
        batch = pack(organisation, BEFORE_ALL, drawn)
        await store.write(batch)
        before = GENESIS
        found = await store.event_rows(organisation)
        expected = [rows_of(organisation, each).event for each in drawn]
        assert [row for _, _, row in found] == expected
        for hash_, prev_hash, row in found:
            assert prev_hash == before
            assert hash_ == link(before, canonical(row))
            before = hash_
        assert before == batch.head.hash


async def test_the_engine_takes_the_bounds_of_what_may_be_written(store: StoreProcess) -> None:
    """The largest and smallest numbers and the longest texts are stored as they are."""
    for sign in (1, -1):
        written = {
            "charged_nusd": sign * 2**61,
            "reserved_nusd": sign * 2**61,
            "text_input": 2**53,
            "attempt": 2**32 - 1,
            "workflow_version": 2**32 - 1,
            "status": 999,
            "overrun": True,
            "agent": "\U0001f600" * 4096,
            "step_id": "\x00\n\t\"\\'",
        }
        one = entry(1, "llm_response", msgspec.json.encode(written), epoch=2**31, output=2**53)
        await store.write(pack(f"org{sign}", BEFORE_ALL, [one]))
        ((_, _, row),) = await store.event_rows(f"org{sign}")
        assert row == rows_of(f"org{sign}", one).event
        assert row.charged_nusd == sign * 2**61


async def test_payloads_come_back_byte_for_byte(store: StoreProcess) -> None:
    """Text, bytes that are no text, each byte there is, lengths around each LEB128 digit and a
    mebibyte: as they were written, with who, when and which side. An empty payload has no row."""
    sizes = (1, 127, 128, 129, 16_383, 16_384, 2**20, 2**21)
    payloads = [b"", b"{}", b"\xff\xfe\x00", bytes(range(256)), b"\n", b"\\N"]
    payloads += [random.Random(size).randbytes(size) for size in sizes]
    event = response_event("r-1", SCOPE, 1, 1, endpoint="/v1/other")
    asked = request_event("r-2", SCOPE)
    given_ = [
        entry(n, "llm_request" if n % 2 else "llm_response", asked if n % 2 else event, body=body)
        for n, body in enumerate(payloads, 1)
    ]
    batch = pack(ORG, BEFORE_ALL, given_)
    assert batch.payload_bytes == sum(map(len, payloads))
    await store.write(batch)
    found = await store.rows(
        "SELECT seq, kind, request_id, toUnixTimestamp64Milli(time), length(body), "
        "lower(hex(SHA256(body))) FROM comptroller.bodies WHERE org = {org:String} ORDER BY seq",
        org=ORG,
    )
    assert found == [
        [
            *(n, "request" if n % 2 else "response", "r-2" if n % 2 else "r-1"),
            *(NOON_MS, len(body), hashlib.sha256(body).hexdigest()),
        ]
        for n, body in enumerate(payloads, 1)
        if body
    ]
    hashes = await store.rows(
        "SELECT if(request_sha256 = '', response_sha256, request_sha256) FROM comptroller.events "
        "WHERE part = 0 AND request_bytes + text_input >= 0 ORDER BY seq"
    )
    assert [each for (each,) in hashes][1:] == [each[5] for each in found]


async def test_a_batch_that_is_written_twice_is_there_once(store: StoreProcess) -> None:
    """The token: a recorder that was paused and wakes up writes the identical block, in vain."""
    batch = pack(ORG, BEFORE_ALL, one_of_each())
    await store.write(batch)
    await store.write(pack(ORG, BEFORE_ALL, one_of_each()))
    assert await store.rows("SELECT count(), countIf(part = 0) FROM comptroller.events") == [[8, 6]]
    assert await store.rows("SELECT count() FROM comptroller.bodies FINAL") == [[2]]


async def test_a_batch_is_one_part_of_one_day(store: StoreProcess) -> None:
    """One insert makes one part: all of it is there or nothing."""
    many = [entry(n, event=response_event(f"r-{n}", SCOPE, 1, 1)) for n in range(1, 5001)]
    await store.write(pack(ORG, BEFORE_ALL, many))
    parts = await store.rows(
        "SELECT partition, rows, min_block_number = max_block_number AND level = 0 "
        "FROM system.parts WHERE database = 'comptroller' AND table = 'events' AND active"
    )
    assert parts == [["20270310", 5000, 1]]


async def test_tools_stand_beside_the_chain(store: StoreProcess) -> None:
    """In SQL: tool rows have a part of their own and no hash, and sums over part 0 miss nothing."""
    await store.write(pack(ORG, BEFORE_ALL, one_of_each()))
    assert await store.rows(
        "SELECT seq, part, hash, tool_name, tool_state, tool_bytes, agent "
        "FROM comptroller.events WHERE event_type = 'tool_called' ORDER BY part"
    ) == [
        [3, 1, "", "search", "called", 2, "writer"],
        [3, 2, "", "read", "called", 3, "writer"],
    ]


def test_a_batch_is_the_same_in_another_process() -> None:
    """No hash seed, no order of a set: what a recorder that starts again packs is identical."""
    code = (
        "import hashlib\n"
        "from tests.recorder.test_packing import *\n"
        "batch = pack(ORG, BEFORE_ALL, one_of_each())\n"
        "print(hashlib.sha256(batch.events + batch.bodies).hexdigest(), batch.head.hash)"
    )
    batch = pack(ORG, BEFORE_ALL, one_of_each())
    expected = f"{hashlib.sha256(batch.events + batch.bodies).hexdigest()} {batch.head.hash}"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # ours is drawn, or another
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert said.strip() == expected
