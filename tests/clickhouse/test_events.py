"""Columns, the writer's part of an event, and the canonical text."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.chain import GENESIS, link
from clickhouse.events import (
    CHARGING_TYPES,
    COLUMNS,
    DERIVED_COLUMNS,
    EVENT_TYPES,
    FIRST_COLUMNS,
    LATER_COLUMNS,
    EventRow,
    WrittenEvent,
    canonical,
    decode_written,
    whole,
)
from gateway.events import RequestEvent, ResponseEvent

_COLUMN = re.compile(r"^    (\w+) +(\S+(?: '\w+'\))?)", re.MULTILINE)
_ADDED = re.compile(r"ADD COLUMN IF NOT EXISTS (\w+) +(\S+)")
_RANGES = {
    "UInt8": (0, 2**8 - 1),
    "UInt16": (0, 2**16 - 1),
    "UInt32": (0, 2**32 - 1),
    "UInt64": (0, 2**64 - 1),
    "Int64": (-(2**63), 2**63 - 1),
    "Nullable(Int64)": (-(2**63), 2**63 - 1),
}
KNOWN_HASH = "e3823b3060ee99431d265dbbf03fdf2d5ddf648bb750d7c891f3695a54a1d348"
# Providers say these, at any length: refusing them would refuse the whole event.
_CUT_BY_THE_RECORDER = {"model_served", "finish_reason", "error", "service_tier"}
# Of the ledger's own: Redis stream ids and Lua's exact integers.
_OF_THE_LEDGER = {"epoch": 2**31, "seq": 2**53, "output_tokens_max": 2**53}


def table_columns() -> dict[str, str]:
    """Columns of the log with their types, from the migrations' texts."""
    folder = resources.files("clickhouse") / "migrations"
    text = (folder / "0001_events.sql").read_text("utf-8")
    table = text[text.index("(\n") : text.index("INDEX")]
    added = (folder / "0014_meters.sql").read_text("utf-8")
    return dict([*_COLUMN.findall(table), *_ADDED.findall(added)])


def kinds_of(annotated: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, bool]:
    """A field's type where it says anything, and whether it may say nothing."""
    if not isinstance(annotated, msgspec.inspect.UnionType):
        return annotated, False
    kind, nothing = annotated.types
    assert isinstance(nothing, msgspec.inspect.NoneType)
    return kind, True


def bounds_of(annotated: msgspec.inspect.Type) -> tuple[int, int]:
    """(least, most) that a writer's number can be."""
    if isinstance(annotated, msgspec.inspect.BoolType):
        return 0, 1
    assert isinstance(annotated, msgspec.inspect.IntType)
    assert annotated.ge is not None
    assert annotated.le is not None
    return int(annotated.ge), int(annotated.le)


def written_types() -> dict[str, msgspec.inspect.Type]:
    """The types of the writer's fields."""
    info = msgspec.inspect.type_info(WrittenEvent)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: field.type for field in info.fields}


def test_the_table_has_the_chained_columns_in_the_row_s_order() -> None:
    """Hash, derived columns, then exactly EventRow's fields in their order; `time` is made of
    `time_ms`, which is not stored."""
    names = [name for name in table_columns() if name != "time"]
    assert tuple(names) == ("hash", "prev_hash", *DERIVED_COLUMNS, *COLUMNS)
    assert tuple(names).index("org") == names.index(COLUMNS[0])


def test_columns_hold_whatever_a_writer_may_say() -> None:
    """Each number's bounds lie inside its column's type; each text has a text column."""
    columns = table_columns()
    checked = 0
    for name, said in written_types().items():
        if name == "body_sha256":
            assert columns["request_sha256"] == columns["response_sha256"] == "String"
            continue
        kind = columns[name]
        annotated, may_be_null = kinds_of(said)
        assert may_be_null == kind.startswith("Nullable("), name
        if isinstance(annotated, msgspec.inspect.StrType):
            assert kind in ("String", "LowCardinality(String)"), name
            assert annotated.max_length == (None if name in _CUT_BY_THE_RECORDER else 4096), name
            continue
        least, most = _RANGES[kind]
        low, high = bounds_of(annotated)
        assert least <= low <= high <= most, name
        checked += 1
    assert checked > 20
    for name, highest in _OF_THE_LEDGER.items():
        assert highest <= _RANGES[columns[name]][1], name


