"""Runs in SQLite: one machine, nothing to install."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.running.database import DatabaseAway, Row, Value

BUSY_S = 30
"""How long it waits for a writer beside it: another process's transaction takes milliseconds."""


class SqliteDatabase:
    """See orchestrator.running.database.Database. Its WAL is synced at every commit. Raises
    DatabaseAway."""

    def __init__(self, path: Path) -> None:
        with _away():
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_S
            )
            for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
                self._connection.execute(f"pragma {pragma}")
            path.chmod(0o600)
        self._version: object = None

    def begin(self) -> None:
        """See Database."""
        self.execute("begin immediate")

    def commit(self) -> None:
        """See Database."""
        self.execute("commit")

    def rollback(self) -> None:
        """See Database."""
        with suppress(sqlite3.Error):  # what it cannot undo now, it does when it reads again
            if self._connection.in_transaction:
                self._connection.rollback()

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Value, ...]]:
        """See Database."""
        with _away():
            return self._connection.execute(_written(statement), values).fetchall()

    def execute(self, statement: str, values: Row = ()) -> int:
        """See Database."""
        with _away():
            return self._connection.execute(_written(statement), values).rowcount

    def many(self, statement: str, values: Iterable[Row]) -> None:
        """See Database."""
        with _away():
            self._connection.executemany(_written(statement), values)

    def now_ms(self) -> int:
        """See Database: there is one machine."""
        return time.time_ns() // 1_000_000

    def has_changed(self) -> bool:
        """See Database."""
        (version,) = self.rows("pragma data_version")[0]
        changed, self._version = version != self._version, version
        return changed

    def lock_schema(self) -> None:
        """See Database: a transaction that may write is the only one."""

    def close(self) -> None:
        """See Database."""
        self._connection.close()


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # locked, or its disk is full
        raise DatabaseAway(f"the database of runs: {error}") from error


def _written(statement: str) -> str:
    return statement.replace(":locked", "").replace(":update", "")
