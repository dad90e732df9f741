"""A data dir of an earlier version: its records are brought up to date and read."""

import json
import time
from pathlib import Path

from clickhouse.migrate import _NOTE, Layout, load_migrations
from tests.comptroller.commands.commanding import comptroller
from tests.gateway.processes import comptroller_up
from tests.recorder.workbench import StoreProcess

FIRST = 2  # the notes and the log, as the first version had them
_ROWS = "INSERT INTO comptroller.events (org, epoch, seq, time_ms, event_type, charged_nusd)"
_ASKED = "SELECT sum(charged_nusd), sum(requests) FROM usage WHERE org = 'old'"


async def test_old_records_are_migrated_and_read(folder: Path) -> None:
    """Only the first migrations were applied and some rows are there: `up` applies the rest, the
    rows are in views that did not exist then, and the next start has nothing to do."""
    store = StoreProcess(folder / "data" / "records")
    await _first_version(store)
    now_ms = time.time_ns() // 10**6
    rows = [["old", 1, n, now_ms - n, "llm_response", 1000 * n] for n in range(1, 6)]
    await store.insert(_ROWS, b"\n".join(json.dumps(each).encode() for each in rows), "rows")
    store.stop()
    where = ("--data-dir", str(folder / "data"))
    for _ in range(2):
        async with comptroller_up(folder, record=True):
            asked = await comptroller("sql", _ASKED, "--format", "TSV", *where)
            assert asked.out == "15000\t5\n", asked.err
            noted = await comptroller(
                *("sql", "SELECT count() FROM events WHERE org = 'old' AND by != 'recorder'"),
                *("--format", "TSV", *where),
            )
            assert noted.out == "5\n"
    assert (folder / "data" / "format").read_text() == "1"


async def _first_version(store: StoreProcess) -> None:
    layout = Layout()
    await store.command("CREATE DATABASE IF NOT EXISTS comptroller")
    for each in load_migrations()[:FIRST]:
        await store.command(each.statement(layout))
        note = json.dumps([each.number, each.name, each.checksum]).encode()
        await store.insert(_NOTE, note, f"migration-{each.number}")