def test_every_field_of_a_row_has_a_column_of_its_kind() -> None:
    """Numbers are number columns, texts are text columns."""
    columns = table_columns()
    info = msgspec.inspect.type_info(EventRow)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        kind = columns[field.name]
        annotated, may_be_null = kinds_of(field.type)
        assert may_be_null == kind.startswith("Nullable("), field.name
        if isinstance(annotated, msgspec.inspect.IntType):
            assert kind in _RANGES, field.name
        elif isinstance(annotated, msgspec.inspect.StrType):
            assert kind in ("String", "LowCardinality(String)"), field.name
        else:
            assert field.name == "counters"


def distinct(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """A value of its own for each field, never the default."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    values: dict[str, Any] = {}
    for number, field in enumerate(info.fields, 101):
        if field.name == "payload_state":
            values[field.name] = "redacted"
        elif isinstance(field.type, msgspec.inspect.BoolType):
            values[field.name] = True
        elif isinstance(kinds_of(field.type)[0], msgspec.inspect.IntType):
            values[field.name] = number
        else:
            values[field.name] = f"text-{number}"
    return values


@pytest.mark.parametrize("struct", [RequestEvent, ResponseEvent])
def test_nothing_that_the_gateway_says_of_a_call_is_lost(struct: type[msgspec.Struct]) -> None:
    """Every field of its events is a field of WrittenEvent under the same name, with its value: of
    a call, nothing else is kept."""
    values = distinct(struct)
    written = decode_written(msgspec.json.encode(struct(**values)))
    assert {name: getattr(written, name) for name in values} == values


def test_every_field_of_the_writer_has_a_column() -> None:
    """What a writer may say ends in the column of its name; the hash of a body in its side's."""
    assert set(written_types()) - set(COLUMNS) == {"body_sha256"}


def test_what_the_ledger_and_gateway_write_are_known_types() -> None:
    """Each type that a script appends is one of EVENT_TYPES; those that charge are too."""
    scripts = Path(str(resources.files("budgets"))) / "lua"
    texts = [path.read_text("utf-8") for path in scripts.rglob("*.lua")]
    kinds = {kind for text in texts for kind in re.findall(r"append_event\('(\w+)'", text)}
    kinds |= {kind for text in texts for kind in re.findall(r"\bkind\b.*= .*'([a-z_]+)'", text)}
    assert {"llm_request", "llm_response", "reservation_expired", "correction"} <= kinds
    assert kinds <= set(EVENT_TYPES)
    assert set(CHARGING_TYPES) <= set(EVENT_TYPES)
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)


def test_the_canonical_text_is_pinned() -> None:
    """The text that the chain hashes is a JSON array without spaces, of the columns in order: once
    released, it never changes for a row that was written."""
    row = EventRow(
        "acme", 1, 2, 3, "correction", "r", scope='é\n"', counters=(("c:1.0:0", 1, -5, 7),)
    )
    rest = (
        '"","é\\n\\"","","",0,"","",0,"","","","","","","","","",0,0,"",""'
        ",0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"
        ',"","",0,0,0,0,0,0,0,"","","","",[["c:1.0:0",1,-5,7]],""'
    )
    text = canonical(row).decode()
    assert len(msgspec.json.decode(text)) == FIRST_COLUMNS == 57
    assert text == f'["acme",1,2,3,"correction","r",{rest}]'
    tiered = msgspec.structs.replace(row, service_tier="flex", pages=2)
    later = f'["acme",1,2,3,"correction","r",{rest},0,0,0,0,2,0,"flex"]'
    assert canonical(tiered).decode() == later


