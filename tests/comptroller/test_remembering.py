"""The ledger's memory: what the records' answer means, and how questions go together."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from budgets.memory import MemoryAway
from clickhouse.errors import StoreUnavailable
from clickhouse.query import load_query
from comptroller.remembering import RecordsMemory

FIELD, OTHER = "c:1.0:acme/run:0", "c:1.0:acme/other:0"
Row = tuple[str, str, int, int, int, str]


class Records:
    """Records that answer these rows, once they are let; `place` is that of their snapshot."""

    def __init__(self, *rows: Row, place: int = 10) -> None:
        self.rows = rows
        self.place = place
        self.asked: list[Mapping[str, str | int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fails: list[Exception] = []

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """See comptroller.remembering.Select."""
        await self.open.wait()
        if query == load_query("snapshot_place"):
            return json.dumps([self.place]).encode()
        self.asked.append(parameters)
        if self.fails:
            raise self.fails.pop(0)
        return "\n".join(json.dumps(row) for row in self.rows).encode()


def log(seq: int, *late: tuple[str, int, int, int]) -> Row:
    """What the log says between snapshot and the event that must be there."""
    return "log", "", 0, seq, 0, json.dumps(late)


async def test_late_truth_is_added_where_the_balance_does_not_have_it() -> None:
    """A balance may be newer than the snapshot that was asked for: each event counts once."""
    late = ((FIELD, 1, 9, 5), (FIELD, 1, 11, 7), (FIELD, 1, 12, -4), (OTHER, 1, 12, 3))
    records = Records(("spent", FIELD, 1, 11, 100, ""), log(12, *late))
    found = await RecordsMemory(records.select).remembered("acme", 12, fields=(FIELD, OTHER))
    assert found is not None
    assert found.spent == {FIELD: 96, OTHER: 3}
    assert (records.asked[0]["after_seq"], records.asked[0]["through_seq"]) == (10, 12)


@pytest.mark.parametrize(
    ("place", "last", "is_there"), [(10, 11, False), (10, 12, True), (12, 0, True)]
)
async def test_records_that_are_behind_say_nothing(place: int, last: int, is_there: bool) -> None:
    """The event must be in the log that was read, or before the snapshot."""
    records = Records(log(last), place=place)
    found = await RecordsMemory(records.select).remembered("acme", 12, fields=(FIELD,))
    assert (found is not None) == is_there


async def test_what_stands_is_told_and_what_is_gone_is_not() -> None:
    """Of scopes, policies and keys: an empty text is none."""
    rows: list[Row] = [
        ("scope", "acme/run", 0, 0, 0, "3 7 0"),
        ("policy", "acme/run", 0, 0, 0, "{}"),
        ("key", "key-1", 0, 0, 0, ""),
        log(12),
    ]
    found = await RecordsMemory(Records(*rows).select).remembered("acme", 5)
    assert found is not None
    assert (found.scopes, found.policies, found.keys) == (
        {"acme/run": "3 7 0"},
        {"acme/run": "{}"},
        {},
    )


async def test_questions_that_come_together_go_together() -> None:
    """Those that come while one is under way, for each organisation apart, as far as the furthest
    wants; each name once."""
    records = Records(log(99))
    memory = RecordsMemory(records.select)
    records.open.clear()
    asking = [asyncio.ensure_future(memory.remembered("acme", 11, scopes=("acme/first",)))]
    await asyncio.sleep(0)
    asking += (
        asyncio.ensure_future(memory.remembered("acme", 20 + n, scopes=("acme/a", f"acme/{n}")))
        for n in range(50)
    )
    await asyncio.sleep(0)
    records.open.set()
    await asyncio.gather(*asking, memory.remembered("globex", 11))
    ours = [each for each in records.asked if each["org"] == "acme"]
    assert len(ours) == 2
    assert ours[1]["through_seq"] == 69
    assert str(ours[1]["scopes"]).count("'acme/a'") == 1


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KeyError("an answer that is none")])
async def test_whoever_waits_is_told_of_a_failure(error: Exception) -> None:
    """Whatever it is; the next question is asked anew, and one who has gone is not waited for."""
    records = Records(log(99))
    memory = RecordsMemory(records.select)
    records.fails.append(error)
    records.open.clear()
    gone = asyncio.ensure_future(memory.remembered("acme", 11))
    staying = asyncio.ensure_future(memory.remembered("acme", 11))
    await asyncio.sleep(0)
    gone.cancel()
    records.open.set()
    with pytest.raises(MemoryAway):
        await staying
    assert await memory.remembered("acme", 11) is not None
