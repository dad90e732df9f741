"""A price that was wrong is put right: counters, rollups and records come to what was owed, once,
however often it is run, wherever it is interrupted, and whatever happens to the ledger."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import console.recosting
from budgets.answers import Truth
from budgets.ledger import LedgerOptions
from budgets.policy import Policy
from budgets.transport import LedgerUnavailable
from comptroller.admin_client import AdminAddress, AdminClient
from comptroller.commands.recost import _gone_through
from console.charges import Charged, NotPriced, Owed
from console.options import ConsoleOptions
from tests.console.desk import ADMIN_SECRET, Console, listening, opened
from tests.recorder.crashing import RecordsServer
from tests.recorder.recovering import Worker, recording, restarted
from tests.recorder.rig import RESERVED_NUSD, Caller, staged, until
from tests.recorder.workbench import response_event

ROOT = Path(__file__).parents[2]
CALLS = 20
RIGHT_NUSD = 333
SPAN = {"since_ms": 0}


@dataclass
class Prices:
    """A tariff that a test changes: what a request costs whose version it is; None: unknown."""

    nusd: int | None = RIGHT_NUSD
    version: str = "right"
    asked: list[Charged] = field(default_factory=list)

    def owed(self, used: Charged) -> Owed:
        """See console.charges.Tariff."""
        self.asked.append(used)
        if self.nusd is None:
            raise NotPriced("nobody knows")
        return Owed(self.nusd, self.version)


@pytest.fixture
def prices() -> Prices:
    """Another one than was charged by."""
    return Prices()


@pytest.fixture
async def recosting(
    records: RecordsServer, options: ConsoleOptions, prices: Prices
) -> AsyncIterator[Console]:
    """A console with these prices, records and a recorder."""
    async with staged() as stage:
        store = records.store()
        await stage.recorder(store)
        async with opened(stage, Console.found(records), options, prices) as console:
            yield console
        await store.close()


async def pages(console: Console, wanted: Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    while not found or place["after"]:
        body = {**SPAN, **wanted, **place}
        found.append(await console.done("POST", "/v1/prices/recost", body, **more))
        place = {"after": found[-1]["next"]}
    return found


async def booked(console: Console, caller: Caller, **more: Any) -> int:
    """How many corrections a recost of all that this caller did has booked."""
    wanted = {"organisation": caller.organisation, "book": True, **more}
    return sum(page["booked"] for page in await pages(console, wanted))


async def wrongly_charged(caller: Caller, calls: int = CALLS) -> None:
    """So many calls, the nth for n nano-dollars."""
    for n in range(calls):
        id_ = caller.desk.session.new_id()
        await caller.reserve(id_)
        await caller.settle(id_, n + 1)


async def sums(records: RecordsServer, organisation: str) -> dict[str, int]:
    """What an organisation has spent by everything that adds it up."""
    store = records.store()
    queries = {
        "events": "sum(charged_nusd) FROM comptroller.events WHERE event_type != 'llm_request' AND",
        "hourly": "sum(charged_nusd) FROM comptroller.spend_hourly WHERE",
        "daily": "sum(charged_nusd) FROM comptroller.spend_daily WHERE",
        "usage": "sum(charged_nusd) FROM comptroller.usage WHERE model = 'small-1' AND",
        "requests": "sum(requests) FROM comptroller.usage WHERE",
        "tokens": "sum(input_tokens + output_tokens) FROM comptroller.usage WHERE",
    }
    found: dict[str, int] = {}
    for name, query in queries.items():
        line = await store.select(f"SELECT {query} org = {{org:String}}", {"org": organisation})
        found[name] = int(json.loads(line)[0])
    await store.close()
    return found


async def charges(records: RecordsServer, organisation: str) -> list[int]:
    """What was charged for each request, by all of its events."""
    store = records.store()
    lines = await store.select(
        "SELECT sum(charged_nusd) FROM comptroller.events WHERE org = {org:String} AND event_type "
        "IN ('llm_response', 'correction') GROUP BY request_id",
        {"org": organisation},
    )
    await store.close()
    return [int(json.loads(line)[0]) for line in lines.splitlines()]


def agreed(nusd: int, calls: int = CALLS) -> dict[str, int]:
    """Sums that all say this much, and count each call and its tokens once."""
    money = dict.fromkeys(("events", "hourly", "daily", "usage"), nusd)
    return {**money, "requests": calls, "tokens": calls * 17}


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


async def test_a_price_may_change_to_and_fro(recosting: Console, prices: Prices) -> None:
    """Dearer, cheaper, and back to one that was booked before: each time what the last one says."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 3)
    for nusd, version in ((500, "a"), (2, "b"), (500, "a"), (0, "free"), (500, "a")):
        prices.nusd, prices.version = nusd, version
        assert await booked(recosting, caller) == 3
        assert await caller.desk.totals() == (3 * nusd, 0)


