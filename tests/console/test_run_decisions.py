"""Decisions of people, by who may make them, told in the state that the run is in then; and what a
server says to a step, by who was sent its address."""

import json
from typing import Any

from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.running.callbacks import Callbacks
from tests.console.desk import Console
from tests.console.running import SECRET, book_of, submitted

RUNS = "/v1/runs"
ASKS = {"id": "ok", "approval": "Go on?"}
CALLS = {"id": "call", "http": {"url": "https://x.example/run", "callback": True}}


async def test_a_run_is_paused_resumed_and_cancelled(console: Console) -> None:
    """By its operator; what is not possible is a conflict that says what is."""
    run = await submitted(console)
    token = await console.token("operator", "acme")
    for act, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        shown = await console.done("POST", f"{RUNS}/{run}/{act}", token=token)
        assert (shown["id"], shown["status"]) == (run, status)
    assert shown["error"].startswith("cancelled by operator-")
    for act in ("pause", "resume", "retry"):
        error = await console.refused(409, "conflict", "POST", f"{RUNS}/{run}/{act}")
        assert run in error["message"]


async def test_a_pause_of_a_run_at_work_is_wanted(console: Console) -> None:
    """It says so until its executor has seen it."""
    run = await submitted(console)
    with book_of(console) as book:
        book.claim()
        shown = await console.done("POST", f"{RUNS}/{run}/pause")
        assert (shown["status"], shown["wanted"]) == ("running", "pause")
        book.leave(run, "paused")
    assert (await console.done("POST", f"{RUNS}/{run}/resume"))["status"] == "queued"


async def test_a_step_is_answered_once(console: Console) -> None:
    """Yes or no, with a comment and the name of who said it; another decision is a conflict."""
    run = await submitted(console, ASKS, {**ASKS, "id": "each", "foreach": [1, 2]})
    with book_of(console) as book:
        book.claim()
        book.put(run, "ok", "waiting")
        book.put(run, "each", "fanned", attempt=0, output=[1, 2])
        book.put(run, "each", "waiting", entry=1)
        path = f"{RUNS}/{run}/approve"
        no = {"step": "ok", "approved": False, "comment": "too dear"}
        await console.done("POST", path, no)
        await console.refused(409, "conflict", "POST", path, {"step": "ok"})
        await console.refused(409, "conflict", "POST", path, {"step": "each", "entry": 0})
        await console.done("POST", path, {"step": "each", "entry": 1})
        told = book.rows("select step, entry, by_whom, payload from signals order by step")
        assert [(*row[:3], json.loads(str(row[3]))) for row in told] == [
            ("each", 1, "first", {"approved": True, "comment": ""}),
            ("ok", -1, "first", {"approved": False, "comment": "too dear"}),
        ]


async def test_a_run_that_asks_gets_more_or_ends(console: Console) -> None:
    """Limits as budgets have them, only higher ones."""
    run = await submitted(console, on_exhausted="ask")
    path = f"{RUNS}/{run}/approve"
    more = {"limits": [{"usd": "5.00"}]}
    await console.refused(409, "conflict", "POST", path, more)
    with book_of(console) as book:
        book.claim()
        book.leave(run, "asking")
        for wrong in ({"limits": [{"usd": "0.50"}]}, {"limits": [{"tokens": 5}]}):
            await console.refused(409, "conflict", "POST", path, wrong)
        assert (await console.done("POST", path, more))["status"] == "queued"
        book.claim()
        book.leave(run, "asking")
    assert (await console.done("POST", path, {"approved": False}))["status"] == "halted"


NO_DECISIONS: list[dict[str, Any]] = [
        {}, {"entry": 1}, {"step": "ok", "limits": [{"usd": "1"}]}, {"limits": [{"euro": 1}]},
        {"approved": False, "limits": [{"usd": "9"}]}, {"step": "ok", "approved": "yes"},
        {"step": "ok", "entry": -1}, {"step": "ok", "comment": "x" * 5_000}, {"limits": [5]},
        {"step": "ok", "by": "somebody else"},
]  # fmt: skip


async def test_decisions_that_are_none(console: Console) -> None:
    """Refused before anything is looked at."""
    run = await submitted(console, ASKS)
    for body in NO_DECISIONS:
        await console.refused(400, "invalid_request_error", "POST", f"{RUNS}/{run}/approve", body)


