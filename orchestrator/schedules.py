"""When a schedule is due: five fields of cron in a time zone. Pure.

Fields and daylight saving are as in Debian's cron: a time that the clock skips is due at the next
one that there is; one that comes twice is due once, but what is due every hour, or more often, is
due in both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

CRON_CHARS_MAX = 128
ZONE_CHARS_MAX = 64
DAY_MS = 86_400_000
_ALLOWED = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last one) or LW (the last weekday), of a month that has it",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday), SUN-SAT, MON#1 (the first) or 5L (the last Friday)",
}
_EVERYWHERE = "* (each), lists (1,15), ranges (1-5) and steps (*/10)"


class ScheduleInvalid(ValueError):
    """It cannot be a schedule; the message says what to write instead. `field`: of the schedule."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Timetable:
    """Made by `timetable`, which looks whether it is one."""

    cron: str
    zone: tzinfo

    def after(self, time_ms: int) -> int | None:
        """The first time after this one (ms since 1970 both); None where there is none within
        fifty years."""
        return next(self._all_after(time_ms), None)

    def last(self, due_ms: int, now_ms: int) -> int:
        """The last time until now; `due_ms` is one, and not after that."""
        # Backwards is roughly right where clocks change, and from a day before now on it is
        # looked at forwards.
        start = datetime.fromtimestamp((now_ms - DAY_MS) // 1000, self.zone)
        try:
            before = next(CronSim(self.cron, start, reverse=True), None)
        except OverflowError:  # before the year 1
            before = None
        last = max(due_ms, _ms(before)) if before else due_ms
        for each in self._all_after(last):
            if each > now_ms:
                break
            last = each
        return last

    def _all_after(self, time_ms: int) -> Iterator[int]:
        """In their order. The library forgets which of two equal hours it begins in."""
        last_ms = time_ms
        for each in CronSim(self.cron, datetime.fromtimestamp(time_ms // 1000, self.zone)):
            if _ms(each) > last_ms:
                last_ms = _ms(each)
                yield last_ms


def timetable(cron: str, zone: str) -> Timetable:
    """Raises ScheduleInvalid."""
    found = Timetable(" ".join(cron.split()), _zone(zone))
    if len(cron) > CRON_CHARS_MAX or len(cron.split()) != len(_ALLOWED):
        raise ScheduleInvalid(
            "cron", f"{cron[:CRON_CHARS_MAX]!r} is not five fields: {', '.join(_ALLOWED)}"
        )
    try:
        CronSim(found.cron, datetime.fromtimestamp(0, UTC))
    except CronSimError as error:
        raise ScheduleInvalid("cron", _wrong(found.cron, str(error))) from None
    return found


def _wrong(cron: str, said: str) -> str:
    name = said.removeprefix("Bad ")
    value = dict(zip(_ALLOWED, cron.split(), strict=True)).get(name)
    if value is None:
        return f"{cron!r} is no schedule: {said}"
    return f"{name} is {value!r}, and may be {_ALLOWED[name]}; {_EVERYWHERE}"


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also where the system knows no time zones
    try:
        if name and len(name) <= ZONE_CHARS_MAX:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise ScheduleInvalid(
        "zone",
        f"there is no time zone {name[:ZONE_CHARS_MAX]!r}: write UTC, or a name as Europe/Berlin; "
        "where the system knows none at all, install tzdata",
    )


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1000
