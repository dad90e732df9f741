"""Each time of a schedule has one run, however many executors look, and whatever they die of; on
SQLite and on PostgreSQL."""

import dataclasses
from typing import Any

import pytest

from orchestrator.bundle import read_bundle
from orchestrator.problems import DefinitionInvalid
from orchestrator.running import schedule_acts
from orchestrator.running.database import Database
from orchestrator.running.schedule_acts import (
    NoSuchSchedule,
    PauseSchedule,
    PutSchedule,
    RemoveSchedule,
    ResumeSchedule,
    Schedule,
    page,
    schedule,
)
from orchestrator.running.scheduling import SubmitDue, run_name
from orchestrator.schedules import ScheduleInvalid
from tests.orchestrator.running.databases import fresh_database, postgres_at
from tests.orchestrator.running.workshop import Workshop
from tests.orchestrator.running.written_runs import definition, submission

HOUR_MS = 3_600_000
BEGAN_MS = 1_790_000_000_000  # 14:13:20 of a day
FIRST_MS = 1_790_002_800_000  # 15:00
NIGHTLY = ("acme", "nightly")
DUE = SubmitDue(*NIGHTLY)


def at(database: Database, now_ms: int, act: Any) -> Any:
    """One act in a transaction of its own, at this time."""
    database.begin()
    try:
        done = act(database, now_ms)
        database.commit()
    except BaseException:
        database.rollback()
        raise
    return done


def put(**more: Any) -> PutSchedule:
    """Of a workflow that sleeps, every hour."""
    workflow = definition(input={"topic": {"type": "string", "default": "reefs"}})
    said = PutSchedule(
        organisation="acme",
        name="nightly",
        scope="acme/p",
        bundle=read_bundle({"workflow": workflow}),
        cron="0 * * * *",
        by="ann",
    )
    return dataclasses.replace(said, **more)


def runs(database: Database) -> list[tuple[Any, ...]]:
    """Their names and inputs, in their order."""
    return [tuple(row) for row in database.rows("select named, input from runs order by named")]


def test_a_time_that_has_come_is_one_run(database: Database) -> None:
    """With the schedule's input, below its scope, for the one who has put it; and it moves on."""
    made: Schedule = at(database, BEGAN_MS, put(given={"topic": "whales"}))
    assert made.next_ms == FIRST_MS
    assert at(database, FIRST_MS - 1, DUE) == ""
    run = at(database, FIRST_MS, DUE)
    assert at(database, FIRST_MS, DUE) == ""
    assert runs(database) == [("nightly@2026-09-21T15:00:00Z", '{"topic": "whales"}')]
    found = schedule(database, *NIGHTLY)
    assert (found.last_run, found.next_ms) == (run, FIRST_MS + HOUR_MS)
    ((scope, by),) = database.rows("select scope, by_whom from runs where id = ?", (run,))
    assert (scope, by) == (f"acme/p/w/{run}", "ann")


def test_of_what_was_missed_the_last_is_done(database: Database) -> None:
    """Nobody looked for ten hours: one run, not ten."""
    at(database, BEGAN_MS, put())
    last_ms = FIRST_MS + 10 * HOUR_MS
    assert at(database, last_ms + 5, DUE)
    assert [row[0] for row in runs(database)] == [run_name("nightly", last_ms)]
    assert schedule(database, *NIGHTLY).next_ms == last_ms + HOUR_MS


def test_of_two_who_look_at_once_one_submits(postgres: str) -> None:
    """Also where the first one has stopped in the middle: when its transaction is no more, the
    other does it; when it goes on after all, there is nothing left to do."""
    connect = postgres_at(fresh_database(postgres))
    first, second = connect(), connect()
    at(first, BEGAN_MS, put())
    first.begin()
    assert DUE(first, FIRST_MS)
    assert at(second, FIRST_MS, DUE) == ""
    first.rollback()
    assert at(second, FIRST_MS, DUE)
    assert at(first, FIRST_MS, DUE) == ""
    first.begin()
    assert DUE(first, FIRST_MS + HOUR_MS)
    assert at(second, FIRST_MS + HOUR_MS, DUE) == ""
    first.commit()
    assert at(second, FIRST_MS + HOUR_MS, DUE) == ""
    assert len(runs(first)) == 2
    first.close()
    second.close()


def test_a_time_that_was_submitted_already_is_no_other_run(database: Database) -> None:
    """Its name says so, even where the schedule does not know: a clock was set back."""
    at(database, BEGAN_MS, put())
    run = at(database, FIRST_MS, DUE)
    at(database, BEGAN_MS, put())
    assert at(database, FIRST_MS, DUE) == run
    at(database, BEGAN_MS, put(given={"topic": "other"}))
    assert at(database, FIRST_MS, DUE) == ""
    found = schedule(database, *NIGHTLY)
    assert "submitted as nightly@" in found.error
    assert (found.last_run, found.is_paused, len(runs(database))) == (run, False, 1)


