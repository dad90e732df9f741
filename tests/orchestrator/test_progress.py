"""What may begin next follows from the rows alone, in whatever order they were written."""

import itertools
import random
from typing import Any

import pytest

from orchestrator.definition import Workflow, read_definition
from orchestrator.places import TaskId
from orchestrator.progress import Progress, Task

DONE, SKIPPED, FAILED = Task("done"), Task("skipped"), Task("failed", error="no")


def workflow(*steps: dict[str, Any]) -> Workflow:
    """Steps that sleep, where they say nothing else."""
    kinds = ("sleep", "approval", "workflow", "http")
    written = [
        each if any(kind in each for kind in kinds) else {**each, "sleep": "1s"} for each in steps
    ]
    return read_definition({"name": "w", "budget": [{"usd": "1"}], "steps": written})


DIAMOND = workflow(
    {"id": "a"},
    {"id": "b", "needs": ["a"]},
    {"id": "c", "needs": ["a"]},
    {"id": "d", "needs": ["b", "c"]},
)


def ready(progress: Progress) -> list[str]:
    return [step.id for step in progress.ready()]


def test_a_step_is_ready_when_all_that_it_needs_has_ended() -> None:
    progress = Progress(DIAMOND, {})
    assert ready(progress) == ["a"]
    progress.set(TaskId("a"), DONE)
    assert ready(progress) == ["b", "c"]
    progress.set(TaskId("c"), DONE)
    assert ready(progress) == ["b"]
    progress.set(TaskId("b"), DONE)
    assert ready(progress) == ["d"]
    assert not progress.is_complete
    progress.set(TaskId("d"), DONE)
    assert progress.is_complete


def test_what_has_begun_is_not_ready_again() -> None:
    progress = Progress(DIAMOND, {})
    progress.set(TaskId("a"), Task("running", attempt=1))
    assert ready(progress) == []
    assert [task.step for task, _ in progress.unfinished()] == ["a"]


def test_nothing_new_begins_beside_a_failure() -> None:
    progress = Progress(DIAMOND, {TaskId("a"): DONE})
    progress.set(TaskId("b"), FAILED)
    assert ready(progress) == []
    assert progress.is_failing
    assert progress.failed == ("b",)


def test_who_needs_what_was_skipped_is_skipped_unless_it_decides_itself() -> None:
    definition = workflow(
        {"id": "a"}, {"id": "b", "needs": ["a"]}, {"id": "c", "needs": ["a"], "when": "{{ true }}"}
    )
    progress = Progress(definition, {TaskId("a"): SKIPPED})
    assert [progress.is_skipped_with(step) for step in progress.ready()] == [True, False]


FAN = workflow(
    {"id": "a", "foreach": {"items": [1], "concurrency": 2}}, {"id": "b", "needs": ["a"]}
)


def fanned(entries: int) -> Progress:
    return Progress(FAN, {TaskId("a"): Task("fanned", output=[*range(entries)])})


def test_entries_begin_beside_those_at_work_up_to_their_limit() -> None:
    progress = fanned(4)
    assert [task.entry for task in progress.startable("a")] == [0, 1]
    progress.set(TaskId("a", 0), Task("running", attempt=1))
    assert [task.entry for task in progress.startable("a")] == [1]
    progress.set(TaskId("a", 1), Task("running", attempt=1))
    assert list(progress.startable("a")) == []
    progress.set(TaskId("a", 1), Task("waiting", attempt=1))
    assert [task.entry for task in progress.startable("a")] == [2], "who waits works at nothing"


