"""How a limit is shown, here and on the admin port: one shape from one place."""

from typing import Any

from budgets.answers import Standing
from pricing import dollars


def limit_shown(standing: Standing) -> dict[str, Any]:
    """`{dimension, window, models?, limit, spent, reserved, allotted, free, resets_at}`; for usd
    decimal strings, and nano-dollars beside (`limit_nusd`, ...). `resets_at` is in milliseconds
    since 1970, None for never. What bounds because it was allotted has `allotment`, its id, and
    `expires_at`."""
    limit = standing.bound.limit
    amounts = {
        "limit": limit.amount,
        "spent": standing.spent,
        "reserved": standing.reserved,
        "allotted": standing.allotted,
        "free": standing.free,
    }
    shown: dict[str, Any] = {"dimension": limit.dimension, "window": limit.window}
    if limit.models:
        shown["models"] = list(limit.models)
    if limit.dimension == "usd":
        shown |= {name: dollars(amount) for name, amount in amounts.items()}
        shown |= {f"{name}_nusd": amount for name, amount in amounts.items()}
    else:
        shown |= amounts
    shown["resets_at"] = standing.bound.resets_at_ms or None
    if standing.bound.allotment:
        shown["allotment"] = standing.bound.allotment.id
        shown["expires_at"] = standing.bound.allotment.expires_at_ms
    return shown