def test_the_hash_of_an_event_from_before_the_later_columns_is_pinned() -> None:
    """One that the first version has written, text and hash taken from it: a change of what is left
    out, or of an empty value, breaks every log there is."""
    text = (
        b'["acme",1,2,1795000000000,"llm_response","r-1","","acme/p","p","",0,"","",0,"","key-1",'
        b'"","","/v1/chat/completions","openai","small","small-1","",0,200,"stop","",7,3,0,0,0,0,'
        b'5,2,0,0,0,0,0,100,40,"p1","provider",0,0,0,12,0,0,0,"","","","",[["c:1.0:0",1,100,40]],'
        b'""]'
    )
    row = msgspec.json.decode(text, type=EventRow)
    assert (row.service_tier, row.reported_nusd) == ("", None)
    assert canonical(row) == text
    assert link(GENESIS, text) == KNOWN_HASH
    assert link(GENESIS, canonical(msgspec.structs.replace(row, computed_nusd=0))) != KNOWN_HASH


def test_the_canonical_text_is_the_row_and_nothing_else() -> None:
    """Equal rows have equal texts, the text reads back as the row, and a change of any field
    changes it."""
    row = EventRow("acme", 1, 2, 3, "correction", "r")
    assert canonical(row) == canonical(EventRow("acme", 1, 2, 3, "correction", "r"))
    assert msgspec.json.decode(canonical(row), type=EventRow) == row
    seen = {canonical(row)}
    for name in COLUMNS:
        value = getattr(row, name)
        other: Any = (("c", 1, 2, 3),) if name == "counters" else 0
        if name != "counters" and value is not None:
            other = value + type(value)("1")
        seen.add(canonical(msgspec.structs.replace(row, **{name: other})))
    assert len(seen) == len(COLUMNS) + 1


@given(st.data())
def test_later_columns_are_left_out_at_the_end_only(data: st.DataObject) -> None:
    """Whatever stands in them and before: the text is `whole` without the empty ones at its end,
    reads back as the same row, and no text of a value is taken for the end."""
    tricky = st.sampled_from(["", ",0", ',""', "null", ",null,null", '\\"', "0", '",0,0'])
    numbers = st.sampled_from([0, 10, 100])
    values: dict[str, Any] = {
        name: data.draw(
            tricky
            if name == "service_tier"
            else numbers | st.none()
            if name.endswith("_nusd")
            else numbers
        )
        for name in LATER_COLUMNS
    }
    row = EventRow("acme", 1, 2, 3, "llm_response", "r", detail=data.draw(tricky), **values)
    text = canonical(row)
    assert msgspec.json.decode(text, type=EventRow) == row
    said, everything = msgspec.json.decode(text), msgspec.json.decode(whole(row))
    assert everything[: len(said)] == said
    empty = msgspec.structs.astuple(EventRow("", 1, 1, 1, "", ""))
    assert everything[len(said) :] == list(empty[len(said) :])
    assert len(said) == FIRST_COLUMNS or said[-1] != empty[len(said) - 1]


def test_an_event_that_nobody_wrote_is_empty() -> None:
    """No bytes are an event without anything said."""
    assert decode_written(b"") == WrittenEvent() == decode_written(b"{}")


@pytest.mark.parametrize(
    "event",
    [
        b'{"charged_nusd": 2305843009213693953}',
        b'{"charged_nusd": -2305843009213693953}',
        b'{"text_input": -1}',
        b'{"text_input": 9007199254740993}',
        b'{"attempt": 4294967296}',
        b'{"status": 1000}',
        b'{"scope": "%b"}' % (b"x" * 4097),
        b'{"streamed": 2}',
        b'{"text_input": 1.5}',
        b'{"text_input": "1"}',
        b"[]",
        b"{",
    ],
)
def test_what_no_column_can_hold_is_refused(event: bytes) -> None:
    """Beyond a bound, or of another type: refused as a whole, never cut or wrapped."""
    with pytest.raises(msgspec.MsgspecError):
        decode_written(event)