async def test_two_at_once_book_once(
    recosting: Console, records: RecordsServer, options: ConsoleOptions
) -> None:
    """Whoever comes second on the same charge is told ALREADY and changes nothing, even with
    another price: it finds the new charge when it is run again."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    await caller.recorded()
    other, wanted = Prices(500, "other"), {"organisation": caller.organisation, "book": True}
    async with opened(recosting.stage, Console.found(records), options, other) as second:
        both = await asyncio.gather(pages(recosting, wanted), pages(second, wanted))
        assert sum(page["booked"] + page["already"] for found in both for page in found) >= CALLS
        await caller.recorded()
        charged = await charges(records, caller.organisation)
        assert len(charged) == CALLS
        assert set(charged) <= {RIGHT_NUSD, 500}
        assert await caller.desk.totals() == (sum(charged), 0)
        await booked(second, caller)
        assert await caller.desk.totals() == (CALLS * 500, 0)


async def test_the_second_on_one_charge_is_told_already(
    recosting: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recost books between the reading of a page and its booking."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 3)
    others: list[str | int] = []
    policies = recosting.parts.session.policies

    async def overtaken(organisation: str) -> Mapping[str, Policy]:
        if not others:
            others.append("begun")
            others.append(await booked(recosting, caller))
        return await policies(organisation)

    monkeypatch.setattr(recosting.parts.session, "policies", overtaken)
    (page,) = await pages(recosting, {"organisation": caller.organisation, "book": True})
    assert others == ["begun", 3]
    assert (page["booked"], page["already"]) == (0, 3)
    assert await caller.desk.totals() == (3 * RIGHT_NUSD, 0)


async def test_an_old_reading_is_not_booked_by(
    recosting: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tombstones of what others have booked meanwhile go after a while: a process that was paused
    reads again."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 1)
    monkeypatch.setattr(console.recosting, "BOOK_S_MAX", -1)
    body = {**SPAN, "organisation": caller.organisation, "book": True}
    await recosting.refused(503, "records_unavailable", "POST", "/v1/prices/recost", body)
    assert await caller.desk.totals() == (1, 0)


async def test_without_prices_nothing_is_priced(recorded: Console) -> None:
    """An admin API that was started without them says so for each request."""
    caller = await recorded.caller()
    await wrongly_charged(caller, 1)
    (page,) = await pages(recorded, {"organisation": caller.organisation, "book": True})
    assert "started without prices" in page["unpriced"][0]["reason"]


@pytest.mark.parametrize("after", [0, 7, 19])
async def test_one_that_is_cut_off_is_run_again(
    recosting: Console, records: RecordsServer, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The ledger goes after some corrections, one of them booked without an answer: what was booked
    is there, and the second run books the rest, and no more."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    administration = recosting.parts.administration
    adjust, made = administration.adjust, 0

    async def cut(*args: Any, **more: Any) -> str:
        nonlocal made
        made += 1
        answer = await adjust(*args, **more)
        if made > after:
            raise LedgerUnavailable("gone")
        return answer

    monkeypatch.setattr(type(administration), "adjust", lambda _, *a, **m: cut(*a, **m))
    body = {**SPAN, "organisation": caller.organisation, "book": True}
    await recosting.refused(503, "ledger_unavailable", "POST", "/v1/prices/recost", body)
    monkeypatch.undo()
    assert await booked(recosting, caller) == CALLS - after - 1
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(CALLS * RIGHT_NUSD)


@pytest.mark.parametrize("after", [1, 11])
async def test_one_that_is_killed_is_run_again(
    recosting: Console, records: RecordsServer, after: int
) -> None:
    """A process that ends by SIGKILL between two corrections: the second run books what is left."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.console.recosting_process"),
        *(str(recosting.stage.server.socket_path), str(records.folder), str(records.port)),
        *(caller.organisation, str(after)),
        cwd=ROOT,
    )
    assert await process.wait() == -signal.SIGKILL
    assert await booked(recosting, caller) == CALLS - after
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(CALLS * RIGHT_NUSD)


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


async def test_records_that_are_behind_are_not_gone_by(
    records: RecordsServer, prices: Prices
) -> None:
    """What the ledger has booked and no recorder has written may be a correction: nothing is booked
    before it is there."""
    options = ConsoleOptions(recost_wait_ms_max=300)
    async with staged() as stage:
        store = records.store()
        running = await stage.recorder(store)
        async with opened(stage, Console.found(records), options, prices) as console:
            caller = await console.caller()
            await wrongly_charged(caller)
            await caller.recorded()
            await running.stop()
            assert await caller.call(0)
            body = {**SPAN, "organisation": caller.organisation, "book": True}
            path = "/v1/prices/recost"
            error = await console.refused(503, "records_unavailable", "POST", path, body)
            assert "not yet" in error["message"]
            assert (await caller.desk.totals())[0] == 210 + 100
        await store.close()


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


async def test_a_recovery_keeps_what_was_corrected(
    records: RecordsServer, options: ConsoleOptions, prices: Prices
) -> None:
    """The ledger loses everything after a recost: it comes back with the corrected counters, a
    second run changes nothing, and the chain holds through both epochs."""
    store = records.store()
    organisation = "recost-recovered"
    async with staged() as stage, recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        for _ in range(5):
            await worker.end(await worker.begin(), 7)
        async with opened(stage, Console.found(records), options, prices) as console:
            body = {"organisation": organisation, "book": True}
            (page,) = await pages(console, body)
            assert page["booked"] == 5
            await worker.until_recorded()
            before = await worker.books()
            with restarted(stage.server, files=stage.folder / "nowhere"):
                pass
            await worker.transport.command("PING")
            await worker.session.looked_at(organisation)
            assert await worker.books() == before
            assert await worker.totals() == (5 * RIGHT_NUSD, 0)
        async with opened(stage, Console.found(records), options, prices) as console:
            (again,) = await pages(console, body)
            assert (again["examined"], again["booked"], again["already"]) == (5, 0, 0)
        assert await worker.totals() == (5 * RIGHT_NUSD, 0)
        await worker.until_recorded()
    await store.close()
