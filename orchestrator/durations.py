"""How long something may take, as people write it: `90s`, `10m`, `24h`, `30d`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

DURATION_S_MAX = 366 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
PATTERN = r"^[1-9][0-9]{0,7}[smhd]$"


def seconds(value: object) -> int:
    """Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise ValueError("a duration is a whole number with s, m, h or d, as in 10m")
    found = int(value[:-1]) * _UNITS[value[-1]]
    if found > DURATION_S_MAX:
        raise ValueError(f"a duration is at most {DURATION_S_MAX // 86_400}d")
    return found


DurationS = Annotated[
    int,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["10m"]}),
]
"""Seconds, of a text in the definition."""
