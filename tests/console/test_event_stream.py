"""The log as it grows: every event once, also over a lost connection; ended by whoever may."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from console.options import ConsoleOptions
from tests.console.desk import Console, listening
from tests.recorder.rig import until

STREAM = "/v1/events/stream"


@pytest.fixture
def options() -> ConsoleOptions:
    """Streams that look often, say often that they live, and are few."""
    return ConsoleOptions(
        stream_poll_ms=20, stream_heartbeat_ms=100, streams_max=4, send_ms_max=500
    )


async def blocks(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Its blocks, as fields; a comment has the name ""."""
    block: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, text = line.partition(":")
            block[name] = text.strip()
        else:
            yield block
            block = {}


async def events(answer: httpx.Response, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The next (id, event) pairs."""
    found: list[tuple[str, dict[str, Any]]] = []
    async with asyncio.timeout(20):
        async for block in blocks(answer):
            if "data" in block:
                found.append((block["id"], json.loads(block["data"])))
            if len(found) == count:
                break
    return found


async def begun(answer: httpx.Response) -> None:
    """Waits until the stream has its first word out, after which nothing is missed."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_events_come_as_they_are_recorded(recorded: Console) -> None:
    """Only what comes after the stream began, in order, as pages show them."""
    caller = await recorded.caller()
    await caller.make(1)
    await caller.recorded()
    async with listening(recorded) as (client, _):
        asked = f"organisation={caller.organisation}"
        async with client.stream("GET", f"{STREAM}?{asked}") as answer:
            await begun(answer)
            await caller.make(2)
            found = [each for _, each in await events(answer, 4 + caller.tools - 1)]
        page = await recorded.done("GET", f"/v1/events?type=llm_request&{asked}")
    assert [each["seq"] for each in found if not each["part"]] == [4, 5, 6, 7]
    assert min(each["seq"] for each in found) == 4
    requests = [each for each in found if each["event_type"] == "llm_request"]
    assert requests == page["events"][1:]


async def test_a_client_that_comes_back_misses_none(recorded: Console) -> None:
    """With the id of the last event that it had, from over all organisations; none comes twice, and
    a filter is no reason to begin again."""
    callers = [await recorded.caller() for _ in range(2)]
    seen: list[tuple[str, int]] = []
    last = ""
    async with listening(recorded) as (client, _):
        for _ in range(3):
            headers = {"last-event-id": last} if last else {}
            async with client.stream(
                "GET", f"{STREAM}?type=llm_response", headers=headers
            ) as answer:
                await begun(answer)
                if not last:
                    for each in callers:
                        await each.make(3)
                for id_, event in await events(answer, 2):
                    last = id_
                    seen.append((event["org"], event["seq"]))
    assert len(seen) == len(set(seen)) == 6
    assert {org for org, _ in seen} == {each.organisation for each in callers}


async def test_a_stream_may_begin_where_a_page_ended(recorded: Console) -> None:
    """`after` takes an event's id: what was recorded between page and stream is not lost."""
    caller = await recorded.caller()
    await caller.make(3)
    await caller.recorded()
    query = f"organisation={caller.organisation}"
    page = await recorded.done("GET", f"/v1/events?{query}&limit=3")
    rest = await recorded.done("GET", f"/v1/events?{query}&after={page['next']}")
    async with listening(recorded) as (client, _):
        query = f"{STREAM}?{query}&after={page['next']}"
        async with client.stream("GET", query) as answer:
            found = await events(answer, len(rest["events"]))
    assert [each for _, each in found] == rest["events"]


async def test_a_stopping_console_ends_its_streams(
    recorded: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and at once: the server does not wait for its grace to run out."""
    monkeypatch.setattr("console.server.GRACE_S_MAX", 60)
    async with listening(recorded) as (client, server), client.stream("GET", STREAM) as answer:
        await begun(answer)
        server.should_exit = True
        async with asyncio.timeout(30):
            rest = [block async for block in blocks(answer)]
    assert not any("data" in each for each in rest)


async def test_a_deleted_token_ends_its_streams(recorded: Console) -> None:
    """Soon, by itself."""
    token = await recorded.token("viewer")
    found = await recorded.parts.tokens.find(token.encode())
    assert found is not None
    async with listening(recorded) as (client, _):
        headers = {"authorization": f"Bearer {token}"}
        async with client.stream("GET", STREAM, headers=headers) as answer:
            await begun(answer)
            await recorded.parts.tokens.remove(found.name)
            async with asyncio.timeout(30):
                async for _ in blocks(answer):
                    pass


async def test_streams_are_bounded(recorded: Console) -> None:
    """Beyond the bound 429; a place is free again when a client has gone."""
    async with listening(recorded) as (client, _):
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(4):
                await begun(await opened.enter_async_context(client.stream("GET", STREAM)))
            refused = await client.get(STREAM)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "too_many_streams"
            assert refused.headers["retry-after"]

        async def has_room() -> bool:
            async with client.stream("GET", STREAM) as answer:
                return answer.status_code == 200

        await until(has_room)


async def test_a_stream_says_that_it_lives(recorded: Console) -> None:
    """Comments, so that what is between does not take it for dead."""
    async with listening(recorded) as (client, _), client.stream("GET", STREAM) as answer:
        comments = 0
        async with asyncio.timeout(30):
            async for block in blocks(answer):
                comments += "" in block
                if comments == 2:
                    break


async def test_records_that_go_away_end_a_stream_with_a_word(console: Console) -> None:
    """An event of the type `error` in the one shape of errors; the client comes back later."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme", "limits": []})
    stream = ("GET", f"{STREAM}?after=acme/1-0-0")
    async with listening(console) as (client, _), client.stream(*stream) as answer:
        async with asyncio.timeout(30):
            told = [block async for block in blocks(answer) if "event" in block]
    assert [each["event"] for each in told] == ["error"]
    assert json.loads(told[0]["data"])["error"]["code"] == "records_unavailable"


@pytest.mark.parametrize("place", ["x", "acme/1-1-1;b/1-1-1", "acme/1-1-1,,"])
async def test_a_place_that_is_none(console: Console, place: str) -> None:
    """Refused before a stream begins."""
    headers = {"last-event-id": place}
    await console.refused(400, "invalid_request_error", "GET", STREAM, headers=headers)
