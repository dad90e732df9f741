"""The documented views of calls and of spending, told one story."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from recorder.retention import Retention
from recorder.snapshots import Snapshots
from tests.recorder.test_retention import days_in, said
from tests.recorder.workbench import (
    DAY_MS,
    Log,
    StoreProcess,
    begin_anew,
    request_event,
    response_event,
)

ORG = "acme"
NOW_MS = int(datetime(2027, 3, 10, 12, 0, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def store(process: StoreProcess) -> StoreProcess:
    """Empty records."""
    await begin_anew(process)
    return process


SCOPE = f"{ORG}/research/key-1"


def story() -> list[tuple[str, bytes, dict[str, Any]]]:
    """One of each kind of ending: settled, overrun, released, refused, expired and then corrected
    (once below, once above what was reserved), adjusted."""
    request, response = request_event, response_event
    refused = (
        b'{"scope":"%b","key_id":"key-1","agent":"writer","endpoint":"/v1/chat/completions",'
        b'"model_requested":"small","error":"exhausted",'
        b'"detail":"{\\"scope\\":\\"acme\\",\\"count\\":3}"}' % SCOPE.encode()
    )
    released = response("c", SCOPE, 100, 0, status=0, usage_source="released", text_input=0)
    return [
        ("llm_request", request("a", SCOPE), {"reserved": 100}),
        ("llm_response", response("a", SCOPE, 100, 70), {}),
        ("llm_request", request("b", SCOPE), {"reserved": 100}),
        ("llm_response", response("b", SCOPE, 100, 160), {}),
        ("llm_request", request("c", SCOPE), {"reserved": 100}),
        ("llm_response", released, {}),
        ("budget_exceeded", refused, {}),
        ("llm_request", request("d", SCOPE), {"reserved": 100}),
        ("reservation_expired", request("d", SCOPE), {"reserved": 100}),
        ("correction", response("d", SCOPE, 100, 30), {}),
        ("llm_request", request("e", SCOPE), {"reserved": 100}),
        ("reservation_expired", request("e", SCOPE), {"reserved": 100}),
        ("correction", response("e", SCOPE, 100, 150), {}),
        ("correction", b'{"scope":"%b","charged_nusd":5,"by":"ops"}' % SCOPE.encode(), {}),
    ]


@pytest.fixture
async def told(store: StoreProcess) -> StoreProcess:
    """Records with the story, at noon of today."""
    await tell(store)
    return store


async def tell(store: StoreProcess, goes_on_ms: int = 0) -> None:
    """The story; with one event more so much later."""
    log = Log(store)
    for kind, event, more in story():
        log.add(NOW_MS, kind, event, **more)
    if goes_on_ms:
        log.add(NOW_MS + goes_on_ms, "step_started", b"{}")
    await log.write()


async def test_usage_is_calls_tokens_and_what_they_truly_cost(told: StoreProcess) -> None:
    """A call counts once, however often its cost was corrected, and one that was released does not;
    charges are the final truth."""
    rows = await told.rows(
        "SELECT toString(day), org, project, agent, provider, model, requests, charged_nusd, "
        "toString(charged_usd), overruns FROM comptroller.usage WHERE agent != ''"
    )
    assert rows == [
        [
            *("2027-03-10", ORG, "research", "writer", "openai", "small-1"),
            *(4, 70 + 160 + 30 + 150, "0.00000041", 2),
        ]
    ]
    ((charged,),) = await told.rows("SELECT sum(charged_nusd) FROM comptroller.usage")
    assert charged == 70 + 160 + 30 + 150 + 5


async def test_usage_has_input_and_output_of_all_kinds(store: StoreProcess) -> None:
    """Sums over the disjoint meters, with the parts that have a price of their own."""
    meters = {
        name: 10**n
        for n, name in enumerate(
            (
                *("text_input", "cached_input", "cache_write_5m", "cache_write_1h"),
                *("audio_input", "image_input", "text_output", "reasoning_output"),
                *("audio_output", "tool_calls", "video_input", "image_output", "search_calls"),
                *("audio_ms", "pages"),
            )
        )
    }
    meters |= {"characters": 7, "service_tier": "flex", "reported_nusd": 0}
    log = Log(store)
    log.add(NOW_MS, "llm_response", response_event("a", SCOPE, 1, 1, **meters))
    await log.write()
    names = "input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, tool_calls"
    names += ", search_calls, audio_ms, pages, characters"
    tokens = [111_111 + 10**10, 10, 111_000_000 + 10**11, 10_000_000]
    expected = [[*tokens, 10**9, 10**12, 10**13, 10**14, 7]]
    assert await store.rows(f"SELECT {names} FROM comptroller.usage") == expected
    assert await store.rows(f"SELECT {names} FROM comptroller.requests") == expected
    served = "SELECT service_tier, reported_nusd, computed_nusd FROM comptroller.requests"
    assert await store.rows(served) == [["flex", 0, None]]


async def test_requests_are_the_calls_that_ended(told: StoreProcess) -> None:
    """One row for each, as it was booked then, in dollars too; corrections are none."""
    rows = await told.rows(
        "SELECT request_id, reserved_nusd, charged_nusd, toString(charged_usd), usage_source, "
        "overrun, project, key_id FROM comptroller.requests ORDER BY seq"
    )
    assert rows == [
        ["a", 100, 70, "0.00000007", "provider", 0, "research", "key-1"],
        ["b", 100, 160, "0.00000016", "provider", 1, "research", "key-1"],
        ["c", 100, 0, "0", "released", 0, "research", "key-1"],
        ["d", 100, 100, "0.0000001", "reserved", 0, "research", "key-1"],
        ["e", 100, 100, "0.0000001", "reserved", 0, "research", "key-1"],
    ]


async def test_refusals_say_who_why_and_how_often(told: StoreProcess) -> None:
    """The reason as a column, the count in `detail`, as it was written."""
    rows = await told.rows(
        "SELECT org, scope, project, agent, key_id, endpoint, model_requested, reason, "
        "JSONExtractInt(detail, 'count') FROM comptroller.refusals"
    )
    assert rows == [
        [
            *(ORG, SCOPE, "research", "writer", "key-1", "/v1/chat/completions", "small"),
            *("exhausted", 3),
        ]
    ]


async def test_overruns_say_by_how_much(told: StoreProcess) -> None:
    """What a call truly cost above its reservation, also where the truth came after an expiry that
    had charged the reservation."""
    rows = await told.rows(
        "SELECT request_id, reserved_nusd, over_nusd FROM comptroller.overruns ORDER BY seq"
    )
    assert rows == [["b", 100, 60], ["e", 100, 50]]


async def test_sums_do_not_change_when_the_story_is_dropped(store: StoreProcess) -> None:
    """Expiries, corrections and refusals are archived like all else."""
    await tell(store, goes_on_ms=3 * DAY_MS)  # the day of the last event stays
    before = await said(store)
    later = Retention(store, Snapshots(store), 1, 1, lambda: NOW_MS + 3 * DAY_MS, lambda _: None)
    assert "events 20270310" in await later.sweep()
    assert await days_in(store, "events") == ["20270313"]
    assert await said(store) == before


async def test_dollars_are_exact(store: StoreProcess) -> None:
    """Nano-dollars become decimal dollars without a float in between, at both ends."""
    log = Log(store)
    for nusd in (1, 2**53 + 1, 2**61 - 1):
        log.add(NOW_MS, "llm_response", response_event("a", SCOPE, nusd, nusd))
    await log.write()
    rows = await store.rows("SELECT toString(charged_usd) FROM comptroller.requests ORDER BY seq")
    assert rows == [["0.000000001"], ["9007199.254740993"], ["2305843009.213693951"]]
