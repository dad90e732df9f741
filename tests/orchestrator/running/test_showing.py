"""What is shown of runs is what their rows say, to those whose they are, and never more than a
bounded part of what is large."""

import json
from typing import Any

import msgspec
import pytest

from orchestrator.running import showing, whole_outputs
from orchestrator.running.comparing import compare
from orchestrator.running.deciding import Cancel, NoSuchRun, NotPossible
from orchestrator.running.showing import NoSuchStep, Wanted, page, step, whole
from tests.orchestrator.running.book import Book

STEPS = (
    {"id": "plan", "prompt": "x"},
    {"id": "each", "needs": ["plan"], "foreach": [1, 2, 3], "sleep": "1s"},
    {"id": "end", "needs": ["each"], "approval": "ok?"},
)


def half_done(book: Book) -> str:
    """A run whose foreach is at its second entry."""
    run = book.submit(*STEPS)
    book.claim()
    book.put(run, "plan", "done", attempt=2, output={"a": 1})
    book.put(run, "each", "fanned", attempt=0, output=[1, 2, 3])
    book.put(run, "each", "done", entry=0, output="one")
    book.put(run, "each", "running", entry=1)
    return run


def value(raw: msgspec.Raw) -> Any:
    """What stands in it."""
    return json.loads(bytes(raw))


def test_pages_are_newest_first_and_filtered(book: Book) -> None:
    """By organisation, scope and below, workflow, status; a page goes on where the last one has
    ended; scopes that only begin alike are others."""
    runs = [
        book.submit(scope=scope, name=name)
        for scope, name in (("acme/lab", "a"), ("acme/lab2", "a"), ("acme/lab/x", "b"))
    ]
    book.act(Cancel("acme", runs[0], "ann"))

    def found(**fields: str) -> list[str]:
        return [each.id for each in page(book.database, Wanted(**fields), 10)]

    assert found() == runs[::-1]
    assert found(organisation="acme") == runs[::-1]
    assert found(organisation="globex") == []
    assert found(scope="acme/lab") == [runs[2], runs[0]]
    assert found(scope="acme") == runs[::-1]
    assert found(scope="acme/l_b") == found(scope="%") == []
    assert found(workflow="a", status="queued") == [runs[1]]
    first = page(book.database, Wanted(), 2)
    assert [each.id for each in first] == runs[:0:-1]
    assert found(after=first[-1].id) == [runs[0]]
    assert found(inside=runs[0]) == []


def test_a_run_is_shown_with_its_steps(book: Book) -> None:
    """In the order of the definition; of a foreach how many entries are how."""
    run = half_done(book)
    found = whole(book.database, "acme", run)
    plan, each, end = found.steps
    assert (plan.id, plan.kind, plan.status, plan.attempt) == ("plan", "prompt", "done", 2)
    assert value(plan.output) == {"a": 1}
    assert (each.status, each.entries) == ("running", {"done": 1, "running": 1, "pending": 1})
    assert (each.needs, each.attempts, each.ended_ms) == (("plan",), 2, None)
    assert (end.kind, end.status, end.begun_ms) == ("approval", "pending", None)
    assert found.line.status == "running"
    with pytest.raises(NoSuchRun):
        whole(book.database, "globex", run)


def test_what_was_at_work_at_the_end_is_stopped(book: Book) -> None:
    """Rows stay as they were; nobody is at them any more."""
    run = half_done(book)
    book.act(Cancel("acme", run, "ann"))
    found = whole(book.database, "", run)
    assert [each.status for each in found.steps] == ["done", "stopped", "pending"]
    assert found.steps[1].entries == {"done": 1, "stopped": 1, "pending": 1}


