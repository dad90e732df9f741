"""A decision counts once, in the states that it is for; in every other it is refused with what can
be done instead, and changes nothing."""

import json
from typing import Any

import pytest

from budgets.policy import parse_policy
from orchestrator.places import PLAIN, TaskId
from orchestrator.running.acts import End, EndBelow
from orchestrator.running.deciding import (
    Approve,
    CallBack,
    Cancel,
    NoSuchRun,
    NotPossible,
    Pause,
    RaiseBudget,
    Resume,
    RetryFailed,
)
from orchestrator.running.submitting import Inside, Submit
from tests.orchestrator.running.book import NOW_MS, Book, submission

ASKS = {"id": "ok", "approval": "Go on?"}
CALLS = {"id": "call", "http": {"url": "https://x.example/run", "callback": True}}
FAN = {"id": "each", "foreach": "{{ input.items }}", "sleep": "1s"}


def who(run: str, organisation: str = "acme") -> tuple[str, str, str]:
    """The first fields of a decision."""
    return organisation, run, "ann"


def signals(book: Book, run: str) -> list[Any]:
    """What its steps were told."""
    rows = book.rows("select payload from signals where run = ? order by step, entry", run)
    return [json.loads(str(payload)) for (payload,) in rows]


def test_a_run_of_others_is_not_there(book: Book) -> None:
    """Neither is one that nobody has submitted."""
    run = book.submit()
    for asked in (who(run, "globex"), who("r0"), who("' or 1=1 --"), who("")):
        with pytest.raises(NoSuchRun):
            book.act(Cancel(*asked))
    assert book.status(run) == "queued"
    assert book.act(Cancel(*who(run, ""))) == "cancelled"


def test_a_cancelled_run_writes_nothing_more(book: Book) -> None:
    """Its executor's epoch is over; a second time it is as it is."""
    run = book.submit()
    book.claim()
    assert book.act(Cancel(*who(run))) == "cancelled"
    assert book.act(Cancel(*who(run))) == "cancelled"
    assert not book.act(End(run, "done", hold=book.holds[run]))
    for act in (Pause, Resume, RetryFailed):
        with pytest.raises(NotPossible, match=run):
            book.act(act(*who(run)))
    assert book.status(run) == "cancelled"


def test_a_pause_is_wanted_of_who_is_at_work(book: Book) -> None:
    """And taken back by a resume; a run that nobody has is paused at once."""
    run = book.submit()
    assert book.act(Pause(*who(run))) == "paused"
    assert book.act(Pause(*who(run))) == "paused"
    assert book.claim() == []
    assert book.act(Resume(*who(run))) == "queued"
    assert book.claim() == [run]
    assert book.act(Pause(*who(run))) == "running"
    assert book.rows("select wanted from runs") == [("pause",)]
    assert book.act(Resume(*who(run))) == "running"
    assert book.rows("select wanted from runs") == [("",)]


def test_a_paused_run_still_begins_at_its_time(book: Book) -> None:
    """Where nothing of it has begun; else it goes on at once, whatever it waited for."""
    run = book.submit(start_ms=NOW_MS + 10_000)
    book.act(Pause(*who(run)))
    assert book.act(Resume(*who(run))) == "waiting"
    assert book.claim() == []
    book.now_ms += 20_000
    assert book.claim() == [run]
    book.put(run, "a", "waiting", wake_at_ms=book.now_ms + 10_000)
    book.park(run, book.now_ms + 10_000)
    book.act(Pause(*who(run)))
    assert book.act(Resume(*who(run))) == "queued"


def test_an_approval_is_told_once(book: Book) -> None:
    """The run is due then, the event says who; a second decision is refused."""
    run = book.submit(ASKS)
    book.claim()
    book.put(run, "ok", "waiting", attempt=3, told_by="e" * 32)
    book.park(run)
    decision = Approve(*who(run), TaskId("ok"), approved=True, comment="fine")
    assert book.act(decision) == "waiting"
    assert book.status(run) == "queued"
    assert signals(book, run) == [{"approved": True, "comment": "fine"}]
    kind, event = book.told()[-1]
    assert (kind, event["by"], event["step_id"]) == ("approval_resolved", "ann", "ok")
    assert (event["attempt"], event["triggered_by"]) == (3, "e" * 32)
    with pytest.raises(NotPossible, match="decided already"):
        book.act(decision)


def test_only_an_approval_is_approved(book: Book) -> None:
    """Not a step that waits for a server, which would take the decision for its output; nor one
    that has ended, an entry that is none, or a step of a run that is over."""
    run = book.submit(ASKS, CALLS)
    book.claim()
    book.put(run, "call", "waiting")
    for task in (TaskId("call"), TaskId("ok"), TaskId("ok", 4), TaskId("nothing")):
        with pytest.raises(NotPossible, match="does not ask"):
            book.act(Approve(*who(run), task, approved=True))
    book.put(run, "ok", "waiting")
    book.end(run, "halted")
    with pytest.raises(NotPossible, match="does not ask"):
        book.act(Approve(*who(run), TaskId("ok"), approved=True))
    assert signals(book, run) == []


