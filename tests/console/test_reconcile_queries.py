"""What `comptroller reconcile` asks the records: each request on the day and under the model of its
own ending, with all that was ever charged for it."""

from typing import Any

from budgets.answers import Truth
from clickhouse.query import load_query
from tests.console.desk import Console
from tests.recorder.recovering import RESERVED_NUSD, Worker
from tests.recorder.rig import Caller
from tests.recorder.workbench import response_event

DAY_MS = 86_400_000


async def asked(console: Console, name: str, caller: Caller, **span: int) -> list[dict[str, Any]]:
    """Rows of a query for this caller's organisation, of the last two days unless said."""
    await caller.recorded()
    now_ms = caller.desk.session.clock.now_ms()
    parameters = {"since_ms": now_ms - DAY_MS, "until_ms": now_ms + DAY_MS, **span}
    body = {"query": load_query(name), "parameters": parameters}
    token = await console.token("viewer", caller.organisation)
    answer = await console.done("POST", "/v1/sql", body, token=token)
    names = [each["name"] for each in answer["columns"]]
    return [dict(zip(names, row, strict=True)) for row in answer["rows"]]


async def test_told_untold_and_free_requests_are_counted_apart(recorded: Console) -> None:
    """Two whose provider said what they used, one whose stream was counted, one released (no
    request of the provider's), one open."""
    caller = await recorded.caller()
    worker = await Worker.at(recorded.stage, caller.organisation)
    for charged in (7, 9):
        await worker.end(await worker.begin(), charged)
    cut = await worker.begin()
    more = {"usage_source": "counted", "text_input": 0, "cached_input": 0}
    none = {"text_output": 0, "reasoning_output": 0}
    event = response_event(cut.id, caller.organisation, RESERVED_NUSD, 500, **more, **none)
    await worker.ledger.settle(caller.organisation, cut.id, Truth(500, 1), event, b"")
    released = await worker.begin()
    await worker.ledger.release(caller.organisation, released.id, b"")
    await worker.begin()
    (row,) = await asked(recorded, "reconcile_ended", caller)
    assert (row["model"], row["told_requests"], row["untold_requests"]) == ("small-1", 2, 1)
    assert (row["input_tokens"], row["output_tokens"]) == (20, 14)
    assert (row["charged_nusd"], row["untold_nusd"]) == (516, 500)
    (still_open,) = await asked(recorded, "reconcile_open", caller)
    assert (still_open["model"], still_open["requests"]) == ("small-1", 1)
    assert still_open["reserved_nusd"] == 1_000


async def test_a_request_is_of_the_time_in_which_it_ended(recorded: Console) -> None:
    """Outside of the time nothing is counted, whatever was booked for it later."""
    caller = await recorded.caller()
    await caller.call(0)
    await caller.recorded()
    now_ms = caller.desk.session.clock.now_ms()
    before = {"since_ms": now_ms - 2 * DAY_MS, "until_ms": now_ms - DAY_MS}
    assert await asked(recorded, "reconcile_ended", caller, **before) == []
    desk, (counter,) = caller.desk, await caller.desk.counters()
    await desk.administration.adjust(
        desk.organisation, desk.session.new_id(), [(counter, 1, 5)], b'{"charged_nusd":5}'
    )
    (row,) = await asked(recorded, "reconcile_ended", caller)
    assert row["charged_nusd"] == 100
