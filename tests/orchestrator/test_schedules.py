"""A schedule is due at the times that Debian's cron knows, in its time zone, each once; what is no
schedule says which field is wrong and what it may be."""

from datetime import datetime
from itertools import islice

import pytest

from orchestrator.schedules import CRON_CHARS_MAX, DAY_MS, ScheduleInvalid, timetable

BERLIN = "Europe/Berlin"


def ms(text: str) -> int:
    """Of a time in UTC."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def due(cron: str, after: str, count: int = 3, zone: str = BERLIN) -> list[int]:
    """The next times."""
    return [*islice(timetable(cron, zone)._all_after(ms(after)), count)]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # What the clock skips (02:00 to 03:00 of 29 March) is due when it goes on, and once.
        ("30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("30 * * * *", "2026-03-29 00:00", ["2026-03-29 00:30", "2026-03-29 01:30"]),
        ("*/20 * * * *", "2026-03-29 00:30", ["2026-03-29 00:40", "2026-03-29 01:00"]),
        # What comes twice (02:00 to 03:00 of 25 October) is due once, every hour in both.
        ("30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("30 * * * *", "2026-10-25 00:00", ["2026-10-25 00:30", "2026-10-25 01:30"]),
        ("30 2 * * *", "2026-10-25 01:10", ["2026-10-26 01:30", "2026-10-27 01:30"]),
    ],
)
def test_clocks_that_change(cron: str, after: str, expected: list[str]) -> None:
    assert due(cron, after, 2) == [ms(each) for each in expected]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 29 2 *", "2026-01-01", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 0 L * *", "2028-01-31 12:00", ["2028-02-29", "2028-03-31", "2028-04-30"]),
        ("0 9 * * MON-FRI", "2026-11-27 10:00", ["2026-11-30 09:00", "2026-12-01 09:00"]),
        ("0 0 13 * 5", "2026-11-07", ["2026-11-13", "2026-11-20", "2026-11-27"]),
        ("0  9  *  *  mon#1", "2026-11-10", ["2026-12-07 09:00"]),
        ("* * * * *", "2026-01-01 00:00:30.500", ["2026-01-01 00:01", "2026-01-01 00:02"]),
    ],
)
def test_days_and_times(cron: str, after: str, expected: list[str]) -> None:
    """Day of the month and of the week: either, where both are named."""
    assert due(cron, after, len(expected), "UTC") == [ms(each) for each in expected]


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", ["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 1,2 * * SUN"])
def test_the_last_of_what_was_missed_is_the_last(cron: str, zone: str) -> None:
    """For any time until which nobody looked, also where clocks change."""
    times = timetable(cron, zone)
    for start in ("2026-03-07 06:00", "2026-03-28 12:00", "2026-10-24 12:00", "2026-04-04 10:00"):
        first = times.after(ms(start))
        assert first is not None
        for hours in (0, 1, 13, 14, 30, 24 * 40):
            now_ms = first + hours * 3_600_000 + 1
            last = times.last(first, now_ms)
            following = times.after(last)
            assert first <= last <= now_ms
            assert following is not None
            assert following > now_ms


def test_what_was_missed_for_years_is_found_at_once() -> None:
    """Without a look at each of its minutes."""
    times, began = timetable("* * * * *", BERLIN), ms("2000-01-01")
    assert times.last(began, began + 9_000 * DAY_MS + 1) == began + 9_000 * DAY_MS


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("60 * * * *", "minute is '60', and may be 0-59"),
        ("* 24 * * *", "hour is '24', and may be 0-23"),
        ("* * 0 * *", r"day-of-month is '0', and may be 1-31, L .*\*/10"),
        ("0 0 31 4 *", "day-of-month is '31', .*of a month that has it"),
        ("* * * FEBRUARY *", "month is 'FEBRUARY', and may be 1-12 or JAN-DEC"),
        ("* * * * 8", "day-of-week is '8', and may be 0-7"),
        ("5-1 * * * *", "minute is '5-1'"),
        ("*/0 * * * *", "minute is '\\*/0'"),
        ("", "five fields: minute, hour, day-of-month, month, day-of-week"),
        ("@daily", "is not five fields"),
        ("0 * * * * *", "is not five fields"),
        (f"{'0,' * CRON_CHARS_MAX}0 * * * *", "is not five fields"),
    ],
)
def test_what_is_no_cron_names_its_field(cron: str, words: str) -> None:
    with pytest.raises(ScheduleInvalid, match=words) as invalid:
        timetable(cron, "UTC")
    assert invalid.value.field == "cron"
    assert len(str(invalid.value)) < 400


@pytest.mark.parametrize("zone", ["", "Europe/Atlantis", "../etc/passwd", "Europe", "x" * 1_000])
def test_a_time_zone_has_a_name(zone: str) -> None:
    with pytest.raises(ScheduleInvalid, match="UTC, or a name as Europe/Berlin") as invalid:
        timetable("* * * * *", zone)
    assert invalid.value.field == "zone"
