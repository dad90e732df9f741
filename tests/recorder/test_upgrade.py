"""Records of a version without the later columns: their hashes hold, their sums stay, and the log
goes on from them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from clickhouse.events import COLUMNS, FIRST_COLUMNS, canonical
from clickhouse.migrate import _NOTE, Layout, load_migrations, migrate
from recorder.batch import Batch, Head
from recorder.packing import insert_events
from recorder.spool import _decode
from recorder.verification import verify
from recorder.writer import Writer
from tests.recorder.chains import KEY, Chained, chained, checked, event, evidence, signed
from tests.recorder.test_verification import pages
from tests.recorder.workbench import StoreProcess

WITHOUT = 14
"""Migrations of the last version that had no later columns."""
KEY_HEX = KEY.public_hex
SUMS = (
    "SELECT sum(charged_nusd), sum(input_tokens), sum(requests) FROM comptroller.usage",
    "SELECT sum(charged_nusd), sum(text_input), sum(events) FROM comptroller.spend_hourly",
    "SELECT sum(charged_nusd), sum(text_input), sum(events) FROM comptroller.spend_daily",
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    """As that version made it."""
    made = StoreProcess(tmp_path)
    await made.command("CREATE DATABASE IF NOT EXISTS comptroller")
    for each in load_migrations()[:WITHOUT]:
        await made.command(each.statement(Layout(fsync=False)))
        note = json.dumps([each.number, each.name, each.checksum]).encode()
        await made.insert(_NOTE, note, f"migration-{each.number}")
    yield made
    made.stop()


def lines(log: list[Chained]) -> bytes:
    """As that version inserted them: the text of the chain, whole."""
    beside = '["%s","%s",0,"","","",0,"",'
    rows = [
        (beside % (each.hash, each.prev_hash)).encode() + canonical(each.event)[1:] for each in log
    ]
    return b"\n".join(rows)


def spooled(log: list[Chained]) -> Batch:
    """A batch that it left on the disk while the records were away, read by this version."""
    first, last = log[0].event, log[-1].event
    head = Head(last.epoch, last.seq, log[-1].hash, last.time_ms)
    said = msgspec.to_builtins(Batch("acme", first.seq, head, b"", b"", 0))
    del said["column_count"]
    return _decode(
        msgspec.msgpack.encode({**said, "events": lines(log), "bodies": b"", "states": b""})
    )


async def test_a_log_goes_on_over_an_upgrade(store: StoreProcess) -> None:
    """Rows that are there, a batch that waited on the disk, and events with every later column:
    one chain, right for both verifiers, and in all sums once."""
    before = [event(1, seq) for seq in range(1, 7)]
    later = [
        event(1, 7, service_tier="flex", video_input=1_000, image_output=5),
        event(1, 8, reported_nusd=0, computed_nusd=7, pages=3),
        event(1, 9),
    ]
    log = chained([*before, *later])
    await store.insert(insert_events(FIRST_COLUMNS), lines(log[:3]), "of before")
    said = [await store.rows(each) for each in SUMS]
    assert await migrate(store, Layout(fsync=False)) == len(load_migrations()) - WITHOUT
    assert [await store.rows(each) for each in SUMS] == said
    await Writer(store).write(spooled(log[3:6]), doubt=False)
    rows = [
        json.dumps([each.hash, each.prev_hash, 0, "", "", "", 0, "", *msgspec.structs.astuple(row)])
        for each in log[6:]
        for row in (each.event,)
    ]
    await store.insert(insert_events(), "\n".join(rows).encode(), "of now")
    heads = signed(log, [len(log) - 1])
    verdict = verify(await pages(store, 4), heads, KEY_HEX)
    assert verdict.ok, verdict.message
    assert verdict.events == len(log)
    assert checked(evidence(log, heads)).startswith("RIGHT: 9 events")
    charged_nusd = sum(each.event.charged_nusd for each in log)
    text_input = sum(each.event.text_input for each in log)
    expected = [[charged_nusd, text_input, 9]]
    assert [await store.rows(each) for each in SUMS[1:]] == [expected, expected]
    assert await store.rows(SUMS[0]) == [[charged_nusd, text_input + 1_000, 9]]


def test_a_batch_of_this_version_says_how_wide_it_is() -> None:
    """What it has left on the disk is read by it as it was; without a word it is of the first
    width."""
    batch = Batch("acme", 1, Head(1, 1, "", 1), b"", b"", 0, column_count=len(COLUMNS))
    assert _decode(msgspec.msgpack.encode(batch)) == batch
    assert spooled(chained([event(1, 1)])).column_count == FIRST_COLUMNS
