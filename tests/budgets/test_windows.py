"""Windows against the calendar: UTC, weeks from Monday, months of their own length."""

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from budgets.policy import WINDOWS, Window
from budgets.windows import window_bounds
from tests.budgets.contract import window_at

PERIODS: tuple[Window, ...] = ("minute", "hour", "day", "week", "month")
END_MS = 4_102_444_800_000  # the year 2100, which is no leap year


def at(text: str) -> int:
    """Seconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("window", "moment", "start", "end"),
    [
        ("minute", "2026-11-24T21:30:59.999", "2026-11-24T21:30:00", "2026-11-24T21:31:00"),
        ("hour", "2026-11-24T21:30:59", "2026-11-24T21:00:00", "2026-11-24T22:00:00"),
        ("day", "2026-11-24T21:30:59", "2026-11-24", "2026-11-25"),
        ("week", "2026-11-24T21:30:59", "2026-11-23", "2026-11-30"),  # a Tuesday
        ("week", "2026-11-23T00:00:00", "2026-11-23", "2026-11-30"),  # its Monday
        ("week", "2026-11-29T23:59:59.999", "2026-11-23", "2026-11-30"),  # its Sunday
        ("week", "2027-01-01T12:00:00", "2026-12-28", "2027-01-04"),  # over the year's end
        ("month", "2026-12-31T23:59:59.999", "2026-12-01", "2027-01-01"),
        ("month", "2027-02-28T12:00:00", "2027-02-01", "2027-03-01"),
        ("month", "2028-02-29T00:00:00", "2028-02-01", "2028-03-01"),  # a leap day
        ("month", "2100-02-28T23:59:59", "2100-02-01", "2100-03-01"),  # not a leap year
        ("month", "2026-03-31T00:00:00", "2026-03-01", "2026-04-01"),
    ],
)
def test_known_windows(window: Window, moment: str, start: str, end: str) -> None:
    """Edges that calendars get wrong."""
    at_ms = round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    assert window_bounds(window, at_ms) == (at(start), at(end))


def test_a_total_has_no_window() -> None:
    """(0, 0) stands for always."""
    assert window_bounds("total", 1_795_555_555_555) == (0, 0)
    assert set(WINDOWS) == {"total", *PERIODS}


@given(window=st.sampled_from(PERIODS), at_ms=st.integers(0, END_MS))
@example(window="month", at_ms=at("2028-02-29T23:59:59") * 1000 + 999)
@settings(max_examples=500, deadline=None, database=None)
def test_windows_are_those_of_the_calendar(window: Window, at_ms: int) -> None:
    """For any time: the window holds it, begins where the calendar's unit begins, and meets the
    next one without a gap or an overlap."""
    start_s, end_s = window_bounds(window, at_ms)
    assert start_s * 1000 <= at_ms < end_s * 1000
    assert (start_s, end_s) == window_at(window, at_ms)
    assert window_bounds(window, start_s * 1000) == (start_s, end_s)
    assert window_bounds(window, end_s * 1000 - 1) == (start_s, end_s)
    assert window_bounds(window, end_s * 1000)[0] == end_s
    first = datetime.fromtimestamp(start_s, UTC)
    assert first.second == first.microsecond == 0
    assert window in ("minute", "hour") or first.hour == first.minute == 0
    assert window != "week" or (first.isoweekday(), end_s - start_s) == (1, 7 * 86_400)
    assert window != "month" or first.day == (first + timedelta(days=31)).replace(day=1).day == 1