async def test_what_has_failed_is_tried_again_or_forked(console: Console) -> None:
    """With what is done, and for a fork with another input."""
    asks = {"n": {"type": "number"}}
    steps = ({"id": "a", "sleep": "1s"}, {"id": "b", "needs": ["a"], "sleep": "1s"})
    run = await submitted(console, *steps, asks=asks, input={"n": 1})
    with book_of(console) as book:
        book.claim()
        book.put(run, "a", "done", output=1)
        book.put(run, "b", "failed", error="no")
        book.end(run, "failed", error="b: no")
        fork = {"step": "b", "input": {"n": 0.25}, "name": "once"}
        answers = [await console.call("POST", f"{RUNS}/{run}/fork", fork) for _ in range(2)]
        assert [each.status_code for each in answers] == [201, 200]
        forked = answers[0].json()
        assert (forked["forked_from"], forked["is_new"]) == (run, True)
        assert answers[1].json()["id"] == forked["id"]
        assert book.tasks(forked["id"]) == {"a": "done"}
        shown = await console.done("GET", f"{RUNS}/{forked['id']}")
        assert (shown["forked_from"], shown["input"]) == (run, {"n": 0.25})
        assert (await console.done("POST", f"{RUNS}/{run}/retry"))["status"] == "queued"
    for wrong in ({"step": "nothing"}, {"step": "b\x00"}):
        answer = await console.call("POST", f"{RUNS}/{run}/fork", wrong)
        assert answer.status_code in (404, 409)
    answer = await console.call("POST", f"{RUNS}/{run}/fork", {"step": "b", "input": {"n": "x"}})
    assert answer.json()["error"]["code"] == "definition_invalid"


async def test_viewers_decide_nothing(console: Console) -> None:
    """They read."""
    run = await submitted(console)
    token = await console.token("viewer", "acme")
    await console.done("GET", f"{RUNS}/{run}", token=token)
    for act in ("cancel", "pause", "resume", "retry"):
        path = f"{RUNS}/{run}/{act}"
        await console.refused(403, "role_not_allowed", "POST", path, token=token)


def address(run: str, attempt: int = 1, entry: int = -1, secret: bytes = SECRET) -> str:
    """As it was sent with the step's request."""
    place = RunPlace(run, f"acme/lab/report/{run}", "report", 1)
    at = AttemptPlace(place, TaskId("call", entry), attempt)
    return Callbacks("", secret).address(at)


async def called(console: Console, path: str, content: bytes = b"{}") -> int:
    """The status of a call without a token."""
    answer = await console.client.post(path, content=content)
    assert answer.status_code < 500, answer.text
    return answer.status_code


async def test_a_callback_is_the_step_s_output(console: Console) -> None:
    """Without a token; said again it answers the same, and the first one counts."""
    run = await submitted(console, CALLS)
    with book_of(console) as book:
        book.claim()
        book.put(run, "call", "waiting")
        book.park(run)
        answers = [
            await console.client.post(address(run), content=content)
            for content in (b'{"n": 0.5}', b"7")
        ]
        assert [each.status_code for each in answers] == [200, 200]
        assert answers[0].json() == answers[1].json() == {"run": run, "step": "call", "attempt": 1}
        assert book.rows("select payload, by_whom from signals") == [('{"n":0.5}', "callback")]
        assert book.status(run) == "queued"


async def test_an_address_is_of_one_attempt(console: Console) -> None:
    """Neither of another run, entry or attempt, nor of another secret, nor of what looks like it;
    one whose attempt is over is a conflict."""
    run, other = await submitted(console, CALLS), await submitted(console, CALLS)
    with book_of(console) as book:
        book.claim()
        for each in (run, other):
            book.put(each, "call", "waiting", attempt=2)
        good = address(run, 2)
        signature = good.rpartition("/")[2]
        forged = [
            good.replace(run, other), good.replace("/2/", "/3/"), good.replace("/-1/", "/0/"),
            address(run, 2, secret=b"guessed"), good[:-1], good + "0", good.upper(), f"{good}/x",
            good.replace(signature, ""), good.replace("/call/", "/call%2F/"),
            good.replace("/call/", "//call/"), f"/v1/callbacks/{signature}", "/v1/callbacks/",
            f"/v1/callbacks/a/b/c/d/{signature}", good.replace("/-1/", "/%2D1/x/"),
        ]  # fmt: skip
        for path in forged:
            assert await called(console, path) in (401, 404, 405), path
        for late in (address(run, 1), address(run, 9), address("r" + "0" * 21)):
            assert await called(console, late) in (404, 409), late
        assert book.rows("select count(*) from signals") == [(0,)]
        book.end(run, "halted")
        assert await called(console, good) == 409


async def test_a_callback_s_body_is_bounded_json(console: Console) -> None:
    """No byte is read of whoever has no address; what JSON does not have is refused; nothing at all
    is null."""
    run = await submitted(console, CALLS)
    with book_of(console) as book:
        book.claim()
        book.put(run, "call", "waiting")
        path = address(run)
        large = b'"' + b"x" * 1024**2 + b'"'
        assert await called(console, path, large) == 413
        assert await called(console, address(run, 1, secret=b"guessed"), large) == 404
        bad = (b"{", b"NaN", b"1e999", b"[" * 5_000, b'"\\ud800"', b"\xff\xfe", b"9" * 5_000)
        for content in bad:
            assert await called(console, path, content) == 400, content[:20]
        assert (await console.client.get(path)).status_code == 405
        assert await called(console, path, b"") == 200
        assert book.rows("select payload from signals") == [("null",)]
