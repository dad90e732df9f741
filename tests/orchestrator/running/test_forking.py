"""A fork takes over what is done above a step, and nothing else; it is a run of its own."""

import pytest

from orchestrator.problems import DefinitionInvalid
from orchestrator.running.deciding import NoSuchRun, NotPossible
from orchestrator.running.forking import Fork
from orchestrator.running.submitting import NameTaken
from tests.orchestrator.running.book import Book

STEPS = (
    {"id": "a", "sleep": "1s"},
    {"id": "b", "needs": ["a"], "foreach": [1, 2], "sleep": "1s"},
    {"id": "c", "needs": ["b"], "sleep": "1s"},
    {"id": "d", "needs": ["c"], "sleep": "1s"},
    {"id": "side", "sleep": "1s"},
)
ASKS = {"n": {"type": "integer", "default": 1}}
WHO = ("acme", "ann")


def ran(book: Book) -> str:
    """A run that has failed at c."""
    run = book.submit(*STEPS, input=ASKS, given={"n": 5})
    book.claim()
    book.put(run, "a", "done", output={"x": "y" * 100_000})
    book.put(run, "b", "fanned", attempt=0, output=[1, 2])
    for entry in (0, 1):
        book.put(run, "b", "done", entry=entry, output=entry)
    book.put(run, "c", "failed", error="no")
    book.put(run, "side", "running")
    book.end(run, "failed")
    return run


def fork(book: Book, run: str, step: str, **fields: object) -> str:
    """The new run's id."""
    return book.act(Fork("acme", run, "bob", step=step, **fields)).run  # type: ignore[arg-type]  # a test says what


def test_what_is_above_is_taken_over(book: Book) -> None:
    """The step, and all that needs it, is done anew; a foreach is taken over whole; what was at
    work is not; the first run stays as it is."""
    run = ran(book)
    before = book.tasks(run)
    at_c = fork(book, run, "c")
    assert book.tasks(at_c) == {"a": "done", "b": "fanned", "b[0]": "done", "b[1]": "done"}
    assert book.tasks(fork(book, run, "b")) == {"a": "done"}
    assert book.tasks(fork(book, run, "a")) == {}
    rest = book.tasks(fork(book, run, "side"))
    assert rest == {"a": "done", "b": "fanned", "b[0]": "done", "b[1]": "done"}
    assert (book.tasks(run), book.status(run)) == (before, "failed")
    row = "select scope, forked_from, version, by_whom from runs where id = ?"
    assert book.rows(row, at_c) == [(f"acme/lab/report/{at_c}", run, 1, "bob")]


def test_a_foreach_that_has_not_ended_well_is_done_anew(book: Book) -> None:
    """Whole: an entry that failed may be why."""
    run = book.submit(*STEPS)
    book.claim()
    book.put(run, "a", "done")
    book.put(run, "b", "fanned", attempt=0, output=[1, 2])
    book.put(run, "b", "done", entry=0)
    book.put(run, "b", "failed", entry=1)
    assert book.tasks(fork(book, run, "d")) == {"a": "done"}


def test_the_input_is_the_same_but_for_what_is_given(book: Book) -> None:
    """And what does not fit begins nothing."""
    run = ran(book)
    given = "select input from runs where id = ?"
    assert book.rows(given, fork(book, run, "c")) == [('{"n": 5}',)]
    assert book.rows(given, fork(book, run, "c", given={"n": 6})) == [('{"n": 6}',)]
    count = book.rows("select count(*) from runs")
    for wrong in ({"n": "6"}, {"m": 1}):
        with pytest.raises(DefinitionInvalid):
            fork(book, run, "c", given=wrong)
    assert book.rows("select count(*) from runs") == count


def test_a_named_fork_is_one_run(book: Book) -> None:
    """Said again it is the same; with another input, from another step or of another run it is
    refused."""
    run = ran(book)
    first = fork(book, run, "c", named="again")
    assert fork(book, run, "c", named="again") == first
    with pytest.raises(NameTaken):
        fork(book, run, "c", named="again", given={"n": 6})
    other = ran(book)
    for origin, step in ((run, "b"), (other, "c")):
        with pytest.raises(NameTaken, match=first):
            fork(book, origin, step, named="again")


def test_what_cannot_be_forked(book: Book) -> None:
    """A step that is none, a run that is none or of others."""
    run = ran(book)
    with pytest.raises(NotPossible, match="it has a, b, c, d, side"):
        fork(book, run, "x")
    with pytest.raises(NoSuchRun):
        fork(book, "r0", "a")
    with pytest.raises(NoSuchRun):
        book.act(Fork("globex", run, "bob", step="a"))
