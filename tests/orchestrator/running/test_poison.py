"""What one run cannot do harms no other run, and ends: it is never begun again and again."""

import asyncio
import tempfile
import time
from typing import Any

import pytest

from orchestrator.running.closing import Closing
from orchestrator.running.database import Row
from orchestrator.running.deciding import Cancel
from orchestrator.running.purse import Purse
from tests.orchestrator.running.workshop import Workshop
from tests.orchestrator.running.written_runs import submission

NAPS: dict[str, Any] = {"id": "a", "sleep": "1h"}


async def test_a_run_whose_definition_cannot_be_read_fails_and_the_next_one_begins(
    shop: Workshop,
) -> None:
    """As after an upgrade to a version that is stricter."""
    await shop.stop(shop.executors[0])
    broken = await shop.submit(NAPS)
    await shop.execute("update definitions set document = '{\"workflow\": {}}'")
    sound = await shop.submit({"id": "b", "sleep": "1h"})
    await shop.executor()
    await shop.until_task(sound, "b", "waiting")
    assert await shop.ended(broken) == "failed"
    assert "definition" in await shop.error(broken)


async def test_a_run_that_lies_too_deep_fails_and_says_so(shop: Workshop) -> None:
    scope = "/".join([shop.stack.organisation, *"abcdefghijklm"])
    run = await shop.submitted(submission(NAPS, scope=scope))
    assert await shop.ended(run) == "failed"
    assert "too deep" in await shop.error(run)


async def test_a_run_that_cannot_be_closed_leaves_the_others_to_be_closed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else their keys would live on."""
    runs = [await shop.submit({"id": f"a{n}", "sleep": "1h"}) for n in range(2)]
    for run in runs:
        await shop.until(run, "waiting")
    close = Closing._close

    async def refuses_one(self: Closing, row: Row) -> None:
        if row[0] == runs[0]:
            raise ValueError("no such scope")
        await close(self, row)

    monkeypatch.setattr(Closing, "_close", refuses_one)
    for run in runs:
        await shop.decide(Cancel(shop.stack.organisation, run, "ann"))
    assert await shop.ended(runs[1]) == "cancelled"


@pytest.mark.parametrize("said", ["\x00", "\ud800"], ids=["zero", "half"])
async def test_a_failure_of_any_characters_is_kept(shop: Workshop, said: str) -> None:
    """A database takes neither zero bytes nor half characters in a text."""
    lines = (f"import json, sys; print(json.dumps({{'x': {said!r}}}))",)
    run = await shop.submit(
        {"id": "a", "command": shop.program("says.py", *lines)},
        {"id": "b", "needs": ["a"], "command": ["true", "{{ steps.a.output[steps.a.output.x] }}"]},
    )
    assert await shop.ended(run) == "failed"
    assert "\x00" not in await shop.error(run)


async def test_what_nobody_has_thought_of_fails_its_step_after_its_attempts(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried no more often than anything else, because each attempt may cost."""
    begun: list[str] = []

    def full(prefix: str) -> str:
        begun.append(prefix)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    run = await shop.submit(
        {"id": "a", "command": ["true"], "retries": {"most": 1, "backoff": "1s"}}
    )
    assert await shop.ended(run) == "failed"
    assert "No space left" in await shop.error(run)
    assert len(begun) == 2


async def test_what_nobody_has_thought_of_fails_its_run(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(Purse, "open_run", broken)
    run = await shop.submit(NAPS)
    assert await shop.ended(run) == "failed"
    assert "KeyError" in await shop.error(run)


async def test_a_workflow_that_changed_between_two_attempts_is_not_begun_again(
    shop: Workshop,
) -> None:
    """The run that was started goes on, with the definition that it was started with."""
    scope = shop.stack.scope("p")
    first = submission({"id": "x", "sleep": "1h"}, scope=scope, name="inner")
    await shop.decide(Cancel(shop.stack.organisation, await shop.submitted(first), "ann"))
    run = await shop.submit({"id": "a", "workflow": "inner"})
    await shop.until_task(run, "a", "waiting")
    await shop.until(run, "waiting")
    await shop.submitted(submission({"id": "y", "sleep": "1h"}, scope=scope, name="inner"))
    await shop.stop(shop.executors[0])
    await shop.execute("update tasks set status = 'running' where run = ?", run)
    await shop.execute("update runs set status = 'queued' where id = ?", run)
    await shop.executor()
    await shop.until_task(run, "a", "waiting")
    await shop.until_rows(1, "select step from tasks where run = ? and attempt > 1", run)
    await shop.until(run, "waiting")
    assert len(await shop.rows("select id from runs where parent = ?", run)) == 1


async def test_templates_that_take_long_do_not_keep_the_executor_from_its_lease(
    shop: Workshop,
) -> None:
    """Each is bounded; those that are ready at the same time are walked one after the other, and
    other things are done in between. In time of the loop's own: a busy machine takes some more."""
    gaps_s = list[float]()

    async def beat() -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0)
            gaps_s.append(time.thread_time() - began_s)

    beating = asyncio.create_task(beat())
    endless = "{% for i in range(100000) %}{{ i }}{% endfor %}"
    run = await shop.submit(
        {
            "id": "a",
            "foreach": {"items": [*range(8)], "concurrency": 8},
            "command": ["echo", endless],
            "on_failure": "skip",
        }
    )
    assert await shop.ended(run) == "done"
    beating.cancel()
    assert max(gaps_s) < sum(sorted(gaps_s)[-8:]) / 2
