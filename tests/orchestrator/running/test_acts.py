"""What an executor writes counts while the run is its own, and never afterwards; on SQLite and on
PostgreSQL."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.kinds.contract import Signal
from orchestrator.places import TaskId
from orchestrator.progress import Task
from orchestrator.running.acts import (
    Claim,
    End,
    EndBelow,
    Heartbeat,
    Leave,
    Look,
    Park,
    Put,
    Requeue,
    signal,
)
from orchestrator.running.database import Database
from orchestrator.running.deciding import Decision, Pause, Resume
from orchestrator.running.forking import Fork
from orchestrator.running.journal import Doing, Hold, Overtaken, in_one
from orchestrator.running.outputs import ROW_BYTES_MAX, whole
from orchestrator.running.rows import Telling
from orchestrator.running.submitting import Inside, Submission, Submit
from orchestrator.unread import Unread, unread, value_of
from tests.orchestrator.running.acting import LEASE_MS, Write, claimed, status, submitted
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.written_runs import submission

A = TaskId("a")


def heard(write: Write) -> dict[TaskId, Signal]:
    """What steps of e1's only run were told, read."""
    (told,) = write(Look("e1"))[1].values()
    return {task: replace(each, payload=value_of(each.payload)) for task, each in told.items()}


def test_a_run_is_claimed_once(write: Write, hold: Hold) -> None:
    assert hold.epoch == 1
    assert write(Claim("e2", 10))[0] == []


def test_a_claimed_run_comes_with_all_that_it_needs(write: Write) -> None:
    wanted = submission(given={"topic": "x"}, input={"topic": {"type": "string"}}, folder="/f")
    run = submitted(write, wanted).run
    hold = claimed(write, "e1", run)
    state = Task(
        *("again", 2, 1, 3),
        wake_at_ms=5,
        output=Unread("[1]"),
        last=Unread('{"x":null}'),
    )
    write(Put(hold, A, state))
    write(Requeue("e1", (run,)))
    ((found,), _) = write(Claim("e2", 1))
    assert (found.place.scope, found.given) == (f"acme/p/w/{run}", {"topic": "x"})
    assert (found.folder, found.by, found.epoch) == ("/f", "tester", 3)
    assert found.tasks == {A: state}


def test_the_oldest_run_is_begun_first(write: Write, database: Database) -> None:
    runs = [submitted(write).run for _ in range(3)]
    for age, run in enumerate(reversed(runs)):
        database.execute("update runs set created_ms = ? where id = ?", (age, run))
    found, _ = write(Claim("e1", 2))
    assert {each.place.id for each in found} == set(runs[1:])


def test_a_long_output_is_kept_once_and_read_whole(
    write: Write, hold: Hold, database: Database
) -> None:
    long = "x" * (ROW_BYTES_MAX + 1)
    for task in (A, TaskId("b")):
        write(Put(hold, task, Task("done", output=long)))
    assert database.rows("select count(*) from blobs") == [(1,)]
    write(Requeue("e1", (hold.run,)))
    ((found,), _) = write(Claim("e2", 1))
    outputs = [whole(database, found.tasks[each].output) for each in (A, TaskId("b"))]
    assert outputs == [unread(long)] * 2


@pytest.mark.parametrize(
    "act",
    [
        lambda hold: Put(hold, A, Task("done", output="late")),
        lambda hold: Park(hold, None),
        lambda hold: Leave(hold, "paused"),
        lambda hold: End(hold.run, "done", hold=hold),
    ],
    ids=["put", "park", "leave", "end"],
)
@pytest.mark.parametrize("lost_by", ["takeover", "cancel"])
def test_who_has_lost_a_run_writes_nothing_to_it(
    write: Write, hold: Hold, database: Database, act: Callable[[Hold], Any], lost_by: str
) -> None:
    if lost_by == "cancel":
        write(End(hold.run, "cancelled"))
    else:
        write(Heartbeat("e1", -1))
        assert write(Heartbeat("e2", LEASE_MS)) == 1
    before = status(database, hold.run)
    assert isinstance(write(act(hold)), Overtaken)
    assert status(database, hold.run) == before
    assert database.rows("select * from tasks") == []


def test_a_run_that_comes_back_to_its_first_executor_is_another_one(
    write: Write, hold: Hold
) -> None:
    write(Requeue("e1", (hold.run,)))
    again = claimed(write, "e1", hold.run)
    assert again.epoch > hold.epoch
    assert isinstance(write(Put(hold, A, Task("done"))), Overtaken)


def test_only_a_lease_that_is_over_is_taken_over(write: Write, hold: Hold) -> None:
    assert write(Heartbeat("e2", LEASE_MS)) == 0
    write(Heartbeat("e1", -1))
    assert write(Heartbeat("e2", LEASE_MS)) == 1
    assert write(Look("e1")) == ({}, {})
    ((found,), _) = write(Claim("e2", 10))
    assert found.place.id == hold.run


def test_a_sole_executor_does_not_wait_for_leases(write: Write, hold: Hold) -> None:
    assert write(Heartbeat("e2", LEASE_MS, is_sole=True)) == 1
    ((found,), _) = write(Claim("e2", 10))
    assert found.place.id == hold.run


