"""What `comptroller top` shows, asked of the admin API: as JSON, and of bounded size."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from clickhouse.query import load_query
from comptroller.admin_client import AdminRefused
from comptroller.commands.bars import used_share

if TYPE_CHECKING:
    from comptroller.admin_client import AdminClient

MINUTES = 10
EVENTS = 12
TIGHTEST = 10
BUSIEST = 10
BUDGETS_MAX = 1000


def figures(client: "AdminClient") -> dict[str, Any]:
    """`{minutes, in_flight, tightest, events, trouble}`: rows of the last minutes, of what is
    reserved by scope, of the limits that have least left, of the last events; `trouble` is why
    there are none of the records. Raises AdminAbsent, AdminRefused."""
    limits = [
        {"scope": budget["scope"], "state": budget.get("state"), **limit}
        for budget in islice(client.budgets(), BUDGETS_MAX)
        for limit in budget.get("limits", ())
    ]
    minutes, events, trouble = _recorded(client)
    return {
        "minutes": minutes,
        "in_flight": _busiest(limits),
        "tightest": sorted(limits, key=used_share, reverse=True)[:TIGHTEST],
        "events": events,
        "trouble": trouble,
    }


def _recorded(client: "AdminClient") -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    try:
        return (
            client.sql(load_query("top_minutes"), {"minutes": MINUTES}),
            client.sql(load_query("last_events"), {"limit": EVENTS}),
            "",
        )
    except AdminRefused as error:
        if error.status in (401, 403):
            raise
        return [], [], f"no records: {error}"


def _busiest(limits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Limits on which something is reserved now, the fullest first."""
    held = [limit for limit in limits if used_share({**limit, "spent": 0, "spent_nusd": 0})]
    held.sort(key=lambda limit: used_share({**limit, "spent": 0, "spent_nusd": 0}), reverse=True)
    return held[:BUSIEST]
