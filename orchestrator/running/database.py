"""The database of runs, as the rest of this folder sees it: SQLite or PostgreSQL, the same SQL.

Statements are in `sql/*.sql`, written with `?` and `:locked`, which a database that has writers
beside each other replaces. Everything is synchronous: one thread has a connection
(`orchestrator.running.journal`).
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Protocol

Value = str | int | None
Row = Sequence[Value]
SCHEMA_TABLE = "create table if not exists schema_versions (version text primary key)"


class DatabaseAway(Exception):  # as LedgerUnavailable
    """It does not answer. What was sent may have been done or not."""


class Database(Protocol):
    """One connection, in one thread. Every call raises DatabaseAway."""

    def begin(self) -> None:
        """A transaction that may write."""
        ...

    def commit(self) -> None:
        """Answered when the disk has it."""
        ...

    def rollback(self) -> None:
        """Of whatever has begun; never raises."""
        ...

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Value, ...]]:
        """All rows of a query."""
        ...

    def execute(self, statement: str, values: Row = ()) -> int:
        """How many rows it has changed."""
        ...

    def many(self, statement: str, values: Iterable[Row]) -> None:
        """The same statement for each."""
        ...

    def now_ms(self) -> int:
        """By the clock that all executors share."""
        ...

    def has_changed(self) -> bool:
        """Whether somebody else may have written since it was asked last."""
        ...

    def lock_schema(self) -> None:
        """Within a transaction: nobody else changes the schema until its end."""
        ...

    def close(self) -> None:
        """For good."""
        ...


@cache
def sql(name: str) -> str:
    """The statement of `sql/<name>.sql`, without its comments."""
    text = files("orchestrator.running").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip()


def schema() -> list[tuple[str, str]]:
    """Versions of the schema, in their order: name and statements."""
    folder = files("orchestrator.running").joinpath("sql/schema")
    names = sorted(each.name.removesuffix(".sql") for each in folder.iterdir())
    return [(name, sql(f"schema/{name}")) for name in names]


def migrate(database: Database) -> None:
    """Brings the schema up to date: each version once, whoever comes first."""
    database.begin()
    try:
        database.lock_schema()
        database.execute(SCHEMA_TABLE)
        there = {row[0] for row in database.rows("select version from schema_versions")}
        for name, statements in schema():
            if name in there:
                continue
            for each in statements.split(";"):
                if each.strip():
                    database.execute(each)
            database.execute("insert into schema_versions (version) values (?)", (name,))
        database.commit()
    except BaseException:
        database.rollback()
        raise
