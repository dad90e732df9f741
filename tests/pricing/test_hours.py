"""Cheaper hours: the windows of a price file, to the minute, and no clock."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.hours import OffPeak, read_windows
from pricing.rates import PriceInvalid

# DeepSeek's, as LiteLLM writes them: the complement of 01:00-04:00 and 06:00-10:00 on weekdays.
WEEKDAYS = {
    "hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"],
    "weekdays": [1, 2, 3, 4, 5],
}
WEEKEND = {"hours_utc": "00:00-00:00", "weekdays": [6, 7]}


def holds(at: str, windows: list[Any], **more: object) -> bool:
    read, zone = read_windows({"windows": windows, **more})
    moment = datetime.fromisoformat(at)
    return OffPeak((), read, zone).holds(int(moment.timestamp() * 1000))


@pytest.mark.parametrize(
    ("at", "cheap"),
    [
        ("2026-11-18T00:59:59.999Z", True),  # a Wednesday
        ("2026-11-18T01:00:00Z", False),
        ("2026-11-18T03:59:59.999Z", False),
        ("2026-11-18T04:00:00Z", True),
        ("2026-11-18T06:00:00Z", False),
        ("2026-11-18T10:00:00Z", True),
        ("2026-11-18T23:59:59.999Z", True),
        ("2026-11-20T09:30:00Z", False),  # Friday
        ("2026-11-21T02:30:00Z", True),  # Saturday
        ("2026-11-22T23:59:59Z", True),
        ("2026-11-23T02:30:00Z", False),  # Monday
    ],
)
def test_windows_hold_to_the_minute(at: str, cheap: bool) -> None:
    """The first moment of a window is in it and its last is not; weekends are whole days."""
    assert holds(at, [WEEKDAYS, WEEKEND]) is cheap


def test_the_weekday_is_that_of_its_zone() -> None:
    """Friday 17:00 UTC is Saturday in Shanghai, and Sunday 17:00 UTC is Monday."""
    friday, sunday = "2026-11-20T17:00:00Z", "2026-11-22T17:00:00Z"
    assert not holds(friday, [WEEKEND])
    assert holds(friday, [WEEKEND], weekday_timezone="Asia/Shanghai")
    assert holds(sunday, [WEEKEND])
    assert not holds(sunday, [WEEKEND], weekday_timezone="Asia/Shanghai")


def test_a_date_is_a_whole_day_and_no_other() -> None:
    """A public holiday is cheap all day, whatever weekday it is; YAML writes it as a date."""
    for written in ("2026-10-01", date(2026, 10, 1)):
        holiday = [{"dates": [written]}]
        assert holds("2026-10-01T02:30:00Z", holiday)
        assert not holds("2026-10-02T00:00:00Z", holiday)
        assert not holds("2026-09-30T23:59:59Z", holiday)


def test_without_windows_nothing_is_cheap() -> None:
    """An object that says no hours has none."""
    read, zone = read_windows({"input_cost_per_token": 1})
    assert not OffPeak((), read, zone).holds(0)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)))
def test_a_day_is_either_or(moment: datetime) -> None:
    """Windows that are each other's complement hold exactly one at a time."""
    at_ms = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    halves = [{"hours_utc": "00:00-07:30"}, {"hours_utc": "07:30-24:00"}]
    held = [OffPeak((), read_windows({"windows": [each]})[0]).holds(at_ms) for each in halves]
    assert sorted(held) == [False, True]


@pytest.mark.parametrize(
    "value",
    [
        {"windows": "always"},
        {"windows": ["00:00-01:00"]},
        {"windows": [{}]},
        {"windows": [{"hours": "00:00-01:00"}]},
        {"windows": [{"hours_utc": "0-1"}]},
        {"windows": [{"hours_utc": "22:00-06:00"}]},
        {"windows": [{"hours_utc": "00:00-24:30"}]},
        {"windows": [{"hours_utc": 5}]},
        {"windows": [{"weekdays": [0]}]},
        {"windows": [{"weekdays": []}]},
        {"windows": [{"weekdays": 6}]},
        {"windows": [{"dates": ["1 October"]}]},
        {"windows": [{"dates": []}]},
        {"weekday_timezone": "Europe/Berlin"},
    ],
    ids=str,
)
def test_windows_that_are_not_understood_are_refused(value: dict[str, object]) -> None:
    """An hour that is guessed is a price that is guessed."""
    with pytest.raises(PriceInvalid, match="off_peak_pricing"):
        read_windows(value)
