"""Counters as the ledger names them: `c:<limit id>[:<child scope>]:<start of its window in s>`."""

from collections.abc import Iterable

from budgets.policy import Policy, Window
from budgets.windows import window_bounds

# The window of a limit that was removed is not known any more: no window is longer.
LONGEST_WINDOW_S = 31 * 86_400


def window_ends(fields: Iterable[str], policies: Iterable[Policy]) -> dict[str, int]:
    """When the window of each counter ends, in seconds since 1970; 0: never."""
    windows: dict[str, Window] = {
        limit.id: limit.window for each in policies for limit in (*each.limits, *each.per_child)
    }
    return {field: _end(field, windows) for field in fields}


def window_start(field: str) -> int:
    """When its window began, in seconds since 1970; 0: always."""
    return int(field.rpartition(":")[2])


def _end(field: str, windows: dict[str, Window]) -> int:
    start_s = window_start(field)
    if not start_s:
        return 0
    window = windows.get(field.split(":", 2)[1])
    return window_bounds(window, start_s * 1000)[1] if window else start_s + LONGEST_WINDOW_S
