"""A price that was wrong is put right: counters, rollups and records come to what was owed, and
whoever may not do it, or asks for what is not understood, changes nothing."""

import asyncio
import json
from typing import Any

import pytest

from budgets.answers import Truth
from budgets.ledger import LedgerOptions
from comptroller.admin_client import AdminAddress, AdminClient
from comptroller.commands.recost import _gone_through
from pricing import Meters
from tests.console.desk import ADMIN_SECRET, Console, listening
from tests.console.recosting import (
    CALLS,
    RIGHT_NUSD,
    SPAN,
    Prices,
    agreed,
    booked,
    pages,
    sums,
    wrongly_charged,
)
from tests.recorder.crashing import RecordsServer
from tests.recorder.recovering import Worker
from tests.recorder.rig import RESERVED_NUSD, until
from tests.recorder.workbench import response_event


async def test_everything_comes_to_what_was_owed(
    recosting: Console, records: RecordsServer
) -> None:
    """Twenty calls by a wrong price; then the counter, the hours, the days and the view `usage`
    say what the right one comes to, to the nano-dollar, and no call or token is counted twice. A
    second run finds nothing."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    shown = await pages(recosting, {"organisation": caller.organisation})
    assert [page["booked"] for page in shown] == [0]
    (difference,) = shown[0]["differences"]
    assert difference["model"] == "small"
    assert (difference["requests"], difference["charged_nusd"]) == (CALLS, 210)
    assert difference["owed_nusd"] == CALLS * RIGHT_NUSD
    assert difference["difference_nusd"] == CALLS * RIGHT_NUSD - 210
    assert difference["difference_usd"] == "0.00000645"
    assert await caller.desk.totals() == (210, 0)

    assert await booked(recosting, caller) == CALLS
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(CALLS * RIGHT_NUSD)
    (again,) = await pages(recosting, {"organisation": caller.organisation, "book": True})
    assert (again["examined"], again["booked"], again["already"]) == (CALLS, 0, 0)
    assert again["differences"] == []
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)


async def test_a_correction_names_its_request(recosting: Console) -> None:
    """Who, why, both prices and both charges; in the groups of its request, without meters."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 1)
    assert await booked(recosting, caller) == 1
    await caller.recorded()
    where = f"organisation={caller.organisation}"
    events = (await recosting.done("GET", f"/v1/events?{where}"))["events"]
    ended = next(each for each in events if each["event_type"] == "llm_response")
    made = next(each for each in events if each["event_type"] == "correction")
    same = ("request_id", "scope", "agent", "key_id", "provider", "model", "model_requested")
    assert {name: made[name] for name in same} == {name: ended[name] for name in same}
    assert (made["by"], made["usage_source"], made["price_version"]) == ("first", "recost", "right")
    assert (made["charged_nusd"], made["reserved_nusd"], made["text_input"]) == (332, 0, 0)
    assert json.loads(made["detail"]) == {
        "reason": "recost",
        "price_version_before": "p1",
        "price_version": "right",
        "charged_before_nusd": 1,
        "owed_nusd": RIGHT_NUSD,
    }


async def test_without_prices_nothing_is_priced(recorded: Console) -> None:
    """An admin API that was started without them says so for each request."""
    caller = await recorded.caller()
    await wrongly_charged(caller, 1)
    (page,) = await pages(recorded, {"organisation": caller.organisation, "book": True})
    assert "started without prices" in page["unpriced"][0]["reason"]


async def test_money_that_was_moved_is_corrected_where_it_came_from(
    recosting: Console, records: RecordsServer
) -> None:
    """Requests of an allotment, of which one ended before it was closed and one after: its own
    counter and the one above it follow, and the events say what the counters do."""
    caller = await recosting.caller()
    worker = await Worker.at(recosting.stage, caller.organisation)
    scope, expires_ms = f"{caller.organisation}/moved", worker.session.clock.now_ms() + 600_000
    await worker.administration.allot(scope, {"usd": 10**9}, expires_ms, b"{}")
    first, second = await worker.begin(scope), await worker.begin(scope)
    await worker.end(first, 7)
    assert await worker.administration.close_allotment(scope, b"{}") == "CLOSING"
    await worker.end(second, 9)
    assert await booked(recosting, caller) == 2
    await caller.recorded()
    store = records.store()
    lines = await store.select(
        "SELECT counter.1, sum(counter.4) FROM comptroller.events ARRAY JOIN counters AS counter "
        "WHERE org = {org:String} AND part = 0 AND event_type != 'llm_request' AND counter.2 = 1 "
        "GROUP BY counter.1",
        {"org": caller.organisation},
    )
    await store.close()
    said = {name: int(nusd) for name, nusd in map(json.loads, lines.splitlines())}
    spent = {name: values[0] for name, values in (await caller.desk.counters()).items()}
    assert said == spent
    assert set(spent.values()) == {2 * RIGHT_NUSD}
    assert len(spent) == 2


