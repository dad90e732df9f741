"""Queries by name: their text lives in `queries/*.sql`, their values are parameters."""

from functools import cache
from importlib import resources

RECALLED = ("remembered", "snapshot_place")
"""What a ledger asks about scopes that have left it; of tables that readers do not see, too."""


@cache
def load_query(name: str) -> str:
    """The text of `queries/<name>.sql`."""
    return (resources.files("clickhouse") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
