"""How long something may take, as people write it: `90s`, `10m`, `24h`, `30d`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from budgets.duration import duration_ms

DURATION_S_MAX = 366 * 86_400
PATTERN = r"^[1-9][0-9]{0,7}[smhd]$"
"""Some of what `duration_ms` reads: no step waits for nothing, or less than a second."""


def seconds(value: object) -> int:
    """Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise ValueError("a duration is a whole number with s, m, h or d, as in 10m")
    found_ms = duration_ms(value)
    if found_ms is None or found_ms > DURATION_S_MAX * 1000:  # None: beyond its own maximum
        raise ValueError(f"a duration is at most {DURATION_S_MAX // 86_400}d")
    return found_ms // 1000


DurationS = Annotated[
    int,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["10m"]}),
]
"""Seconds, of a text in the definition."""