async def test_all_pages_of_the_client_are_one(recosting: Console) -> None:
    """What the command adds up: every page, booked as it comes, and each day and model once."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 5)
    async with listening(recosting) as (client, _):
        address = AdminAddress(str(client.base_url), ADMIN_SECRET)
        wanted = {**SPAN, "organisation": caller.organisation, "limit": 2, "book": True}

        def gone_through() -> dict[str, Any]:
            with AdminClient(address) as admin:
                return _gone_through(admin, wanted)

        found = await asyncio.to_thread(gone_through)
    assert (found["examined"], found["booked"], found["already"]) == (5, 5, 0)
    (row,) = found["differences"]
    assert (row["requests"], row["charged_nusd"], row["owed_nusd"]) == (5, 15, 5 * RIGHT_NUSD)
    assert row["difference_usd"] == "0.00000165"


async def test_truth_that_came_late_is_priced_again(recosting: Console, prices: Prices) -> None:
    """A request that expired was charged whole; its late truth corrected that, and the recost
    corrects the truth, in the counters that it reserved of."""
    caller = await recosting.stage.caller("", LedgerOptions(lease_ms=1))
    desk, id_ = caller.desk, caller.desk.session.new_id()
    await caller.reserve(id_)

    async def has_expired() -> bool:
        return await desk.ledger.sweep(desk.organisation) == [id_]

    await until(has_expired)
    (page,) = await pages(recosting, {"organisation": desk.organisation, "book": True})
    assert (page["examined"], await desk.totals()) == (0, (RESERVED_NUSD, 0))
    truth = response_event(id_, desk.organisation, RESERVED_NUSD, 40)
    late = await desk.ledger.settle(desk.organisation, id_, Truth(40, 15), truth, b"")
    assert (late, await desk.totals()) == ("CORRECTED", (40, 0))
    assert await booked(recosting, caller) == 1
    assert prices.asked[-1].charged_nusd == 40
    assert await desk.totals() == (RIGHT_NUSD, 0)
    assert await booked(recosting, caller) == 0


async def test_what_an_event_tells_is_what_is_priced(recosting: Console, prices: Prices) -> None:
    """Every meter, the tier, what was reported and the detail of the log, as they were written; of
    an event without them, that it has none."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 1)
    desk, id_ = caller.desk, caller.desk.session.new_id()
    meters = {name: n for n, name in enumerate(Meters.__slots__, 1)}
    more = {
        **meters,
        "service_tier": "flex",
        "reported_nusd": 0,
        "detail": '{"facts":{"fast":true}}',
    }
    await caller.reserve(id_)
    told = response_event(id_, desk.organisation, RESERVED_NUSD, 40, **more)
    await desk.ledger.settle(desk.organisation, id_, Truth(40, 15), told, b"")
    assert await booked(recosting, caller) == 2
    before, whole = prices.asked[-2:]
    assert (before.is_told_whole, before.reported_nusd, before.video_input) == (False, None, 0)
    assert whole.is_told_whole
    assert whole.meters == Meters(**meters)
    assert (whole.reported_nusd, whole.facts.service_tier, whole.facts.fast) == (0, "flex", True)


async def test_pages_come_to_the_same(recosting: Console) -> None:
    """Whatever their size; a page begins where the one before ended, with others' organisations
    in between."""
    callers = [await recosting.caller() for _ in range(2)]
    for each in callers:
        await wrongly_charged(each, 7)
    found = await pages(recosting, {"limit": 3, "book": True})
    own = {each.organisation for each in callers}
    assert sum(page["booked"] for page in found if page["organisation"] in own) == 14
    assert max(page["examined"] for page in found) == 3
    for each in callers:
        assert await each.desk.totals() == (7 * RIGHT_NUSD, 0)


async def test_only_what_a_provider_has_said_is_priced_again(
    recosting: Console, prices: Prices
) -> None:
    """Not what was reserved, counted or released; not what is out of the time or of another
    model."""
    caller = await recosting.caller()
    await caller.make(5)  # the last of which is released
    await caller.recorded()
    start_ms = caller.desk.session.clock.now_ms()
    own = {"organisation": caller.organisation}
    assert (await pages(recosting, own))[0]["examined"] == 4
    assert (await pages(recosting, {**own, "model": "small-1"}))[0]["examined"] == 4
    for none in (
        {"model": "other"},
        {"since_ms": start_ms + 1},
        {"until_ms": start_ms - 3_600_000},
    ):
        assert (await pages(recosting, {**own, **none}))[0]["examined"] == 0


