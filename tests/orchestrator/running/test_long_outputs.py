"""Long outputs hold up nobody: a claim reads none of them and takes only so many bytes, whoever
names one gets it whole, and a run has room for so much and no more."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kinds.contract import Signal, StepFailed
from orchestrator.places import TaskId
from orchestrator.progress import Task
from orchestrator.running import acts, outputs
from orchestrator.running.acts import Claim, End, Heartbeat, Look, Put, Requeue, signal
from orchestrator.running.database import Database
from orchestrator.running.deciding import Approve
from orchestrator.running.journal import Doing, Hold, in_one
from orchestrator.running.outputs import ROW_BYTES_MAX, RUN_BYTES_MAX, Room
from orchestrator.running.submitting import Submit
from orchestrator.unread import Unread, reference
from tests.gateway.stack import Stack
from tests.orchestrator.running.databases import Connect
from tests.orchestrator.running.workshop import Workshop, workshop
from tests.orchestrator.running.written_runs import submission

A, B = TaskId("a"), TaskId("b")
LONG = "x" * (ROW_BYTES_MAX + 1)


def write(database: Database, act: Any) -> Any:
    (result,) = in_one(database, [act])
    return result


def claimed(database: Database, executor: str = "e1") -> list[str]:
    """Runs of one claim."""
    write(database, Heartbeat(executor, 60_000))
    return [each.place.id for each in write(database, Claim(executor, 10))[0]]


def test_a_claim_reads_no_output_and_nothing_that_was_told(database: Database) -> None:
    """What is kept apart may be anything: nobody looks at it before it is needed."""
    run = write(database, Submit(submission())).run
    assert claimed(database) == [run]
    for task in (A, B):
        write(database, Put(Hold(run, 1, "e1"), task, Task("waiting", last=LONG, attempt=1)))
        write(database, Doing(partial(_tell, run, task)))
    write(database, Requeue("e1", (run,)))
    database.execute("update blobs set body = 'no JSON'")
    ((found,), _) = write(database, Claim("e1", 10))
    assert found.tasks[A].last == found.signals[B].payload
    assert found.tasks[A].last.size == len(LONG) + len('""')
    assert write(database, Look("e1"))[1][run].keys() == {A, B}


def _tell(run: str, task: TaskId, database: Database, now_ms: int) -> None:
    signal(database, run, task, Signal("", now_ms, LONG))


def test_the_end_of_a_run_inside_is_told_without_being_read(database: Database) -> None:
    """However long its output is."""
    run = write(database, Submit(submission())).run
    inside = write(database, Submit(submission())).run
    database.execute(
        "update runs set parent = ?, parent_step = 'a', parent_entry = -1 where id = ?",
        (run, inside),
    )
    write(database, End(inside, "done", output=Unread(f'["{LONG}", no JSON'), error='a "b"'))
    ((payload,),) = database.rows("select b.body from signals s join blobs b on b.id = s.payload")
    assert str(payload).startswith(f'{{"run":"{inside}","status":"done","error":"a \\"b\\""')
    assert str(payload).endswith(f',"output":["{LONG}", no JSON}}')


def test_a_claim_takes_so_many_bytes_and_leaves_the_rest_to_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, inputs and definitions together; one run is always taken, however long."""
    runs = [write(database, Submit(submission())).run for _ in range(3)]
    for age, run in enumerate(runs):
        database.execute("update runs set created_ms = ? where id = ?", (age, run))
    claimed(database)
    for n, run in enumerate(runs):
        write(database, Put(Hold(run, 1, "e1"), A, Task("again", last=LONG * (n + 1))))
    write(database, Requeue("e1", tuple(runs)))
    monkeypatch.setattr(acts, "CLAIMED_BYTES_MAX", 4 * len(LONG))
    assert claimed(database, "e2") == runs[:2]
    assert claimed(database, "e3") == runs[2:]
    write(database, Requeue("e2", tuple(runs)))
    monkeypatch.setattr(acts, "CLAIMED_BYTES_MAX", 1)
    assert [claimed(database, "e2"), claimed(database, "e3")] == [runs[:1], runs[1:2]]


def test_a_run_has_room_for_so_much_together() -> None:
    """What a task says takes the place of what it has said in the round before, and what does not
    fit takes none."""
    there = Task("again", last=reference("0" * 64, RUN_BYTES_MAX - 100), output=None)
    room = Room({A: there})
    room.take(B, Unread("1" * 90))
    with pytest.raises(
        StepFailed, match=r"more than 64 MiB together: write what is large"
    ) as caught:
        room.take(TaskId("c"), Unread("1" * 11))
    assert caught.value.is_final
    room.take(TaskId("c"), Unread("1" * 10))
    room.take(A, None)
    room.take(TaskId("d"), Unread("1" * 1_000))


async def test_the_step_that_goes_beyond_the_room_fails_for_good(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after its run has left the memory, and a list that a foreach is for counts, too."""
    monkeypatch.setattr(outputs, "RUN_BYTES_MAX", 1_000)
    says = shop.program("says.py", "print('x' * 400)")
    run = await shop.submit(
        {"id": "a", "foreach": [1, 2], "command": says},
        {"id": "ask", "needs": ["a"], "approval": "Go on?"},
        {"id": "b", "needs": ["ask"], "command": says, "on_failure": "skip", "retries": 2},
        {"id": "c", "needs": ["ask"], "foreach": ["y" * 400], "sleep": "1s"},
    )
    await shop.until(run, "waiting")
    await shop.decide(
        Approve(shop.stack.organisation, run, "ann", task=TaskId("ask"), approved=True)
    )
    assert await shop.ended(run) == "failed"
    assert "c: with its output of 404 bytes the run's outputs have more" in await shop.error(run)
    task = await shop.task(run, "b")
    assert (task["status"], task["attempt"]) == ("skipped", 1)


async def test_a_run_that_comes_back_hands_long_outputs_on(
    stack: Stack, connect: Connect, tmp_path: Path
) -> None:
    """Of a foreach, of a round before, and of a server that was told; whoever names them has them
    whole."""
    async with workshop(stack, connect, tmp_path) as shop:
        counts = shop.program(
            "count.py",
            "import json, os, pathlib",
            "given = json.loads(pathlib.Path(os.environ['COMPTROLLER_INPUT']).read_text())",
            "rest, last = given['rest'], given['last'] or [0]",
            f"print(json.dumps([last[0] + len(last), rest, *['x' * {ROW_BYTES_MAX}]]))",
        )
        given = {"last": "{{ last }}", "rest": "{{ steps.many.output | length }}"}
        many = shop.program("many.py", f"print('y' * {ROW_BYTES_MAX + 1})")
        run = await shop.submit(
            {"id": "many", "foreach": [1, 2], "command": many},
            {"id": "ask", "needs": ["many"], "approval": "Go on?"},
            {
                "id": "count",
                "needs": ["ask"],
                "command": {"argv": counts, "input": given},
                "until": {"condition": "{{ last[0] >= 4 }}"},
            },
            output="{{ steps.many.output[1] | length }} {{ steps.count.output[:2] }}",
        )
        await shop.until(run, "waiting")
        ask = TaskId("ask")
        await shop.decide(Approve(stack.organisation, run, "ann", task=ask, approved=True))
        assert await shop.ended(run) == "done", await shop.error(run)
        assert await shop.output(run) == f"{ROW_BYTES_MAX + 1} [4, 2]"
