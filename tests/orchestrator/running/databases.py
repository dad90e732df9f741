"""Databases of runs for tests: SQLite, and a real PostgreSQL from a wheel."""

import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from orchestrator.running.database import Database, migrate
from orchestrator.running.postgres import PostgresDatabase
from orchestrator.running.sqlite import SqliteDatabase

Connect = Callable[[], Database]
# Its disk is never pulled: waiting for it took longer than all that tests write.
_WRITES_NOTHING_THROUGH = (
    b"alter system set fsync = off",
    b"alter system set full_page_writes = off",
    b"select pg_reload_conf()",
)


def sqlite_at(folder: Path) -> Connect:
    """Connections to one file."""

    def connect() -> Database:
        database = SqliteDatabase(folder / "runs.sqlite")
        migrate(database)
        return database

    return connect


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Its URL, as the superuser of a database that everything may be done to."""
    with warnings.catch_warnings(action="ignore"):  # it looks for a folder of the user's session
        from pgserver.postgres_server import get_server  # noqa: PLC0415  # for who needs it

    server = get_server(folder / "data", cleanup_mode="delete")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        for each in _WRITES_NOTHING_THROUGH:
            connection.execute(each)
    try:
        yield url
    finally:
        server.cleanup()


def fresh_database(url: str) -> str:
    """The URL of a database of its own on that server."""
    name = f"runs_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return url.replace("/postgres?", f"/{name}?")


def postgres_at(url: str) -> Connect:
    """Connections to one database."""

    def connect() -> Database:
        database = PostgresDatabase(url)
        migrate(database)
        return database

    return connect
