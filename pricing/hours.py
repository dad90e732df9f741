"""Prices that depend on the hour: LiteLLM's `off_peak_pricing`.

DeepSeek halves its prices outside of its peak hours ("Models & Pricing"). The base rates are those
of the peak; an object beside them has the cheaper ones and the windows in which they hold:
`windows: [{hours_utc: "00:00-01:00" or a list of them, weekdays: [1..7]}, {dates: [...]}]`, Monday
being 1. `dates` (ours) are whole days, for public holidays. Weekdays and dates are those of
`weekday_timezone`. Nothing here asks a clock: the time of a request is a fact about it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pricing.rates import PriceInvalid

KEY = "off_peak_pricing"

_WINDOW_KEYS = frozenset({"hours_utc", "weekdays", "dates"})
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
_DAY_MIN = 24 * 60
_WEEKDAYS = frozenset(range(1, 8))
# Without summer time, so that no database of time zones has to be read.
_ZONES = {"UTC": timedelta(0), "Asia/Shanghai": timedelta(hours=8)}


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day in UTC, [start, end) each, on some days. Empty `dates`: any date."""

    minutes: tuple[tuple[int, int], ...]
    weekdays: frozenset[int]
    dates: frozenset[date]


@dataclass(frozen=True, slots=True)
class OffPeak:
    """When the cheaper rates hold, and which: {field of Rates: nano-dollars per million tokens}."""

    rates: tuple[tuple[str, int], ...]
    windows: tuple[Window, ...]
    zone: str = "UTC"

    def holds(self, at_ms: int) -> bool:
        """Whether a request at this time (ms since 1970) has the cheaper rates."""
        moment = datetime.fromtimestamp(at_ms // 1000, UTC)
        minute = moment.hour * 60 + moment.minute
        day = (moment + _ZONES[self.zone]).date()
        return any(
            day.isoweekday() in window.weekdays
            and (not window.dates or day in window.dates)
            and any(start <= minute < end for start, end in window.minutes)
            for window in self.windows
        )

    def content(self) -> list[object]:
        """In a canonical form that JSON can hold."""
        windows = [
            [each.minutes, sorted(each.weekdays), sorted(map(str, each.dates))]
            for each in self.windows
        ]
        return [self.rates, windows, self.zone]


def read_windows(value: Mapping[str, object]) -> tuple[tuple[Window, ...], str]:
    """(windows, zone) of an `off_peak_pricing` object. Raises PriceInvalid."""
    zone = value.get("weekday_timezone", "UTC")
    if zone not in _ZONES:
        raise PriceInvalid(f"{KEY}.weekday_timezone must be one of {', '.join(_ZONES)}")
    windows = value.get("windows", [])
    if not isinstance(windows, Sequence) or isinstance(windows, str):
        raise PriceInvalid(f"{KEY}.windows must be a list")
    return tuple(_window(each) for each in windows), str(zone)


def _window(value: object) -> Window:
    if not isinstance(value, Mapping) or not value.keys() <= _WINDOW_KEYS or not value:
        raise PriceInvalid(f"{KEY}.windows: each has some of {', '.join(sorted(_WINDOW_KEYS))}")
    hours = value.get("hours_utc", "00:00-24:00")
    weekdays = value.get("weekdays", sorted(_WEEKDAYS))
    dates = value.get("dates", [])
    if not isinstance(weekdays, list) or not weekdays or not _WEEKDAYS.issuperset(weekdays):
        raise PriceInvalid(f"{KEY}.windows.weekdays must be a list of numbers from 1 to 7")
    if not isinstance(dates, list) or ("dates" in value and not dates):
        raise PriceInvalid(f"{KEY}.windows.dates must be a list of dates as 2026-10-01")
    return Window(
        minutes=tuple(_minutes(each) for each in (hours if isinstance(hours, list) else [hours])),
        weekdays=frozenset(weekdays),
        dates=frozenset(_date(each) for each in dates),
    )


def _minutes(value: object) -> tuple[int, int]:
    """`10:00-00:00` ends at midnight, as does `10:00-24:00`."""
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PriceInvalid(f"{KEY}.windows.hours_utc must be as 01:00-04:00")
    start_hour, start_min, end_hour, end_min = map(int, match.groups())
    start, end = start_hour * 60 + start_min, end_hour * 60 + end_min or _DAY_MIN
    if not start < end <= _DAY_MIN:
        raise PriceInvalid(f"{KEY}.windows.hours_utc: {value} must not go over midnight: split it")
    return start, end


def _date(value: object) -> date:
    if isinstance(value, date):  # YAML reads one
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise PriceInvalid(f"{KEY}.windows.dates must be dates as 2026-10-01") from None
