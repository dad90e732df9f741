"""Refusals are counted in the process and told once a second, whatever the ledger does."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from budgets.answers import Refusal, RefusalCode
from budgets.plan import Bound, ScopePath
from budgets.policy import Limit
from budgets.transport import LedgerRejected, LedgerSilent, LedgerUnavailable
from clickhouse.events import decode_written
from gateway import refusal_log
from gateway.errors import BudgetExceeded, GatewayError, RateLimited
from gateway.events import RequestEvent
from gateway.refusal_log import FLUSH_MS, OTHERS, RefusalLog
from tests.budgets.harness import ManualClock
from tests.gateway.stack import NEVER_MS

START_MS = 1_800_000_000_000
EXHAUSTED = BudgetExceeded(402, "no", "exhausted")
HELD = RateLimited("not now", "held", 5)


class Sequence:
    """The ledger as `append` sees it: what it has, by id, and the faults in the way to it."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[str, str, bytes]] = {}
        self.faults: deque[Exception | str | None] = deque()
        self.away: dict[str, Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.told = asyncio.Event()

    async def append(self, organisation: str, id_: str, event_type: str, event: bytes) -> str:
        """Under the next fault; with LedgerSilent it is done, and only the answer is lost."""
        self.asked.append((organisation, id_))
        await asyncio.sleep(0)
        if organisation in self.away:
            raise self.away[organisation]
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, str):
            return fault
        if fault is not None and not isinstance(fault, LedgerSilent):
            raise fault
        is_new = id_ not in self.events
        assert is_new or self.events[id_] == (organisation, event_type, event)
        self.events[id_] = (organisation, event_type, event)
        self.told.set()
        if fault is not None:
            raise fault
        return "DONE" if is_new else "ALREADY"

    def written(self, organisation: str = "acme") -> list[dict[str, Any]]:
        """The events of an organisation, as records can read them, `detail` decoded."""
        found = []
        for owner, event_type, event in self.events.values():
            assert event_type == "budget_exceeded"
            assert decode_written(event).error
            if owner == organisation:
                document = json.loads(event)
                found.append({**document, "detail": json.loads(document["detail"])})
        return found

    def counts(self) -> list[int]:
        """How many refusals each event counts."""
        return [each["detail"]["count"] for each in self.written()]


class Bench:
    """A log at a sequence of the test's, at the test's time."""

    def __init__(self, flush_ms: int = NEVER_MS) -> None:
        self.clock = ManualClock(START_MS)
        self.sequence = Sequence()
        self.ids = 0
        self.log = RefusalLog(self.sequence.append, self.new_id, self.clock, flush_ms=flush_ms)

    def new_id(self) -> str:
        """Another one each time."""
        self.ids += 1
        return f"id-{self.ids}"

    def note(
        self,
        key: str = "key-1",
        *,
        by: str = "acme/research",
        organisation: str = "acme",
        error: GatewayError = EXHAUSTED,
        code: RefusalCode = "EXHAUSTED",
        request_id: str = "",
        times: int = 1,
    ) -> None:
        """Requests of a key that one scope refuses."""
        path = ScopePath(f"{organisation}/research/{key}", f"{organisation}/research/{key}")
        bound = Bound(by, Limit("1.0", "usd", "day", "1000"), 0)
        refusal = Refusal(code, by, bound, spent=700, reserved=100, allotted=50, asked=200)
        if code == "FROZEN":
            refusal = Refusal(code, by)
        for _ in range(times):
            id_ = request_id or self.new_id()
            self.log.note(request(id_, path.scope, key), path, refusal, error)


def request(id_: str, scope: str, key: str) -> RequestEvent:
    """What was asked."""
    return RequestEvent(
        request_id=id_,
        scope=scope,
        key_id=key,
        agent="writer",
        endpoint="/v1/chat/completions",
        provider="openai",
        model_requested="small",
        model="small-1",
        streamed=False,
        input_tokens_max=1,
        output_cap_asked=0,
        price_version="v",
        request_bytes=10,
        payload_state="full",
    )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A log that is written when the test says so."""
    bench = Bench()
    yield bench
    bench.sequence.faults.clear()
    bench.sequence.away.clear()
    assert await bench.log.drain(1_000) == 0


async def test_many_refusals_of_a_kind_are_one_event(bench: Bench) -> None:
    """Who, what and how much are the first's; the count and the times are of all."""
    bench.note(request_id="first")
    bench.clock.at_ms += 40
    bench.note(request_id="later", times=98)
    bench.clock.at_ms += 60
    bench.note(request_id="last")
    assert bench.log.waiting == 100
    await bench.log.flush()
    assert bench.log.waiting == 0
    (event,) = bench.sequence.written()
    assert event == {
        "scope": "acme/research/key-1",
        "error": "exhausted",
        "request_id": "first",
        "key_id": "key-1",
        "agent": "writer",
        "endpoint": "/v1/chat/completions",
        "provider": "openai",
        "model_requested": "small",
        "model": "small-1",
        "status": 402,
        "detail": {
            "count": 100,
            "first_ms": START_MS,
            "last_ms": START_MS + 100,
            "scope": "acme/research",
            "dimension": "usd",
            "window": "day",
            "asked": 200,
            "free": 150,
        },
    }


