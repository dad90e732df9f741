"""Durations as people write them: 30d, 12h, 10m, 45s, 500ms. One reading of them for the
configuration file and the admin API."""

import re

DURATION_MS_MAX = 36_500 * 86_400_000
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int | None:
    """Milliseconds, from 0 to DURATION_MS_MAX; None for what is no duration."""
    match = _DURATION.fullmatch(text)
    found = int(match[1]) * _UNITS_MS[match[2]] if match else -1
    return found if 0 <= found <= DURATION_MS_MAX else None
