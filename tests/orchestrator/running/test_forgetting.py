"""What ended long ago leaves the database with all that is its own, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from budgets.transport import LedgerUnavailable
from orchestrator.places import TaskId
from orchestrator.progress import Task
from orchestrator.running import forgetting
from orchestrator.running.acts import Claim, End, Heartbeat, Put
from orchestrator.running.database import Database, DatabaseAway, schema
from orchestrator.running.deciding import RetryFailed
from orchestrator.running.forgetting import AT_ONCE_MAX, _forget, _forget_unused
from orchestrator.running.journal import Doing, Hold, in_one
from orchestrator.running.outputs import ROW_BYTES_MAX
from orchestrator.running.purse import Purse
from orchestrator.running.submitting import Submit
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import workshop
from tests.orchestrator.running.written_runs import submission

LONG = "x" * (ROW_BYTES_MAX + 1)
NOW_MS = 2**42


def write(database: Database, act: Any) -> Any:
    (result,) = in_one(database, [act])
    return result


def finished(database: Database, output: str, **more: Any) -> str:
    """A run that is over, closed and told."""
    run = str(write(database, Submit(submission(**more))).run)
    write(database, Heartbeat("e1", 60_000))
    ((claimed,), _) = write(database, Claim("e1", 1))
    hold = Hold(run, claimed.epoch, "e1")
    write(database, Put(hold, TaskId("a"), Task("done", attempt=1, output=output), begins=True))
    write(database, End(run, "done", output=output, hold=hold))
    database.execute("update runs set scope_open = 0 where id = ?", (run,))
    return run


def forget(database: Database, before_ms: int) -> None:
    """As where all that is over is closed."""
    closed = {str(run) for (run,) in database.rows("select id from runs")}
    while write(database, Doing(lambda db, _: _forget(db, before_ms, closed))):
        continue
    write(database, Doing(_forget_unused))


def counts(database: Database) -> dict[str, int]:
    names = ("runs", "tasks", "attempts", "blobs", "definitions")
    return {each: int(str(database.rows(f"select count(*) from {each}")[0][0])) for each in names}


def test_an_old_run_leaves_with_all_that_only_it_has(database: Database) -> None:
    finished(database, LONG + "1", name="one")
    kept = finished(database, LONG + "2", name="two")
    database.execute("update runs set ended_ms = 1 where id <> ?", (kept,))
    forget(database, 2)
    assert counts(database) == {"runs": 1, "tasks": 1, "attempts": 1, "blobs": 1, "definitions": 2}


def test_what_is_under_way_or_not_told_stays_however_old(database: Database) -> None:
    write(database, Submit(submission()))
    over = finished(database, "x")
    database.execute("update runs set scope_open = 1 where id = ?", (over,))
    forget(database, NOW_MS)
    assert counts(database)["runs"] == 2


def test_a_run_inside_another_one_stays_as_long_as_that(database: Database) -> None:
    outer, inner = finished(database, "x"), finished(database, "y")
    database.execute("update runs set parent = ?, ended_ms = 1 where id = ?", (outer, inner))
    forget(database, 2)
    assert counts(database)["runs"] == 2
    database.execute("update runs set ended_ms = 1")
    forget(database, 2)
    forget(database, 2)
    assert counts(database)["runs"] == 0


def test_the_last_version_of_a_workflow_stays(database: Database) -> None:
    """Others may start it by its name."""
    for version in (1, 2):
        finished(database, "x", description=f"version {version}")
    forget(database, NOW_MS)
    assert database.rows("select version from definitions") == [(2,)]


def test_more_than_are_taken_at_once_all_go(database: Database) -> None:
    first = finished(database, "x")
    names = _columns(database)
    for n in range(AT_ONCE_MAX + 1):
        others = ", ".join("?" if each == "id" else each for each in names)
        database.execute(
            f"insert into runs ({', '.join(names)}) select {others} from runs where id = ?",
            (f"r{n}", first),
        )
    forget(database, NOW_MS)
    assert counts(database)["runs"] == 0


def test_a_run_that_is_not_closed_or_goes_on_again_stays(database: Database) -> None:
    """Whoever had found it old did so before somebody tried it again."""
    old = [finished(database, "x") for _ in range(3)]
    database.execute("update runs set ended_ms = 1, status = 'failed'")
    write(database, RetryFailed("acme", old[1], "ann"))
    assert not write(database, Doing(lambda db, _: _forget(db, 2, old[1:])))
    assert {row[0] for row in database.rows("select id from runs")} == {*old[:2]}


async def test_what_failed_is_closed_at_the_ledger_before_nobody_knows_of_it(
    stack: Stack, tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its steps that have budgets; whatever is away, or dies, on the way."""
    async with workshop(stack, connect, tmp_path) as shop:
        budget = [{"usd": "0.01"}]
        run = await shop.submit({"id": "a", "command": ["false"], "retries": 0, "budget": budget})
        assert await shop.ended(run) == "failed"
        ((scope,),) = await shop.rows("select scope from runs")
        await shop.execute("update runs set ended_ms = 1")
        round_, session = shop.executors[0]._old.round, stack.parts.ledger._session

        async def closed() -> list[bool]:
            records = await session.load([str(scope), f"{scope}/a"], create=False)
            return [record.is_closed for record in records.values()]

        async def away(*_: Any) -> None:
            raise LedgerUnavailable("gone")

        def dies(*_: Any) -> None:
            raise DatabaseAway("gone")

        with monkeypatch.context() as patch:
            patch.setattr(Purse, "close_run", away)
            with pytest.raises(LedgerUnavailable):
                await round_()
        assert await closed() == [False, False]
        with monkeypatch.context() as patch:
            patch.setattr(forgetting, "_forget", dies)
            with pytest.raises(DatabaseAway):
                await round_()
        assert await closed() == [True, True]
        assert await shop.rows("select id from runs") == [(run,)]
        await round_()
        assert await shop.rows("select id from runs") == []


def _columns(database: Database) -> list[str]:
    """Of runs, as the schema has them."""
    statements = [each for _, text in schema() for each in text.split(";")]
    statement = next(each for each in statements if "table runs" in each)
    lines = statement.partition("(")[2].splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ")]
