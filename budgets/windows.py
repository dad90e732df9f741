"""When a window begins and ends, UTC; weeks begin on Monday.

A worker names the counters of the windows that it believes to be current, and the script holds
that against the ledger's own clock: a wrong belief is answered WINDOW with the right time.
"""

from datetime import UTC, datetime, timedelta

from budgets.policy import Window

_LENGTHS = {"minute": 60, "hour": 3600, "day": 86400}


def window_bounds(window: Window, at_ms: int) -> tuple[int, int]:
    """(start, end) in seconds since 1970 of the window that holds `at_ms`; (0, 0) for total,
    which never ends."""
    at_s = at_ms // 1000
    if window == "total":
        return 0, 0
    if window in _LENGTHS:
        start = at_s - at_s % _LENGTHS[window]
        return start, start + _LENGTHS[window]
    moment = datetime.fromtimestamp(at_s, UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "week":
        monday = day - timedelta(days=day.weekday())
        return int(monday.timestamp()), int((monday + timedelta(days=7)).timestamp())
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())
