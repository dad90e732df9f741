"""Approvals and sleeps wait without a process, until their time or a signal, and then end; nobody's
answer is a no, and so is anything but a plain yes."""

from typing import Any

import pytest

from orchestrator.kinds.contract import Signal, Waits
from tests.orchestrator.kinds.attempts import FakeAttempt, action


@pytest.mark.parametrize(
    ("fields", "until_ms"),
    [({"message": "m"}, 61_000), ({"message": "m", "timeout": "5s"}, 6_000),
     ({"message": "m", "timeout": "1h"}, 61_000)],
)  # fmt: skip
async def test_an_approval_waits_and_then_is_a_no(fields: dict[str, Any], until_ms: int) -> None:
    """Until its own timeout, or its step's."""
    with pytest.raises(Waits) as waits:
        await action(approval=fields).perform(FakeAttempt(now_ms=until_ms - 1))
    assert waits.value.until_ms == until_ms
    assert await action(approval=fields).perform(FakeAttempt(now_ms=until_ms)) == {
        "approved": False,
        "by": "",
        "comment": "nobody answered in time",
        "at_ms": until_ms,
    }


@pytest.mark.parametrize(
    ("payload", "approved", "comment"),
    [
        ({"approved": True, "comment": "go"}, True, "go"),
        (True, True, ""),
        ({"approved": False, "comment": "no"}, False, "no"),
        (False, False, ""),
        ({"approved": "true"}, False, ""),
        ({"comment": 3}, False, ""),
        ([True], False, ""),
        (None, False, ""),
    ],
)
async def test_a_decision_is_the_output(payload: Any, approved: bool, comment: str) -> None:
    """Whoever says something else than a plain yes has not approved; late is not too late, as
    long as the step waits."""
    attempt = FakeAttempt(signal=Signal("ann", 7, payload), now_ms=10**9)
    assert await action(approval="m").perform(attempt) == {
        "approved": approved,
        "by": "ann",
        "comment": comment,
        "at_ms": 7,
    }


async def test_a_sleep_waits_from_its_beginning() -> None:
    """The same end after a restart, and no output."""
    with pytest.raises(Waits) as waits:
        await action(sleep="30s").perform(FakeAttempt(now_ms=20_000))
    assert waits.value.until_ms == 31_000
    attempt = FakeAttempt(now_ms=31_000)
    assert await action(sleep="30s").perform(attempt) is None
