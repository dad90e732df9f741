"""Counters as the ledger names them: `c:<limit id>[:<child scope>]:<start of its window in s>`."""

from collections.abc import Iterable, Mapping

from budgets.policy import Policy, Window
from budgets.windows import window_bounds

# The window of a limit that was removed is not known any more: no window is longer.
LONGEST_WINDOW_S = 31 * 86_400


def window_ends(fields: Iterable[str], policies: Iterable[Policy]) -> dict[str, int]:
    """When the window of each counter ends, in seconds since 1970; 0: never."""
    windows = windows_of(policies)
    return {field: window_end(field, windows) for field in fields}


def windows_of(policies: Iterable[Policy]) -> dict[str, Window]:
    """The window of each limit, by its id."""
    return {
        limit.id: limit.window for each in policies for limit in (*each.limits, *each.per_child)
    }


def owners_of(fields: Iterable[str], policies: Mapping[str, Policy]) -> dict[str, str]:
    """The scope that each counter counts for; "" where its limit is not known any more."""
    owners = {limit.id: scope for scope, each in policies.items() for limit in each.limits}
    templates = {limit.id for each in policies.values() for limit in each.per_child}
    return {
        field: child_of(field) if limit_of(field) in templates else owners.get(limit_of(field), "")
        for field in fields
    }


def creation_of(field: str) -> int:
    """The seq that created its limit; -1 for a counter of something else than a limit."""
    seq = field.split(":", 2)[1].partition(".")[0]
    return int(seq) if seq.isdecimal() else -1


def limit_of(field: str) -> str:
    """The id of its limit."""
    return field.split(":", 2)[1]


def child_of(field: str) -> str:
    """The template's child that it counts for; "" for a limit of its own."""
    return field.split(":", 2)[2].rpartition(":")[0]


def window_start(field: str) -> int:
    """When its window began, in seconds since 1970; 0: always."""
    return int(field.rpartition(":")[2])


def window_end(field: str, windows: Mapping[str, Window]) -> int:
    """When the window of a counter ends, as in `window_ends`."""
    start_s = window_start(field)
    if not start_s:
        return 0
    window = windows.get(limit_of(field))
    return window_bounds(window, start_s * 1000)[1] if window else start_s + LONGEST_WINDOW_S
