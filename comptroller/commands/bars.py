"""A limit drawn as a bar: spent, then reserved (and allotted), then free."""

from typing import Any

from comptroller.commands.output import Row

WIDTH = 20
SPENT, RESERVED, FREE = "\u2588", "\u2592", "\u00b7"


def bar_of(row: Row) -> str:
    """The bar of a limit as the API says it; empty for what is no limit."""
    limit = _amount(row, "limit")
    if limit is None or limit <= 0:
        return ""
    spent = _amount(row, "spent") or 0
    held = (_amount(row, "reserved") or 0) + (_amount(row, "allotted") or 0)
    full = _cells(spent, limit, WIDTH)
    half = _cells(held, limit, WIDTH - full)
    return SPENT * full + RESERVED * half + FREE * (WIDTH - full - half)


def used_share(row: Row) -> float:
    """How much of a limit is spent or held, from 0; above 1 after an overrun."""
    limit = _amount(row, "limit")
    if not limit:
        return 0.0
    used = sum(_amount(row, name) or 0 for name in ("spent", "reserved", "allotted"))
    return used / limit


def _cells(amount: int, limit: int, most: int) -> int:
    """Rounded, but what is there is seen: at least one cell for more than nothing."""
    cells = max(1, round(amount * WIDTH / limit)) if amount > 0 else 0
    return min(cells, most)


def _amount(row: Row, name: str) -> int | None:
    """As an integer: nano-dollars for usd."""
    value: Any = row.get(f"{name}_nusd", row.get(name))
    return value if isinstance(value, int) else None
