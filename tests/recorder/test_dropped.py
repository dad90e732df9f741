"""What retention has dropped is known outside the database, and only that."""

from datetime import UTC, datetime
from pathlib import Path

from recorder.dropped import kept_since_ms, note_dropped


def test_nothing_was_dropped_until_it_is_noted(tmp_path: Path) -> None:
    """Without a note every missing beginning is somebody's doing."""
    assert kept_since_ms(tmp_path) == 0


def test_all_is_kept_from_the_day_after_the_last_that_was_noted(tmp_path: Path) -> None:
    """Midnight (UTC) after the latest day, also over the end of a year; an earlier day that is
    noted later, and the same one again, change nothing."""
    midnight = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for day in (20261230, 20261231, 20261231, 20261001):
        note_dropped(tmp_path, day)
    assert kept_since_ms(tmp_path) == midnight
    note_dropped(tmp_path, 20270101)
    assert kept_since_ms(tmp_path) == midnight + 86_400_000
    assert [each.name for each in tmp_path.iterdir()] == ["dropped"]