def test_a_parked_run_is_due_at_its_time(write: Write, hold: Hold, database: Database) -> None:
    due_ms = database.now_ms() + 60_000
    write(Park(hold, due_ms))
    assert write(Claim("e1", 10)) == ([], due_ms)
    database.execute("update runs set wake_at_ms = ?", (database.now_ms(),))
    assert len(write(Claim("e1", 10))[0]) == 1


def test_a_signal_that_comes_while_a_run_parks_is_not_lost(
    write: Write, hold: Hold, database: Database
) -> None:
    """Whichever of the two is first."""
    told = Signal("ann", 1, {"approved": True})
    write(Put(hold, A, Task("waiting", attempt=1)))
    write(Doing(lambda db, _: signal(db, hold.run, A, told)))
    assert heard(write) == {A: told}
    write(Park(hold, None))
    again = claimed(write, "e1", hold.run)
    write(Put(again, A, Task("waiting", attempt=1), reads_signal=True))
    write(Park(again, None))
    assert status(database, hold.run) == "waiting"
    write(Doing(lambda db, _: signal(db, hold.run, A, told)))
    assert status(database, hold.run) == "queued"


def test_a_run_that_could_not_begin_waits_for_its_time_whatever_it_was_told(
    write: Write, hold: Hold, database: Database
) -> None:
    """Its scope is frozen, say: it is not claimed again and again for what it cannot read."""
    write(Put(hold, A, Task("waiting", attempt=1)))
    write(Doing(lambda db, _: signal(db, hold.run, A, Signal("ann", 1, True))))
    soon_ms, later_ms = (database.now_ms() + by for by in (1_000, 60_000))
    write(Park(hold, soon_ms))
    assert write(Claim("e1", 10)) == ([], soon_ms)
    database.execute("update runs set wake_at_ms = ?", (later_ms,))
    claimed(write, "e1", hold.run)


def test_a_step_is_told_once(write: Write, hold: Hold) -> None:
    write(Put(hold, A, Task("waiting", attempt=1)))
    first, second = (Signal("ann", 1, each) for each in (True, False))
    assert write(Doing(lambda db, _: signal(db, hold.run, A, first)))
    assert not write(Doing(lambda db, _: signal(db, hold.run, A, second)))
    assert heard(write) == {A: first}


def test_a_run_ends_once_and_tells_the_step_that_waits_for_it(
    write: Write, hold: Hold, database: Database
) -> None:
    write(Put(hold, A, Task("waiting", attempt=1)))
    write(Park(hold, None))
    inside = Inside(hold.run, A, 1, (("acme/p/w/x/a", 1),))
    wanted = submission(scope=f"acme/p/w/{hold.run}/a", named="one/a")
    run = submitted(write, _inside(wanted, inside)).run
    child = claimed(write, "e1", run)
    assert write(End(run, "done", output={"x": 1}, hold=child)) is True
    assert write(End(run, "failed", error="late")) is False
    assert status(database, hold.run) == "queued"
    claimed(write, "e1", hold.run)
    (told,) = heard(write).values()
    assert told.payload == {"run": run, "status": "done", "output": {"x": 1}, "error": ""}


def _inside(wanted: Submission, inside: Inside) -> Submission:
    return Submission(
        *(wanted.organisation, wanted.scope, wanted.bundle, wanted.given, wanted.by),
        named=wanted.named,
        inside=inside,
    )


def test_runs_inside_of_a_scope_end_and_their_neighbours_do_not(
    write: Write, database: Database
) -> None:
    scopes = ("acme/p/r1/a", "acme/p/r1/a/w/r2/b", "acme/p/r10/a", "acme/p/r1-x", "other/p/r1/a")
    runs = [submitted(write, submission(scope=each)).run for each in scopes]
    assert set(write(EndBelow("acme", "acme/p/r1"))) == set(runs[:2])
    assert [status(database, each) for each in runs] == ["cancelled"] * 2 + ["queued"] * 3


def test_an_attempt_has_begun_once_however_often_that_is_written(
    write: Write, hold: Hold, database: Database
) -> None:
    begins = Put(hold, A, Task("running", attempt=1), begins=True)
    write(begins)
    write(begins)
    write(Put(hold, A, Task("done", attempt=1), ended="done"))
    assert database.rows("select attempt, epoch, executor, status from attempts") == [
        (1, hold.epoch, "e1", "done")
    ]


def test_events_wait_in_their_order_and_once(write: Write, hold: Hold, database: Database) -> None:
    tellings = [Telling(f"{n:032x}", "acme", "step_started", b"{}") for n in (3, 1, 2)]
    for each in (*tellings, tellings[0]):
        write(Put(hold, A, Task("running", attempt=1), telling=each))
    rows = database.rows(
        "select id from tellings where event_type = 'step_started' order by number"
    )
    assert [row[0] for row in rows] == [each.id for each in tellings]