def test_a_time_that_is_due_is_not_lost_where_its_schedule_is_put_anew(database: Database) -> None:
    """As by a deployment that puts all of them: it is submitted as it is written now. Other times
    are other times."""
    at(database, BEGAN_MS, put())
    anew: Schedule = at(database, FIRST_MS + 1, put(given={"topic": "whales"}))
    assert anew.next_ms == FIRST_MS
    assert at(database, FIRST_MS + 2, DUE)
    assert runs(database) == [("nightly@2026-09-21T15:00:00Z", '{"topic": "whales"}')]
    for changed in ({"cron": "30 * * * *"}, {"zone": "Europe/Berlin"}):
        last_ms = schedule(database, *NIGHTLY).next_ms
        moved: Schedule = at(database, last_ms + 1, put(**changed))
        assert moved.next_ms > last_ms + 1


def test_what_is_paused_submits_nothing_and_catches_up_on_nothing(database: Database) -> None:
    """Also where it is put anew meanwhile."""
    at(database, BEGAN_MS, put())
    assert at(database, BEGAN_MS, PauseSchedule(*NIGHTLY)).is_paused
    assert at(database, FIRST_MS, DUE) == ""
    assert at(database, FIRST_MS, put(cron="0 * * * *")).is_paused
    later_ms = FIRST_MS + 5 * HOUR_MS
    assert at(database, later_ms, DUE) == ""
    resumed: Schedule = at(database, later_ms + 1, ResumeSchedule(*NIGHTLY))
    assert (resumed.is_paused, resumed.next_ms) == (False, later_ms + HOUR_MS)
    again: Schedule = at(database, later_ms + HOUR_MS, ResumeSchedule(*NIGHTLY))
    assert again.next_ms == resumed.next_ms
    assert runs(database) == []
    assert at(database, later_ms + HOUR_MS, DUE)


def test_what_cannot_go_on_is_paused_and_says_why(database: Database) -> None:
    """A definition that this version does not know any more; put anew, it goes on."""
    at(database, BEGAN_MS, put())
    database.execute("update schedules set document = ?", ('{"workflow": {"name": "w"}}',))
    assert at(database, FIRST_MS, DUE) == ""
    found = schedule(database, *NIGHTLY)
    assert found.is_paused
    assert "steps" in found.error
    anew: Schedule = at(database, FIRST_MS, put())
    assert (anew.is_paused, anew.error) == (False, "")


def listed(database: Database, organisation: str) -> list[Schedule]:
    """On one page, which has room for them all."""
    return page(database, organisation, ("", ""), 100)


def test_a_schedule_is_put_listed_and_removed(database: Database) -> None:
    """Of its own organisation alone; put again, it is another one of the same name."""
    at(database, BEGAN_MS, put())
    at(database, BEGAN_MS, put(organisation="other", scope="other/p"))
    changed: Schedule = at(database, 5, put(cron="0 6 * * 1", zone="Europe/Berlin", by="bob"))
    assert [each.organisation for each in listed(database, "")] == ["acme", "other"]
    assert listed(database, "acme") == [changed]
    assert (changed.cron, changed.zone, changed.by) == ("0 6 * * 1", "Europe/Berlin", "bob")
    assert (changed.given, changed.created_ms) == ({"topic": "reefs"}, BEGAN_MS)
    at(database, 5, RemoveSchedule(*NIGHTLY))
    assert listed(database, "acme") == []
    for act in (PauseSchedule, ResumeSchedule, RemoveSchedule):
        with pytest.raises(NoSuchSchedule, match="no schedule nightly"):
            at(database, 5, act(*NIGHTLY))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 29 2 MON#6"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"zone": "Mars"}, "zone"),
        ({"name": "Not a name"}, "name"),
        ({"name": "one-more"}, "name"),
    ],
)
def test_what_is_no_schedule_is_not_put(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
    field: str,
) -> None:
    """It names what is wrong; an organisation has a bounded number of them."""
    monkeypatch.setattr(schedule_acts, "SCHEDULES_MAX", 1)
    at(database, BEGAN_MS, put())
    with pytest.raises(ScheduleInvalid) as invalid:
        at(database, BEGAN_MS, put(**more))
    assert invalid.value.field == field
    assert len(listed(database, "acme")) == 1


def test_input_is_checked_when_a_schedule_is_put(database: Database) -> None:
    with pytest.raises(DefinitionInvalid, match="topic is to be string"):
        at(database, BEGAN_MS, put(given={"topic": 5}))
    assert listed(database, "") == []


async def test_executors_do_what_is_due(shop: Workshop) -> None:
    """Two of them, one run of it."""
    await shop.executor()
    said = submission({"id": "a", "command": shop.program("a.py", "print(1)")})
    await shop.decide(
        put(
            organisation=shop.stack.organisation,
            scope=shop.stack.scope("p"),
            bundle=said.bundle,
            cron="0 0 1 1 *",
            folder=str(shop.folder),
        )
    )
    await shop.execute("update schedules set next_ms = 0")
    run = await shop.until_scheduled("nightly")
    assert await shop.ended(run) == "done"
    assert len(await shop.rows("select id from runs")) == 1