async def test_kinds_are_told_apart(bench: Bench) -> None:
    """By key, refusing scope and reason; keys of one name in two organisations are two."""
    bench.note(times=2)
    bench.note("key-2", times=3)
    bench.note(by="acme", times=4)
    bench.note(error=HELD, code="HELD", times=5)
    bench.note(organisation="other", by="other", times=6)
    await bench.log.flush()
    found = [
        (each["key_id"], each["detail"]["scope"], each["error"], each["status"])
        for each in bench.sequence.written()
    ]
    assert found == [
        ("key-1", "acme/research", "exhausted", 402),
        ("key-2", "acme/research", "exhausted", 402),
        ("key-1", "acme", "exhausted", 402),
        ("key-1", "acme/research", "held", 429),
    ]
    assert bench.sequence.counts() == [2, 3, 4, 5]
    (other,) = bench.sequence.written("other")
    assert other["detail"]["count"] == 6


async def test_a_refusal_by_a_state_has_no_amounts(bench: Bench) -> None:
    """Nothing was asked of a limit; the scope that refuses is named all the same."""
    bench.note(code="FROZEN", error=BudgetExceeded(402, "no", "frozen"))
    await bench.log.flush()
    (event,) = bench.sequence.written()
    assert event["error"] == "frozen"
    assert set(event["detail"]) == {"count", "first_ms", "last_ms", "scope"}


async def test_the_next_second_begins_anew(bench: Bench) -> None:
    """What was told is not told again, and the first of the next event is its own."""
    bench.note(request_id="a", times=3)
    await bench.log.flush()
    await bench.log.flush()
    assert bench.sequence.counts() == [3]
    bench.clock.at_ms += 1_000
    bench.note(request_id="b", times=2)
    await bench.log.flush()
    last = bench.sequence.written()[-1]
    assert (last["request_id"], last["detail"]["count"]) == ("b", 2)
    assert last["detail"]["first_ms"] == START_MS + 1_000
    assert len(set(bench.sequence.events)) == 2


@pytest.mark.parametrize("code", ["DONE", "ALREADY"])
async def test_what_comes_while_an_event_is_on_its_way_is_in_the_next(
    bench: Bench, code: str
) -> None:
    """Neither lost nor counted twice."""
    if code == "ALREADY":
        bench.note(times=3)
        bench.sequence.faults.append(LedgerSilent("the answer was lost"))
        await bench.log.flush()
    else:
        bench.note(times=3)
    flushing = asyncio.create_task(bench.log.flush())
    await asyncio.sleep(0)
    bench.note(times=4)
    await flushing
    await bench.log.flush()
    assert bench.sequence.counts() == [3, 4]


async def test_a_lost_answer_does_not_count_twice(bench: Bench) -> None:
    """The event is repeated under the id of its first request, which the records have too, so that
    a recovery knows it; what came since has one of its own."""
    bench.note(times=5)
    bench.sequence.faults.extend([LedgerSilent("lost")] * 3)
    for _ in range(3):
        await bench.log.flush()
        bench.note(times=10)
    assert bench.sequence.counts() == [5]
    assert bench.log.waiting == 35
    await bench.log.flush()
    assert bench.sequence.counts() == [5, 30]
    assert bench.log.waiting == 0
    assert [id_ for _, id_ in bench.sequence.asked] == ["id-1"] * 4 + ["id-6"]
    assert [each["request_id"] for each in bench.sequence.written()] == ["id-1", "id-6"]


@pytest.mark.parametrize(
    "fault",
    [LedgerUnavailable("BACKLOG"), LedgerRejected("OOM"), RuntimeError("a bug"), "RECOVERING"],
)
async def test_what_the_ledger_does_not_take_waits(bench: Bench, fault: Exception | str) -> None:
    """Counts are kept and go on growing in the same group; then all of it is told, once."""
    bench.note(times=5)
    bench.sequence.faults.extend([fault] * 3)
    for round_ in range(3):
        await bench.log.flush()
        assert bench.sequence.written() == []
        bench.note(times=10)
        assert bench.log.waiting == 15 + 10 * round_
    await bench.log.flush()
    assert bench.sequence.counts() == [5, 30]


