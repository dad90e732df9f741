"""A database that is away for a while, or full, costs time and nothing else."""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from budgets.exhausted import Exhausted
from orchestrator.running import acts
from orchestrator.running.closing import Closing
from orchestrator.running.database import Database, DatabaseAway
from orchestrator.running.journal import Journal, in_one
from orchestrator.running.postgres import PostgresDatabase
from orchestrator.running.submitting import Submit
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import fresh_database, postgres_at, sqlite_at
from tests.orchestrator.running.workshop import Workshop, workshop
from tests.orchestrator.running.written_runs import submission

NAP: dict[str, Any] = {"id": "a", "sleep": "1h"}


async def test_a_run_that_was_due_while_the_database_was_away_begins_afterwards(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells of it a second time: SQLite says once that something has changed."""
    first = await shop.submit(NAP)
    await shop.until(first, "waiting")
    (executor,) = shop.executors
    while executor.at_work or executor._kit.nudge._is_new:  # nothing tells of it
        await asyncio.sleep(0.01)  # else it would look again for another reason
    claim, tried = acts.Claim.__call__, list[int]()

    def away(self: acts.Claim, database: Database, now_ms: int) -> Any:
        tried.append(now_ms)
        if len(tried) > 2:  # the first may be done again without what it stood beside
            return claim(self, database, now_ms)
        raise DatabaseAway("locked")

    monkeypatch.setattr(acts.Claim, "__call__", away)
    await shop.until(await shop.submit(NAP), "waiting")


async def test_a_budget_that_was_used_up_while_the_database_was_away_halts_its_run(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await shop.submit(NAP)
    await shop.until(run, "waiting")
    ((scope,),) = await shop.rows("select scope from runs")
    used_up, tried = Closing.used_up, list[str]()

    async def away_once(self: Closing, scope: str, reason: str) -> Any:
        tried.append(scope)
        if len(tried) == 1:
            raise DatabaseAway("locked")
        return await used_up(self, scope, reason)

    told = Exhausted(str(scope), "usd", "total", 10**9, 0, run, "a", 1, at="1-0")

    async def exhausted(_: Any, after: str) -> list[Exhausted]:
        return [] if after == told.at else [told]

    monkeypatch.setattr(Closing, "used_up", away_once)
    monkeypatch.setattr(type(shop.executors[0]._kit.purse), "exhausted", exhausted)
    assert await shop.ended(run) == "halted"


def test_a_transaction_that_froze_is_a_database_that_is_away(postgres: str) -> None:
    """The server ends it, and calls that an error of its own; afterwards all is well."""
    database = PostgresDatabase(fresh_database(postgres))
    database.execute("set idle_in_transaction_session_timeout = 1")
    database.begin()
    ended = "select count(*) from pg_stat_activity where pid = %s"
    with psycopg.connect(postgres) as other:
        assert database._connection is not None
        pid = database._connection.info.backend_pid
        while other.execute(ended, (pid,)).fetchone() != (0,):
            other.rollback()
    with pytest.raises(DatabaseAway):
        database.rows("select 1")
    database.rollback()
    assert database.rows("select 1") == [(1,)]
    database.close()


async def test_runs_go_on_when_their_connections_were_cut(
    stack: Stack, tmp_path: Path, postgres: str
) -> None:
    """Again and again, at whatever they did: each step is done, and one attempt of it is."""
    url = fresh_database(postgres)
    async with workshop(stack, postgres_at(url), tmp_path) as shop:
        says = shop.program("says.py", "print(1)")
        steps: list[dict[str, Any]] = [
            {"id": f"s{n}", "needs": [f"s{n - 1}"] if n else [], "command": says} for n in range(8)
        ]
        runs = [await shop.submit(*steps) for _ in range(3)]
        cut = (
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname = current_database()"
        )
        with psycopg.connect(url, autocommit=True) as other:
            for _ in range(6):
                other.execute(cut)
                await asyncio.sleep(0.1)  # at no event: at random
        desk = shop.desk
        for run in runs:
            with contextlib.suppress(DatabaseAway):  # the desk's was cut, too
                await desk.read(lambda database: database.rows("select 1"))
            assert await shop.ended(run) == "done"
            done = await shop.rows(
                "select step from attempts where run = ? and status = 'done'", run
            )
            assert len(done) == len(set(done)) == len(steps)


@contextlib.contextmanager
def _full_disk(file: Path) -> Iterator[None]:
    """No file of this process may be longer than this one is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_refuses_what_is_written_and_nothing_of_it_is_there(
    tmp_path: Path,
) -> None:
    """Afterwards the same connection goes on."""
    journal = Journal(sqlite_at(tmp_path))
    await journal.opened()
    wal = tmp_path / "runs.sqlite-wal"
    big = submission(given={"x": "y" * 1_000_000}, input={"x": {"type": "string"}})
    with _full_disk(wal), pytest.raises(DatabaseAway):
        await journal.write(Submit(big))
    rows = "select id from runs"
    assert await journal.read(lambda database: database.rows(rows)) == []
    await journal.write(Submit(big))
    assert len(await journal.read(lambda database: database.rows(rows))) == 1
    await journal.close()


def test_a_database_that_is_locked_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.running.sqlite.BUSY_S", 0)
    connect = sqlite_at(tmp_path)
    first, second = connect(), connect()
    first.begin()
    with pytest.raises(DatabaseAway, match="locked"):
        in_one(second, [Submit(submission())])
    first.rollback()
    assert in_one(second, [Submit(submission())])[0].is_new
    for each in (first, second):
        each.close()
