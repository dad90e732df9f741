"""Brings the database to this version's schema: numbered `.sql` files, one statement each.

A file that was applied never changes: its SHA-256 is kept and compared. Statements are idempotent,
so that a crash between one and its note, or two recorders at once, do no harm. The same files make
chDB, a single server and a replicated cluster: only the engine's name and ON CLUSTER differ.
"""

import json
import string
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

from clickhouse.store import Store

_FOLDER = resources.files("clickhouse") / "migrations"
_APPLIED = "SELECT number, checksum FROM comptroller.migrations FINAL ORDER BY number"
_NOTE = "INSERT INTO comptroller.migrations (number, name, checksum)"


class SchemaMismatch(RuntimeError):
    """The database was made by files that differ from this version's."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How tables are made. `cluster` names a ClickHouse cluster: tables are then replicated, with
    the server's own default for the replica's path. `fsync` makes an insert wait for the disk."""

    cluster: str = ""
    fsync: bool = True

    @property
    def names(self) -> dict[str, str]:
        """What the placeholders in the files become."""
        return {
            "on_cluster": f"ON CLUSTER `{self.cluster}`" if self.cluster else "",
            "replicated": "Replicated" if self.cluster else "",
            "fsync": str(int(self.fsync)),
        }


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_events.sql` has number 1 and name `events`."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, hex."""
        return sha256(self.text.encode()).hexdigest()

    def statement(self, layout: Layout) -> str:
        """What is run."""
        return string.Template(self.text).substitute(layout.names)


def load_migrations() -> tuple[Migration, ...]:
    """All files in order; their numbers are 0, 1, 2, ... without a gap."""
    found = []
    for file in _FOLDER.iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    found.sort(key=lambda each: each.number)
    assert [each.number for each in found] == list(range(len(found)))
    return tuple(found)


async def migrate(store: Store, layout: Layout) -> int:
    """Applies what is missing; how many that were. Raises SchemaMismatch."""
    first, *_ = migrations = load_migrations()
    await store.command(f"CREATE DATABASE IF NOT EXISTS comptroller {layout.names['on_cluster']}")
    await store.command(first.statement(layout))  # the table that the notes are in
    lines = (await store.select(_APPLIED, {})).splitlines()
    applied: dict[int, str] = dict(json.loads(line) for line in lines)
    _compare(applied, migrations)
    missing = [each for each in migrations if each.number not in applied]
    for each in missing:
        await store.command(each.statement(layout))
        note = json.dumps([each.number, each.name, each.checksum]).encode()
        await store.insert(_NOTE, note, f"migration-{each.number}")
    return len(missing)


def _compare(applied: dict[int, str], migrations: tuple[Migration, ...]) -> None:
    for number, checksum in applied.items():
        if number >= len(migrations):
            raise SchemaMismatch(
                f"the records have migration {number}, which this version does not know: "
                "start the version that wrote it, or a later one"
            )
        if checksum != migrations[number].checksum:
            raise SchemaMismatch(
                f"migration {migrations[number].name} was applied with another content: "
                "restore the file, and put the change into a new one"
            )