async def test_an_organisation_that_is_away_does_not_hold_up_the_others(bench: Bench) -> None:
    """It is asked once a round and no more, and told of when it is back."""
    for key in range(5):
        bench.note(f"key-{key}")
        bench.note(f"key-{key}", organisation="other", by="other")
    bench.sequence.away["acme"] = LedgerUnavailable("recovering")
    await bench.log.flush()
    assert len(bench.sequence.written("other")) == 5
    assert [owner for owner, _ in bench.sequence.asked].count("acme") == 1
    bench.sequence.away.clear()
    await bench.log.flush()
    assert bench.sequence.counts() == [1] * 5


async def test_a_silent_server_is_asked_once_a_round(bench: Bench) -> None:
    """Else a round would last a timeout for each group."""
    for key in range(5):
        bench.note(f"key-{key}")
    bench.sequence.away["acme"] = LedgerSilent("no answer")
    await bench.log.flush()
    assert len(bench.sequence.asked) == 1
    assert bench.log.waiting == 5


async def test_beyond_the_bound_refusals_are_counted_by_organisation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ledger away and ever new kinds, what is kept does not grow; every refusal counts."""
    monkeypatch.setattr(refusal_log, "GROUPS_MAX", 10)
    bench.sequence.away["acme"] = bench.sequence.away["other"] = LedgerUnavailable("away")
    for round_ in range(5):
        for key in range(20):
            bench.note(f"key-{round_}-{key}", times=2)
        bench.note(organisation="other", by="other")
        await bench.log.flush()
    bench.sequence.away.clear()
    await bench.log.flush()
    found = bench.sequence.written()
    assert sum(each["detail"]["count"] for each in found) == 200
    named = [each for each in found if each["error"] != OTHERS]
    assert [each["detail"]["count"] for each in named] == [2] * 10
    others = [each for each in found if each["error"] == OTHERS]
    assert 1 <= len(others) <= 2
    for each in others:
        assert set(each) == {"scope", "error", "detail"}
        assert each["scope"] == "acme"
        assert set(each["detail"]) == {"count", "first_ms", "last_ms"}
    assert sum(each["detail"]["count"] for each in bench.sequence.written("other")) == 5
    bench.note("a-new-one")
    await bench.log.flush()
    assert bench.sequence.written()[-1]["key_id"] == "a-new-one"


async def test_a_flood_of_one_key_is_one_event_and_one_task(bench: Bench) -> None:
    """100,000 refusals cost one group, one call and no task of their own."""
    before = len(asyncio.all_tasks())
    bench.note(times=100_000)
    assert len(asyncio.all_tasks()) == before + 1
    await bench.log.flush()
    assert bench.sequence.counts() == [100_000]
    assert len(bench.sequence.asked) == 1


async def test_the_timer_runs_only_while_there_is_something_to_tell() -> None:
    """Started by the first refusal, gone when all is told, started again by the next."""
    bench = Bench(flush_ms=5)
    quiet = asyncio.all_tasks()
    for count in (7, 8):
        bench.note(times=count)
        (timer,) = asyncio.all_tasks() - quiet
        await asyncio.wait_for(timer, 30)
        assert bench.sequence.counts()[-1] == count
    assert bench.sequence.counts() == [7, 8]
    assert FLUSH_MS == 1_000


async def test_the_timer_outlives_failures() -> None:
    """Round after round fails, the next one tells."""
    bench = Bench(flush_ms=1)
    bench.sequence.faults.extend([RuntimeError("a bug"), LedgerUnavailable("away")] * 3)
    bench.note(times=9)
    await asyncio.wait_for(bench.sequence.told.wait(), 30)
    assert bench.sequence.counts() == [9]
    assert await bench.log.drain(1_000) == 0


async def test_a_drain_tells_what_is_left_at_once(bench: Bench) -> None:
    """It does not wait for the second to end, and leaves no task behind."""
    quiet = asyncio.all_tasks()
    bench.note(times=12)
    assert await bench.log.drain(1_000) == 0
    assert bench.sequence.counts() == [12]
    assert asyncio.all_tasks() == quiet


async def test_a_drain_that_interrupts_a_round_counts_nothing_twice() -> None:
    """The timer stands in the middle of a call: its event goes on under its id."""
    bench = Bench(flush_ms=1)
    bench.note(times=12)
    async with asyncio.timeout(30):
        while not bench.sequence.asked:  # noqa: ASYNC110  # the call is at its first await
            await asyncio.sleep(0)
    assert await bench.log.drain(1_000) == 0
    assert bench.sequence.counts() == [12]


async def test_a_drain_ends_in_time_and_says_what_is_left() -> None:
    """A ledger that does not answer does not keep the worker from ending."""
    waiting = asyncio.Event()

    async def never(*_: object) -> str:
        await waiting.wait()
        return ""

    bench = Bench()
    log = RefusalLog(never, bench.new_id, bench.clock, flush_ms=NEVER_MS)
    bench.log = log
    bench.note(times=3)
    assert await asyncio.wait_for(log.drain(20), 30) == 3
    bench.note(times=4)
    assert await asyncio.wait_for(log.drain(20), 30) == 7