def test_no_more_runs_of_a_workflow_are_at_work_than_may_be(
    write: Write, database: Database
) -> None:
    """And those of others are not held up by them."""
    many = [submitted(write, submission(name="few", runs_at_once=2)).run for _ in range(5)]
    other = submitted(write, submission(name="other")).run
    for age, run in enumerate((*many, other)):
        database.execute("update runs set created_ms = ? where id = ?", (age, run))
    (claimed, _) = write(Claim("e1", 10))
    assert {each.place.id for each in claimed} == {*many[:2], other}
    assert write(Claim("e2", 10))[0] == []
    write(End(many[0], "cancelled"))
    ((next_, *none), _) = write(Claim("e2", 10))
    assert (next_.place.id, none) == (many[2], [])


def test_two_executors_claim_each_run_once(connect: Connect, write: Write) -> None:
    """At the same time, from connections of their own."""
    runs = {submitted(write).run for _ in range(40)}
    found: list[str] = []
    lock = threading.Lock()

    def claim(executor: str) -> None:
        database = connect()
        empty = 0
        while empty < 3:
            ((got, _),) = in_one(database, [Claim(executor, 3)])
            empty = 0 if got else empty + 1
            with lock:
                found.extend(each.place.id for each in got)
        database.close()

    threads = [threading.Thread(target=claim, args=(f"e{n}",)) for n in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == sorted(runs)


def test_one_act_that_fails_is_undone_whole(write: Write, database: Database) -> None:
    def half(db: Database, _: int) -> None:
        Submit(submission())(db, 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write(Doing(half))
    assert database.rows("select * from runs") == []


def test_the_time_is_the_databases(database: Database) -> None:
    assert abs(database.now_ms() - time.time() * 1000) < 60_000


def test_what_went_wrong_is_kept_whatever_its_characters_are(
    write: Write, hold: Hold, database: Database
) -> None:
    """A program may print zero bytes, and JSON may have half a character."""
    said = "a\x00b\ud800"
    write(Put(hold, A, Task("failed", attempt=1, error=said), begins=True))
    write(Put(hold, A, Task("failed", attempt=1, error=said), ended="failed"))
    write(End(hold.run, "failed", error=said, hold=hold))
    for table in ("tasks", "attempts", "runs"):
        assert database.rows(f"select error from {table}") == [("a?b?",)]


def decided(act: type[Decision], run: str) -> Decision:
    return act("acme", run, "ann")


def test_a_run_that_parks_while_somebody_pauses_it_is_paused(
    write: Write, hold: Hold, database: Database
) -> None:
    """Else it could be neither paused nor resumed, and would stop when it wakes."""
    assert write(decided(Pause, hold.run)) == "running"
    write(Park(hold, None))
    assert status(database, hold.run) == "paused"
    assert write(decided(Resume, hold.run)) == "queued"
    write(Park(claimed(write, "e1", hold.run), None))
    assert status(database, hold.run) == "waiting"


def test_a_run_that_is_resumed_before_it_has_paused_goes_on(
    write: Write, hold: Hold, database: Database
) -> None:
    write(decided(Pause, hold.run))
    write(decided(Resume, hold.run))
    write(Leave(hold, "paused"))
    assert status(database, hold.run) == "queued"
    again = claimed(write, "e1", hold.run)
    write(decided(Pause, hold.run))
    write(Leave(again, "paused"))
    assert status(database, hold.run) == "paused"


def test_a_submission_that_is_done_twice_is_one_run(write: Write, database: Database) -> None:
    """As where nobody knows whether its transaction was committed; also without a name."""
    act = Submit(submission())
    first, again = write(act), write(act)
    assert (first.run, first.version) == (again.run, again.version)
    fork = Fork("acme", first.run, "ann", step="a")
    assert write(fork).run == write(fork).run
    assert database.rows("select count(*) from runs") == [(2,)]
    assert database.rows("select count(*) from tellings") == [(2,)]


def test_no_run_begins_inside_of_one_that_is_over(
    write: Write, hold: Hold, database: Database
) -> None:
    """As one that an executor starts which has slept: nobody would wait for it, or end it."""
    inside = Inside(hold.run, A, 1, ())
    wanted = _inside(submission(scope=f"acme/p/w/{hold.run}/a", named="one"), inside)
    write(End(hold.run, "failed", hold=hold))
    with pytest.raises(Overtaken):
        write(Submit(wanted))
    assert database.rows("select count(*) from runs") == [(1,)]


def test_who_has_lost_a_run_ends_nothing_inside_of_it(write: Write, hold: Hold) -> None:
    """It belongs to an attempt of whoever has it now."""
    inside = Inside(hold.run, A, 1, ())
    run = submitted(write, _inside(submission(scope=f"acme/p/w/{hold.run}/a"), inside)).run
    ends = EndBelow("acme", f"acme/p/w/{hold.run}", hold=hold)
    write(Requeue("e1", (hold.run,)))
    assert isinstance(write(ends), Overtaken)
    again = claimed(write, "e1", hold.run)
    assert write(EndBelow("acme", f"acme/p/w/{hold.run}", hold=again)) == [run]
