"""Runs in PostgreSQL: many executors."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import psycopg

from orchestrator.running.database import DatabaseAway, Row, Value

CONNECT_S = 10
FROZEN_MS = 5_000
"""A process that stops inside of a transaction holds its rows for no longer."""
STATEMENT_MS = 30_000
_OPTIONS = (
    f"-c idle_in_transaction_session_timeout={FROZEN_MS} -c statement_timeout={STATEMENT_MS} "
    f"-c lock_timeout={STATEMENT_MS}"
)
_NOW = "select (extract(epoch from clock_timestamp()) * 1000)::bigint"
_MIGRATING = 0x434F4D50  # a lock of ours among the server's advisory ones
_T = TypeVar("_T")


class PostgresDatabase:
    """See orchestrator.running.database.Database. Connects anew after it was away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._connect()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            try:
                self._connection = psycopg.connect(
                    self._url, autocommit=True, options=_OPTIONS, connect_timeout=CONNECT_S
                )
            except psycopg.OperationalError as error:
                raise DatabaseAway(f"the database of runs cannot be reached: {error}") from error
        return self._connection

    def _do(self, work: Callable[[psycopg.Connection[tuple[Any, ...]]], _T]) -> _T:
        connection = self._connect()
        try:
            return work(connection)
        except psycopg.Error as error:
            # Also what the server's time limits end; some of those it calls errors of its own.
            if not (isinstance(error, psycopg.OperationalError) or connection.closed):
                raise
            connection.close()
            raise DatabaseAway(f"the database of runs does not answer: {error}") from error

    def begin(self) -> None:
        """See Database."""
        self._do(lambda connection: connection.execute("begin"))

    def commit(self) -> None:
        """See Database."""
        self._do(lambda connection: connection.execute("commit"))

    def rollback(self) -> None:
        """See Database."""
        connection = self._connection
        if connection is not None and not connection.closed:
            try:
                connection.execute("rollback")
            except psycopg.Error:
                connection.close()

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Value, ...]]:
        """See Database."""
        return self._do(lambda c: c.execute(_written(statement), values).fetchall())

    def execute(self, statement: str, values: Row = ()) -> int:
        """See Database."""
        return self._do(lambda c: c.execute(_written(statement), values or None).rowcount)

    def many(self, statement: str, values: Iterable[Row]) -> None:
        """See Database."""

        def work(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(_written(statement), list(values))

        self._do(work)

    def now_ms(self) -> int:
        """See Database: the server's, so that executors need not agree."""
        (now_ms,) = self.rows(_NOW)[0]
        assert isinstance(now_ms, int)
        return now_ms

    def has_changed(self) -> bool:
        """See Database: only asking would tell."""
        return True

    def lock_schema(self) -> None:
        """See Database."""
        self.execute(f"select pg_advisory_xact_lock({_MIGRATING})")

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()


def _written(statement: str) -> bytes:
    return (
        statement.replace("?", "%s")
        .replace(":locked", "for update skip locked")
        .replace(":update", "for update")
        .encode()
    )