@pytest.mark.parametrize(
    ("action", "counts"),
    [
        ({"workflow": "inner"}, True),
        ({"http": {"url": "http://x.example", "callback": True}}, True),
        ({"approval": "?"}, False),
        ({"sleep": "1s"}, False),
    ],
    ids=str,
)
def test_what_somebody_else_works_at_meanwhile_counts_while_it_waits(
    action: dict[str, Any], counts: bool
) -> None:
    """Entries beyond the limit would be at work there else; who waits for a person or a time works
    at nothing."""
    wide = workflow({"id": "a", "foreach": {"items": [1], "concurrency": 1}, **action})
    entry = TaskId("a", 0)
    rows = {TaskId("a"): Task("fanned", output=[1, 2]), entry: Task("waiting", attempt=1)}
    progress = Progress(wide, rows)
    assert [*progress.elsewhere] == ([entry] if counts else [])
    assert [each.entry for each in progress.startable("a")] == ([] if counts else [1])
    progress.set(entry, DONE)
    assert [*progress.elsewhere] == []
    assert [each.entry for each in progress.startable("a")] == [1]


def test_a_fan_ends_with_its_last_entry_and_has_their_outputs_in_order() -> None:
    progress = fanned(3)
    for entry in (2, 0, 1):
        assert not progress.has_ended("a")
        progress.set(TaskId("a", entry), Task("done", output=f"out {entry}"))
    assert progress.output("a") == ["out 0", "out 1", "out 2"]
    assert ready(progress) == ["b"]


def test_an_empty_fan_is_done() -> None:
    progress = fanned(0)
    assert progress.output("a") == []
    assert ready(progress) == ["b"]


@pytest.mark.parametrize("states", [*itertools.permutations((DONE, SKIPPED, FAILED))])
def test_one_failed_entry_fails_its_step(states: tuple[Task, ...]) -> None:
    progress = fanned(3)
    for entry, state in enumerate(states):
        progress.set(TaskId("a", entry), state)
    assert progress.failed == ("a",)


def test_nothing_new_begins_beside_an_entry_that_has_failed() -> None:
    """Neither another entry nor another step; the step has ended when what is at work has."""
    definition = workflow({"id": "a", "foreach": [1]}, {"id": "b"})
    rows = {TaskId("a"): Task("fanned", output=[1, 2]), TaskId("a", 0): Task("running", attempt=1)}
    progress = Progress(definition, rows)
    assert ([task.entry for task in progress.startable("a")], ready(progress)) == ([1], ["b"])
    progress.set(TaskId("a", 0), FAILED)
    for each in (progress, Progress(definition, dict(progress.tasks))):
        assert (each.is_failing, each.failed) == (True, ("a",))
        assert ([*each.startable("a")], ready(each)) == ([], [])


def test_loaded_and_followed_progress_are_the_same() -> None:
    """Whoever takes a run over sees what its first executor saw."""
    chance = random.Random(7)
    for _ in range(200):
        followed = Progress(FAN, {})
        order = [TaskId("a"), *(TaskId("a", each) for each in range(3)), TaskId("b")]
        for task in order[: chance.randrange(6)]:
            state = chance.choice((DONE, Task("running", attempt=1), SKIPPED, Task("waiting")))
            if task == TaskId("a"):
                state = Task("fanned", output=[1, 2, 3])
            followed.set(task, state)
        loaded = Progress(FAN, dict(followed.tasks))
        assert ready(loaded) == ready(followed)
        assert [*loaded.fanned] == [*followed.fanned]
        assert loaded.is_complete == followed.is_complete
        assert {*loaded.unfinished()} == {*followed.unfinished()}


def test_an_entry_that_has_begun_before_the_one_above_it_does_not_begin_again() -> None:
    """As where the row of the first could not be written, and that of the second was."""
    progress = fanned(4)
    progress.set(TaskId("a", 1), DONE)
    assert [task.entry for task in progress.startable("a")] == [0, 2]
    progress.set(TaskId("a", 2), Task("running", attempt=1))
    assert [task.entry for task in progress.startable("a")] == [0]


def test_what_follows_a_fan_follows_from_its_last_entry() -> None:
    progress = fanned(2)
    progress.set(TaskId("a", 0), Task("done", told_by="2"))
    progress.set(TaskId("a", 1), Task("done", told_by="1"))
    assert progress.told_by(("a",)) == "2"
