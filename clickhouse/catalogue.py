"""Which tables there are, and which of them an organisation may see: read from the engine.

An organisation's filter goes on base tables; views pass it on to what they read. A base table
without a column `org` shows nothing to organisations, and neither does a materialized view: its
rows are read under its own name, past its target's filter.
"""

import json
import threading
from dataclasses import dataclass

from clickhouse.engine import DATABASE, Engine, Restrictions
from clickhouse.quoting import quoted

_STATEMENT = """
SELECT name, engine, name IN (
    SELECT table FROM system.columns WHERE database = {database:String} AND name = 'org'
)
FROM system.tables WHERE database = {database:String}
"""
NOTHING = "0"
PRIVATE = frozenset(("snapshots", "states"))
"""The recorder's own: what a lost ledger comes back from, hashes of secrets among it."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names without the database: what a reader of all organisations may name, what one
    organisation may, and all base tables (True: with a column `org`)."""

    version: int
    everyone: frozenset[str]
    organisations: frozenset[str]
    base: dict[str, bool]

    def restrictions(self, organisation: str | None) -> Restrictions:
        """The filters of an account: one for every base table, whether it may be named or not,
        because a view may read it."""
        if organisation is None:
            return Restrictions()
        own = f"org = {quoted(organisation)}"
        return Restrictions(
            filters={
                f"{DATABASE}.{table}": own if has_org else NOTHING
                for table, has_org in self.base.items()
            }
        )


class Catalogue:
    """The tables, read anew after each command. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._tables: Tables | None = None

    def tables(self) -> Tables:
        """Blocks for a query after a change of the schema. Raises StoreRefused,
        StoreUnavailable."""
        with self._lock:
            version = self._engine.schema_version
            if self._tables is None or self._tables.version != version:
                self._tables = self._read(version)
            return self._tables

    def _read(self, version: int) -> Tables:
        lines = self._engine.select(_STATEMENT, {"database": DATABASE}).splitlines()
        rows = [json.loads(line) for line in lines]
        views = {name for name, engine, _ in rows if engine == "View"}
        # A materialized view is filtered under its own name too: a view of ours may read it.
        base = {
            name: bool(has_org) and engine.endswith("MergeTree")
            for name, engine, has_org in rows
            if engine != "View"
        }
        named = {name for name in (*base, *views) if not name.startswith(".")} - PRIVATE
        seen = {name for name, has_org in base.items() if has_org} | views
        return Tables(version, frozenset(named), frozenset(seen & named), base)