def test_a_callback_is_the_output_of_its_attempt(book: Book) -> None:
    """Said again it is as before, also when the step is done; another attempt's is refused."""
    run = book.submit(CALLS)
    book.claim()
    book.put(run, "call", "waiting", attempt=2)
    book.park(run)
    task = TaskId("call")
    for number in (1, 3):
        with pytest.raises(NotPossible, match="is over"):
            book.act(CallBack(run, task, number, "no"))
    for payload in ({"a": 1}, {"a": 2}):
        book.act(CallBack(run, task, 2, payload))
    assert signals(book, run) == [{"a": 1}]
    assert book.claim() == [run]
    book.put(run, "call", "done", attempt=2, output={"a": 1})
    book.act(CallBack(run, task, 2, {"a": 3}))
    book.end(run, "done")
    book.act(CallBack(run, task, 2, {"a": 4}))
    assert signals(book, run) == []


def test_a_callback_may_come_before_the_answer(book: Book) -> None:
    """A server that is quick calls back while its answer is on the way: the step is due when it
    waits."""
    run = book.submit(CALLS)
    book.claim()
    book.put(run, "call", "running")
    book.act(CallBack(run, TaskId("call"), 1, 7))
    book.put(run, "call", "waiting")
    book.park(run)
    assert book.claim() == [run]
    assert signals(book, run) == [7]


def test_what_has_failed_is_tried_again(book: Book) -> None:
    """With all its attempts; what is done stays; what failed before it began begins as it would
    have, so that a foreach is looked at anew."""
    asks = {"items": {"type": "array"}}
    run = book.submit(
        {"id": "a", "sleep": "1s"}, {"id": "b", "sleep": "1s"}, FAN, input=asks, given={"items": []}
    )
    book.claim()
    book.put(run, "a", "done", output=1)
    book.put(run, "b", "failed", attempt=3, failures=3, error="no")
    book.put(run, "each", "failed", attempt=0, error="foreach takes a list")
    with pytest.raises(NotPossible, match="fork"):
        book.act(RetryFailed(*who(run)))
    book.end(run, "failed", error="b: no")
    assert book.act(RetryFailed(*who(run))) == "queued"
    assert book.tasks(run) == {"a": "done", "b": "again"}
    assert book.rows("select failures, error from tasks where step = 'b'") == [(0, "")]
    assert book.rows("select ended_ms, error, scope_open from runs") == [(None, "", 1)]
    assert book.claim() == [run]


def test_a_server_whose_key_is_dead_is_asked_again(book: Book) -> None:
    """Not one that has none, or whose answer is there: it would do its work twice."""
    keyed = {"url": "https://x.example/run", "callback": True, "key": True}
    run = book.submit(
        CALLS, {"id": "keyed", "http": keyed}, {"id": "fan", "foreach": [1, 2], "http": keyed}
    )
    book.claim()
    book.put(run, "fan", "fanned", output=[1, 2])
    for step, entry in (("call", PLAIN), ("keyed", PLAIN), ("fan", 0), ("fan", 1)):
        book.put(run, step, "waiting", entry=entry, wake_at_ms=NOW_MS + 1_000_000)
    book.act(CallBack(run, TaskId("fan", 1), 1, "done"))
    book.end(run, "failed")
    book.act(RetryFailed(*who(run)))
    assert book.tasks(run) == {
        "call": "waiting", "keyed": "again", "fan": "fanned", "fan[0]": "again", "fan[1]": "waiting"
    }  # fmt: skip
    assert signals(book, run) == ["done"]
    ((wake_at_ms,),) = book.rows("select wake_at_ms from tasks where step = 'keyed'")
    assert wake_at_ms == book.now_ms


def test_a_budget_is_raised_and_never_lowered(book: Book) -> None:
    """By limits that the run has, above what it has; without any it is halted."""
    run = book.submit()
    with pytest.raises(NotPossible, match="does not ask"):
        book.act(RaiseBudget(*who(run), parse_policy([{"usd": "9"}]).limits))
    book.claim()
    book.leave(run, "asking")
    for wrong, words in (
        ({"usd": "1.00"}, "not above"),
        ({"tokens": 5}, "no limit of tokens"),
        ({"usd": "9", "window": "day"}, "no limit of usd"),
    ):
        with pytest.raises(NotPossible, match=words):
            book.act(RaiseBudget(*who(run), parse_policy([wrong]).limits))
    assert book.act(RaiseBudget(*who(run), parse_policy([{"usd": "2.50"}]).limits)) == "queued"
    ((budget,),) = book.rows("select budget from runs")
    assert json.loads(str(budget))[0]["amount"] == "2500000000"
    assert book.claim() == [run]
    book.leave(run, "asking")
    assert book.act(RaiseBudget(*who(run), comment="enough")) == "halted"
    assert book.status(run) == "halted"
    said = [json.loads(e["detail"]) for k, e in book.told() if k == "approval_resolved"]
    assert [each["approved"] for each in said] == [True, False]


def test_runs_inside_end_with_the_one_around_them(book: Book) -> None:
    """And only those: a scope that begins alike, with characters that other orders of texts skip,
    is another one's."""
    around = book.submit()
    scope = f"acme/lab/report/{around}"
    inside = [
        book.act(Submit(_inside(around, at))).run
        for at in (f"{scope}/a", f"{scope}-/a", f"{scope}0/a", f"{scope}/a/r1/b")
    ]
    assert book.act(EndBelow("globex", scope)) == []
    assert sorted(book.act(EndBelow("acme", scope))) == sorted([inside[0], inside[3]])
    assert [book.status(each) for each in inside] == ["cancelled", "queued", "queued", "cancelled"]


def _inside(run: str, scope: str) -> Any:
    wanted = submission(scope=scope)
    object.__setattr__(wanted, "inside", Inside(run, TaskId("a"), 1, ()))
    return wanted
