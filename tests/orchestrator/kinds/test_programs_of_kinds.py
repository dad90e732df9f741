"""Commands, functions and workflows are run as they are written, and give what those give."""

from orchestrator.kinds.contract import Waits
from tests.orchestrator.kinds.attempts import FakeAttempt, action, is_an_attempt


async def test_a_command_runs() -> None:
    """With its variables, and no input where the step gives none."""
    attempt = FakeAttempt({"a": 1})
    kind = action(command={"argv": ["a", "b"], "env": {"X": "1"}})
    assert await kind.perform(is_an_attempt(attempt)) == {"a": 1}
    assert attempt.asked == [(("a", "b"), {"X": "1"}, None)]


async def test_a_command_has_the_input_that_its_step_gives() -> None:
    """A value, not a text of it."""
    attempt = FakeAttempt()
    await action(command={"argv": ["a"], "input": {"x": [1]}}).perform(is_an_attempt(attempt))
    assert attempt.asked == [(("a",), {}, {"x": [1]})]


async def test_a_function_is_called() -> None:
    """By the runner, with its arguments as input."""
    attempt = FakeAttempt([1])
    kind = action(python={"function": "a.b:c", "arguments": {"x": [1]}})
    assert await kind.perform(attempt) == [1]
    assert attempt.asked == [(("python", "call.py", "a.b:c"), {}, {"x": [1]})]


async def test_a_workflow_runs() -> None:
    """With its input."""
    attempt = FakeAttempt("done")
    assert await action(workflow={"name": "w", "input": {"n": 1}}).perform(attempt) == "done"
    assert attempt.asked == [("w", {"n": 1})]


def test_a_wait_without_an_end() -> None:
    """Has no time."""
    assert Waits(None).until_ms is None
