"""Times are those of the database, however wrong an executor's own clock is."""

from pathlib import Path

import pytest

from orchestrator.running import sqlite
from orchestrator.running.clocks import STEP_MS, SharedClock
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import sqlite_at
from tests.orchestrator.running.workshop import workshop


@pytest.mark.parametrize("off_ms", [60_000, -60_000])
async def test_a_run_wakes_in_time_where_the_clock_is_a_minute_off(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_ms: int
) -> None:
    """And is begun twice for it, not all the time in between."""
    now_ms = sqlite.SqliteDatabase.now_ms
    monkeypatch.setattr(sqlite.SqliteDatabase, "now_ms", lambda self: now_ms(self) + off_ms)
    async with workshop(stack, sqlite_at(tmp_path), tmp_path) as shop:
        run = await shop.submit({"id": "a", "sleep": "1s"})
        assert await shop.ended(run) == "done"
        ((epoch, took_ms),) = await shop.rows("select epoch, ended_ms - created_ms from runs")
        assert int(str(epoch)) <= 4
        assert 1_000 <= int(str(took_ms)) < 5_000


class _Own:
    """A clock that stands still."""

    def now_ms(self) -> int:
        """Ms since 1970."""
        return 10_000


def test_a_shared_clock_is_never_behind_what_it_heard() -> None:
    """It does not go back for an answer that was slow; it does where the database's was set."""
    clock = SharedClock(_Own())
    assert clock.now_ms() == 10_000
    for heard, expected in ((9_000, 9_000), (9_300, 9_300), (9_100, 9_300), (70_000, 70_000)):
        clock.heard(heard)
        assert clock.now_ms() == expected
    clock.heard(70_000 - STEP_MS - 1)
    assert clock.now_ms() == 70_000 - STEP_MS - 1