def test_long_outputs_are_there_when_they_are_asked_for(book: Book) -> None:
    """In the run only that there is one; whole by its step, also where it is kept apart."""
    run = book.submit({"id": "a", "sleep": "1s"}, {"id": "b", "sleep": "1s"})
    book.claim()
    texts = {"a": "x" * 5_000, "b": "y" * 100_000}
    for name, text in texts.items():
        book.put(run, name, "done", output=text)
    found = whole(book.database, "acme", run)
    assert [(value(each.output), each.has_output) for each in found.steps] == [(None, True)] * 2
    for name, text in texts.items():
        assert json.loads(whole_outputs.of_step(book.database, "acme", run, name, None)) == text
    with pytest.raises(NotPossible, match="running"):
        whole_outputs.of_run(book.database, "acme", run)
    book.end(run, "done", output=texts)
    assert json.loads(whole_outputs.of_run(book.database, "acme", run)) == texts
    assert whole(book.database, "acme", run).has_output


def test_outputs_of_a_foreach(book: Book) -> None:
    """Each for itself, and all in their order when it has ended."""
    run = half_done(book)

    def output(entry: int | None) -> Any:
        return json.loads(whole_outputs.of_step(book.database, "acme", run, "each", entry))

    assert output(0) == "one"
    for entry in (None, 1, 2, 9):
        with pytest.raises(NotPossible):
            output(entry)
    book.put(run, "each", "done", entry=1, output=None)
    book.put(run, "each", "done", entry=2, output=[3])
    assert output(None) == ["one", None, [3]]
    with pytest.raises(NoSuchStep):
        whole_outputs.of_step(book.database, "acme", run, "nothing", None)


def test_a_step_is_shown_with_its_attempts_in_pages(book: Book) -> None:
    """Entries beyond a place, and what was tried of them."""
    run = half_done(book)
    shown, entries, tried = step(book.database, "acme", run, "each", -1, 1)
    assert shown.status == "running"
    assert [(each.entry, each.status, value(each.output)) for each in entries] == [
        (0, "done", "one")
    ]
    assert [(each.entry, each.status) for each in tried] == [(0, "done")]
    _, entries, tried = step(book.database, "acme", run, "each", 0, 5)
    assert [each.entry for each in entries] == [each.entry for each in tried] == [1]
    _, entries, tried = step(book.database, "acme", run, "plan", -1, 5)
    assert (entries, [(each.entry, each.attempt) for each in tried]) == ([], [(None, 2)])


def test_two_runs_are_compared_by_what_they_said(book: Book) -> None:
    """As values: the order of fields is none; of what only one has ended nothing is said."""
    runs = [book.submit(*({"id": name, "sleep": "1s"} for name in "abcd")) for _ in range(2)]
    book.claim()
    said = {"a": ({"x": 1, "y": 2}, {"y": 2, "x": 1}), "b": (1, 2), "c": ("z" * 99_999,) * 2}
    for name, outputs in said.items():
        for run, output in zip(runs, outputs, strict=True):
            book.put(run, name, "done", output=output)
    book.put(runs[0], "d", "done")
    found = compare(book.database, "acme", *runs)
    assert {each.step: each.is_same for each in found.steps} == {
        "a": True, "b": False, "c": True, "d": None
    }  # fmt: skip
    with pytest.raises(NoSuchRun):
        compare(book.database, "globex", *runs)


def test_what_is_shown_of_many_is_bounded(book: Book) -> None:
    """A foreach of thousands is a handful of numbers."""
    run = book.submit({"id": "each", "foreach": "{{ input.x }}", "sleep": "1s"}, input={
        "x": {"type": "array"}
    }, given={"x": []})  # fmt: skip
    book.claim()
    book.put(run, "each", "fanned", attempt=0, output=[*range(5_000)])
    book.database.begin()
    book.database.many(
        "insert into tasks (run, step, entry, status, attempt, failures, round, begun_ms, output, "
        "error, told_by) values (?, 'each', ?, 'running', 1, 0, 0, 1, ?, '', '')",
        [(run, entry, f'"{"x" * 3_000}"') for entry in range(1_000)],
    )
    book.database.commit()
    found = whole(book.database, "acme", run)
    assert found.steps[0].entries == {"running": 1_000, "pending": 4_000}
    assert len(msgspec.json.encode(found.steps)) < 1_000
    assert len(showing.step(book.database, "acme", run, "each", -1, 100)[1]) == 100
