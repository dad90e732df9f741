"""The schema, made by the real engine from the real files."""

import asyncio
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from clickhouse.errors import StoreRefused
from clickhouse.events import COLUMNS, DERIVED_COLUMNS
from clickhouse.migrate import Layout, Migration, SchemaMismatch, load_migrations, migrate
from clickhouse.query import load_query
from tests.recorder.workbench import StoreProcess

PLAIN = Layout(fsync=False)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """A store in a process of its own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def store(process: StoreProcess) -> StoreProcess:
    """The store with an empty database."""
    for name, engine in await relations(process):
        what = "VIEW" if engine == "View" else "TABLE"
        await process.command(f"DROP {what} comptroller.{name} SYNC")
    process.refuse_next = ""
    return process


# To give a column the codec that it has changes nothing, nor to make a projection for parts that
# have it, nor to replace a view by itself.
IDEMPOTENT = re.compile(
    r"CREATE (TABLE|VIEW) IF NOT EXISTS comptroller\.|CREATE OR REPLACE VIEW comptroller\.|"
    r"ALTER TABLE comptroller\.\w+ [^;]*?"
    r"(MODIFY COLUMN|ADD COLUMN IF NOT EXISTS|DROP PROJECTION IF EXISTS|MATERIALIZE PROJECTION)"
)
BARE = re.compile(r"ADD (COLUMN|PROJECTION) (?!IF NOT)|DROP PROJECTION (?!IF)")


async def relations(store: StoreProcess) -> list[list[str]]:
    """(name, engine) of all tables and views."""
    return await store.rows(
        "SELECT name, engine FROM system.tables WHERE database = 'comptroller' ORDER BY name"
    )


async def schema(store: StoreProcess) -> list[list[str]]:
    """(name, statement that would make it) of all tables and views."""
    return await store.rows(
        "SELECT name, create_table_query FROM system.tables "
        "WHERE database = 'comptroller' ORDER BY name"
    )


async def test_a_new_database_gets_everything_once(store: StoreProcess) -> None:
    """All files are applied in order and noted; the second time there is nothing to do."""
    migrations = load_migrations()
    assert await migrate(store, PLAIN) == len(migrations)
    made = await relations(store)
    creating = {each.name for each in migrations if "CREATE" in each.text}
    assert [name for name, _ in made] == sorted(creating)
    assert await migrate(store, PLAIN) == 0
    assert await relations(store) == made
    noted = await store.rows(
        "SELECT number, name, checksum FROM comptroller.migrations ORDER BY number"
    )
    assert noted == [[each.number, each.name, each.checksum] for each in migrations]


async def test_the_log_has_the_chained_columns_in_order(store: StoreProcess) -> None:
    """What the engine made of the file: hash, derived columns, then EventRow's fields in order,
    `time` from `time_ms`."""
    await migrate(store, PLAIN)
    described = await store.rows("DESCRIBE TABLE comptroller.events")
    names = [each[0] for each in described]
    assert [name for name in names if name != "time"] == [
        *("hash", "prev_hash", *DERIVED_COLUMNS, *COLUMNS)
    ]
    kinds = {each[0]: each[2] for each in described}
    assert kinds["time_ms"] == "EPHEMERAL"
    assert kinds["time"] == "DEFAULT"


async def test_a_crash_between_a_statement_and_its_note_does_no_harm(store: StoreProcess) -> None:
    """Whichever note is lost, the next start applies that file again, which changes nothing, and
    goes on."""
    migrations = load_migrations()
    for number, later in enumerate([*migrations[1:], None], start=1):
        store.refuse_next = "INSERT INTO comptroller.migrations"
        with pytest.raises(StoreRefused):
            await migrate(store, PLAIN)
        once = await schema(store)
        if later is None:
            assert await migrate(store, PLAIN) == 1
        else:
            store.refuse_next = later.statement(PLAIN)
            with pytest.raises(StoreRefused):
                await migrate(store, PLAIN)
        assert await schema(store) == once
        (count,) = await store.rows("SELECT count() FROM comptroller.migrations FINAL")
        assert count == [number]
    assert await migrate(store, PLAIN) == 0


async def _apply(store: StoreProcess, migration: Migration) -> None:
    await store.command(migration.statement(PLAIN))
    note = f'[{migration.number}, "{migration.name}", "{migration.checksum}"]'.encode()
    insert = "INSERT INTO comptroller.migrations (number, name, checksum)"
    await store.insert(insert, note, f"test-{migration.number}")


async def test_two_recorders_may_start_at_once(store: StoreProcess) -> None:
    """Both come through, and the notes are there once."""
    await asyncio.gather(migrate(store, PLAIN), migrate(store, PLAIN))
    assert await migrate(store, PLAIN) == 0
    (count,) = await store.rows("SELECT count() FROM comptroller.migrations FINAL")
    assert count == [len(load_migrations())]


async def test_a_file_that_changed_is_noticed(store: StoreProcess) -> None:
    """Another checksum under a known number: refused, and the error says which and what to do."""
    await migrate(store, PLAIN)
    note = b'[2, "bodies", "%b"]' % (b"0" * 64)
    insert = "INSERT INTO comptroller.migrations (number, name, checksum)"
    await store.insert(insert, note, "test-changed")
    with pytest.raises(SchemaMismatch, match=r"bodies.*restore the file"):
        await migrate(store, PLAIN)


async def test_a_database_of_a_later_version_is_left_alone(store: StoreProcess) -> None:
    """A migration that this version does not know: refused before anything is changed."""
    unknown = len(load_migrations())
    await _apply(store, load_migrations()[0])
    note = b'[%d, "later", "x"]' % unknown
    insert = "INSERT INTO comptroller.migrations (number, name, checksum)"
    await store.insert(insert, note, "test-later")
    before = await relations(store)
    with pytest.raises(SchemaMismatch, match=f"migration {unknown}"):
        await migrate(store, PLAIN)
    assert await relations(store) == before


def test_files_are_numbered_and_checksums_are_of_their_bytes() -> None:
    """Numbers from 0 without a gap, and the checksum of a file is that of what is in it."""
    folder = Path(str(resources.files("clickhouse"))) / "migrations"
    files = sorted(path for path in folder.iterdir() if path.suffix == ".sql")
    migrations = load_migrations()
    assert [f"{each.number:04}_{each.name}.sql" for each in migrations] == [
        path.name for path in files
    ]
    assert [each.text for each in migrations] == [path.read_text("utf-8") for path in files]
    assert len({each.checksum for each in migrations}) == len(migrations)
    changed = Migration(0, "x", migrations[0].text + " ")
    assert changed.checksum != migrations[0].checksum


@pytest.mark.parametrize("migration", load_migrations(), ids=lambda each: each.name)
def test_every_file_can_be_applied_again_and_on_a_cluster(migration: Migration) -> None:
    """One statement each, idempotent; on a cluster everywhere and replicated, alone neither."""
    alone = migration.statement(Layout())
    clustered = migration.statement(Layout(cluster="prod"))
    for text in (alone, clustered):
        assert "$" not in text
        assert ";" not in re.sub(r"--.*", "", text)
        assert IDEMPOTENT.search(text)
        assert not BARE.search(text)
    assert "ON CLUSTER" not in alone
    assert "Replicated" not in alone
    assert clustered.count("ON CLUSTER `prod`") == 1
    if "CREATE TABLE" in clustered:
        assert re.search(r"ENGINE = Replicated\w*MergeTree", clustered)
    assert ("fsync_after_insert = 1" in alone) == ("fsync" in migration.text)
    assert "fsync_after_insert = 1" not in migration.statement(Layout(fsync=False))


def test_every_query_has_a_text() -> None:
    """Queries are found by name; an unknown one is an error and not an empty text."""
    folder = Path(str(resources.files("clickhouse"))) / "queries"
    names = [path.stem for path in folder.iterdir() if path.suffix == ".sql"]
    assert {"balances", "batch_count", "days", "day_sums", "last_event"} <= set(names)
    assert all(load_query(name).strip() for name in names)
    with pytest.raises(FileNotFoundError):
        load_query("no-such-query")


async def test_views_of_an_empty_database_are_empty(store: StoreProcess) -> None:
    """Before the first event, and before the first dropped day, every view answers with no rows."""
    await migrate(store, PLAIN)
    for name, engine in await relations(store):
        if engine == "View":
            assert await store.rows(f"SELECT * FROM comptroller.{name}") == [], name


@pytest.mark.parametrize("migration", load_migrations(), ids=lambda each: each.name)
async def test_a_cluster_s_statements_are_understood(
    store: StoreProcess, migration: Migration
) -> None:
    """No cluster can run here, but the engine's own parser accepts what one would be told, with
    the engine that replicates."""
    statement = migration.statement(Layout(cluster="prod"))
    tree = "\n".join(row[0] for row in await store.rows(f"EXPLAIN AST {statement}"))
    assert ("Create" if "CREATE" in statement else "AlterQuery") in tree
    if "CREATE TABLE" in statement:
        assert re.search(r"Function Replicated\w*MergeTree", tree)
