"""A submission is one run, however often it is said; what changed is a new version, what did not is
none."""

import json
from dataclasses import replace

import pytest

from orchestrator.places import TaskId
from orchestrator.problems import DefinitionInvalid
from orchestrator.running.database import sql
from orchestrator.running.forking import Fork
from orchestrator.running.submitting import Inside, NameTaken, Submit
from tests.orchestrator.running.book import NOW_MS, Book, submission

SLEEP = {"id": "a", "sleep": "1s"}


def test_a_run_is_there_with_its_event(book: Book) -> None:
    """Below its project, queued, and told in the same transaction."""
    run = book.submit(given={"topic": "x"}, input={"topic": {"type": "string"}})
    assert book.status(run) == "queued"
    ((kind, event),) = book.told()
    assert kind == "run_submitted"
    assert event["run_id"] == event["correlation_id"] == run
    assert event["scope"] == f"acme/lab/report/{run}"
    assert event["by"] == "ann"
    assert json.loads(event["detail"])["input"] == {"topic": "x"}


def test_a_changed_definition_is_a_new_version_and_the_same_text_is_not(book: Book) -> None:
    """By what it says, not by how its fields are ordered; one that names a higher version has it,
    and each organisation and folder has its own."""
    assert book.submitted(SLEEP).version == 1
    assert book.submitted({"sleep": "1s", "id": "a"}).version == 1
    assert book.submitted({**SLEEP, "sleep": "2s"}).version == 2
    assert book.submitted(SLEEP).version == 1
    assert book.submitted(SLEEP, version=7).version == 7
    assert book.submitted({**SLEEP, "sleep": "3s"}).version == 8
    assert book.submitted(SLEEP, name="other").version == 1
    assert book.submitted(SLEEP, folder="/srv").version == 9
    assert book.rows("select count(*) from definitions") == [(6,)]


def latest(book: Book) -> str:
    """How long the first step of `report` sleeps, for who starts it by its name."""
    ((_, document, _),) = book.rows(sql("latest_definition"), "acme", "report")
    step = json.loads(str(document))["workflow"]["steps"][0]
    return str(step["sleep"])


def test_a_workflow_is_known_by_its_name_as_it_was_submitted_last(book: Book) -> None:
    """Also where that is an old version again; what takes an old one without being a submission of
    somebody's changes nothing, and the last one is kept, though nothing else has it."""
    one, two = ({**SLEEP, "sleep": each} for each in ("1s", "2s"))
    old = book.submit(one)
    book.submit(two)
    assert latest(book) == "2s"
    book.act(Fork("acme", old, "bob", step="a"))
    scheduled = replace(submission(one), is_scheduled=True)
    book.act(Submit(scheduled))
    book.act(Submit(replace(submission(one), inside=Inside(old, TaskId("a"), 1, ()))))
    assert latest(book) == "2s"
    for _ in range(2):
        assert book.submitted(one).version == 1
        assert latest(book) == "1s"
    book.database.execute("delete from runs")
    book.database.execute(sql("unused_definitions"))
    assert latest(book) == "1s"
    assert book.submitted({**SLEEP, "sleep": "3s"}).version == 3
    assert latest(book) == "3s"


def test_a_changed_file_inside_is_a_new_version(book: Book) -> None:
    """The definition is all that is submitted."""
    step = {"id": "a", "workflow": "x.yaml"}

    def version(seconds: int) -> int:
        steps = [{"id": "b", "sleep": f"{seconds}s"}]
        inside = {"workflow": {"name": "x", "budget": [{"usd": "1"}], "steps": steps}}
        return book.submitted(step, files={"x.yaml": inside}).version

    assert [version(1), version(2), version(1)] == [1, 2, 1]


def test_a_name_is_one_run(book: Book) -> None:
    """The same again is the same run, and nothing is told twice; something else under it is
    refused with the run that has it."""
    first = book.submitted(SLEEP, named="nightly")
    again = book.submitted(SLEEP, named="nightly")
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.run, again.version) == (first.run, first.version)
    assert len(book.told()) == 1
    with pytest.raises(NameTaken, match=first.run):
        book.submit({**SLEEP, "sleep": "2s"}, named="nightly")
    asks = {"input": {"n": {"type": "integer"}}}
    book.submit(SLEEP, given={"n": 1}, named="with-input", **asks)
    with pytest.raises(NameTaken):
        book.submit(SLEEP, given={"n": 2}, named="with-input", **asks)
    assert book.rows("select count(*) from definitions") == [(2,)]


def test_a_name_is_one_run_in_one_scope_and_at_one_start(book: Book) -> None:
    """Another scope is another budget, another start another run: they are refused. A start that is
    said from now is the same whenever it is said."""
    later = {"start_in_ms": 60_000}
    for named, same in (("now", {}), ("at", {"start_ms": NOW_MS + 60_000}), ("in", later)):
        first = book.submitted(SLEEP, named=named, **same)
        again = book.submitted(SLEEP, named=named, **same)
        assert (again.run, again.is_new) == (first.run, False)
        for other in ({"scope": "acme/rich"}, {"start_ms": 7}, {"start_in_ms": 7}):
            with pytest.raises(NameTaken, match=first.run):
                book.submit(SLEEP, named=named, **{**same, **other})
    assert book.rows("select count(*) from runs") == [(3,)]
    due = book.rows(
        "select wake_at_ms from runs where named = 'in' and created_ms + 60000 = wake_at_ms"
    )
    assert len(due) == 1


def test_a_run_that_is_to_begin_later_waits(book: Book) -> None:
    """Nobody claims it before; one whose time is over begins at once."""
    later = book.submit(start_ms=NOW_MS + 1_000)
    past = book.submit(start_ms=NOW_MS - 1_000)
    assert book.claim() == [past]
    book.now_ms = NOW_MS + 2_000
    assert book.claim() == [later]


def test_an_input_is_what_the_workflow_asks_for() -> None:
    """All that is wrong with it, below `input`."""
    asks = {"n": {"type": "integer"}, "text": {"type": "string"}}
    with pytest.raises(DefinitionInvalid) as caught:
        submission(given={"n": "1", "txet": "x"}, input=asks)
    assert [each.place for each in caught.value.problems] == [
        ("input",),
        ("input", "n"),
        ("input",),
    ]
