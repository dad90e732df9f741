"""A request is sent once; its answer, or the call back, is the output, and any status but 2xx is a
failure: for good where the same request would be answered in the same way."""

from typing import Any

import pytest

from orchestrator.kinds.contract import Answer, Signal, StepFailed, Waits
from tests.orchestrator.kinds.attempts import FakeAttempt, action

URL = "https://agents.example/run"


async def test_the_answer_is_the_output() -> None:
    """And the request is what is written: with the key only where it says so."""
    attempt = FakeAttempt(Answer(200, {}, {"a": 1}))
    assert await action(http=URL).perform(attempt) == {"a": 1}
    fields = {"url": URL, "method": "PUT", "headers": {"x": "1"}, "body": [1], "key": True}
    await action(http=fields).perform(attempt)
    assert attempt.asked == [
        ("POST", URL, {}, None, False),
        ("PUT", URL, {"x": "1"}, [1], True),
    ]


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(301, True), (400, True), (404, True), (408, False), (425, False), (429, False), (500, False),
     (503, False), (199, False)],
)  # fmt: skip
async def test_another_status_is_a_failure(status: int, is_final: bool) -> None:
    """With what the server said."""
    headers = {"retry-after": "7", "location": "https://other.example/"}
    attempt = FakeAttempt(Answer(status, headers, {"error": "w" * 10_000}))
    with pytest.raises(StepFailed, match=str(status)) as failed:
        await action(http=URL).perform(attempt)
    assert failed.value.is_final is is_final
    assert len(str(failed.value)) < 1_000


async def test_a_call_back_ends_it() -> None:
    """It is sent once, waits, and gives what the call back says."""
    kind = action(http={"url": URL, "callback": True})
    attempt = FakeAttempt(Answer(202, {}, None))
    with pytest.raises(Waits) as waits:
        await kind.perform(attempt)
    assert waits.value.until_ms == attempt.deadline_ms
    payload: Any = {"done": True}
    attempt.signal = Signal("server", 2_000, payload)
    assert await kind.perform(attempt) == payload
    assert len(attempt.asked) == 1


async def test_nobody_calls_back() -> None:
    """It fails when its time is over, and sends nothing again."""
    attempt = FakeAttempt(Answer(202, {}, None), now_ms=61_000)
    with pytest.raises(StepFailed, match="nobody called back within 60 s"):
        await action(http={"url": URL, "callback": True}).perform(attempt)
    assert attempt.asked == []


async def test_a_request_that_is_refused_does_not_wait() -> None:
    """Nothing was begun that could call back."""
    with pytest.raises(StepFailed):
        await action(http={"url": URL, "callback": True}).perform(FakeAttempt(Answer(500, {}, "")))