async def test_what_has_no_price_is_left_and_told(recosting: Console, prices: Prices) -> None:
    """With its model, its number and the reason; nothing of it is booked."""
    prices.nusd = None
    caller = await recosting.caller()
    await wrongly_charged(caller, 2)
    (page,) = await pages(recosting, {"organisation": caller.organisation, "book": True})
    assert page["unpriced"] == [{"model": "small", "requests": 2, "reason": "nobody knows"}]
    assert (page["examined"], page["booked"]) == (2, 0)
    assert await caller.desk.totals() == (3, 0)


async def test_a_correction_that_the_ledger_does_not_take_is_told(recosting: Console) -> None:
    """A counter that somebody has set back would fall below zero: nothing of it is booked."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 1)
    await caller.recorded()
    ((counter, _),) = (await caller.desk.counters()).items()
    recosting.parts.tariff.nusd = 0  # type: ignore[attr-defined]
    desk = caller.desk
    await desk.administration.adjust(
        desk.organisation, desk.session.new_id(), [(counter, 1, -1)], b'{"charged_nusd":-1}'
    )
    (page,) = await pages(recosting, {"organisation": caller.organisation, "book": True})
    assert (page["booked"], len(page["refused"])) == (0, 1)
    assert page["refused"][0]["reason"] == "a counter would fall below zero"
    assert await desk.totals() == (0, 0)


async def test_windows_that_are_over_are_corrected_in_the_records_only(
    recosting: Console, records: RecordsServer
) -> None:
    """A counter that has left is not begun anew; the one without an end follows."""
    caller = await recosting.caller()
    desk = caller.desk
    await desk.set_budget(f"{desk.organisation}", [{"usd": "1000"}, {"usd": "5", "window": "day"}])
    await wrongly_charged(caller, 2)
    daily = next(field for field in await desk.counters() if not field.endswith(":0"))
    await caller.recorded()
    await desk.transport.command("HDEL", desk.key("ledger"), daily)
    await desk.set_budget(desk.organisation, [{"usd": "1000"}])
    assert await booked(recosting, caller) == 2
    left = await desk.counters()
    assert daily not in left
    assert [spent for spent, _, _ in left.values()] == [2 * RIGHT_NUSD]
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(2 * RIGHT_NUSD, 2)


async def test_a_token_of_one_organisation_touches_no_other(recosting: Console) -> None:
    """It neither sees nor books what others have; a viewer does neither."""
    mine, theirs = [await recosting.caller() for _ in range(2)]
    for each in (mine, theirs):
        await wrongly_charged(each, 2)
    token = await recosting.token("operator", mine.organisation)
    found = await pages(recosting, {"book": True}, token=token)
    assert {page["organisation"] for page in found} == {mine.organisation}
    assert await mine.desk.totals() == (2 * RIGHT_NUSD, 0)
    assert await theirs.desk.totals() == (3, 0)
    body = {**SPAN, "organisation": theirs.organisation}
    path = "/v1/prices/recost"
    await recosting.refused(403, "organisation_not_allowed", "POST", path, body, token=token)
    viewer = await recosting.token("viewer")
    await recosting.refused(403, "role_not_allowed", "POST", path, SPAN, token=viewer)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "since_ms"),
        ({"since_ms": -1}, "since_ms"),
        ({"since_ms": 5, "until_ms": 5}, "until_ms"),
        ({"since_ms": 10**15}, "since_ms"),
        ({"since_ms": 0, "limit": 501}, "limit"),
        ({"since_ms": 0, "model": "m" * 257}, "model"),
        ({"since_ms": 0, "after": "x"}, "after"),
        ({"since_ms": 0, "book": "yes"}, "book"),
        ({"since_ms": 0, "organization": "acme"}, "organization"),
    ],
)
async def test_what_is_wrong_is_named(console: Console, body: Any, param: str) -> None:
    """Every field has its bounds, and none is ignored."""
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/prices/recost", body)
    assert error["param"] == param


async def test_a_counter_that_nothing_has_touched_yet_is_begun(recosting: Console) -> None:
    """Of a window that still stands: of a template's child, too. What has left with its window is
    an event only."""
    caller = await recosting.caller()
    desk = caller.desk
    await desk.set_budget(
        desk.organisation,
        {"limits": [{"usd": "5", "window": "month"}], "per_child": [{"usd": "2"}]},
    )
    worker = await Worker.at(recosting.stage, desk.organisation)
    await worker.end(await worker.begin(f"{desk.organisation}/child"), 7)
    await caller.recorded()
    before = await desk.counters()
    assert len(before) == 2
    for name in before:
        await desk.transport.command("HDEL", desk.key("ledger"), name)
    assert await booked(recosting, caller) == 1
    after = await desk.counters()
    assert {name: spent for name, (spent, _, _) in after.items()} == dict.fromkeys(
        before, RIGHT_NUSD - 7
    )
