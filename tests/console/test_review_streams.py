"""A stream that was cut off: what happened meanwhile comes to whoever comes back, and once."""

import asyncio
from typing import Any

import httpx
import pytest

from console.options import ConsoleOptions
from tests.console.desk import Console, listening
from tests.console.test_event_stream import STREAM, blocks, events
from tests.recorder.rig import until


@pytest.fixture
def options() -> ConsoleOptions:
    """Streams that look often and say often where they are."""
    return ConsoleOptions(stream_poll_ms=20, stream_heartbeat_ms=50)


async def first_place(answer: httpx.Response) -> str:
    """The id that a client has before any event."""
    async with asyncio.timeout(30):
        async for block in blocks(answer):
            assert "data" not in block
            return block["id"]
    raise AssertionError("the stream ended")


async def since(client: httpx.AsyncClient, query: str, place: str, count: int) -> list[Any]:
    """What comes to who was at this place."""
    headers = {"last-event-id": place}
    async with client.stream("GET", f"{STREAM}?{query}", headers=headers) as answer:
        return [each for _, each in await events(answer, count)]


async def test_who_is_cut_off_before_any_event_misses_none(recorded: Console) -> None:
    """A stream says where it begins, so that a client can come back to it."""
    caller = await recorded.caller()
    await caller.make(1)
    await caller.recorded()
    query = f"organisation={caller.organisation}&type=llm_response"
    async with listening(recorded) as (client, _):
        async with client.stream("GET", f"{STREAM}?{query}") as answer:
            place = await first_place(answer)
        await caller.make(2)
        await caller.recorded()
        found = await since(client, query, place, 2)
    assert [each["seq"] for each in found] == [5, 7]


async def test_an_organisation_that_began_meanwhile_is_missed_by_nobody(recorded: Console) -> None:
    """It is read from its beginning by who followed all there were; who names the place of one
    organisation only is not sent the past of all others."""
    old = await recorded.caller()
    await old.make(1)
    await old.recorded()
    query = "type=llm_response"
    async with listening(recorded) as (client, _):
        async with client.stream("GET", f"{STREAM}?{query}") as answer:
            place = await first_place(answer)
        new = await recorded.caller()
        await new.make(2)
        await new.recorded()
        found = await since(client, query, place, 2)
        assert [(each["org"], each["seq"]) for each in found] == [
            (new.organisation, 3),
            (new.organisation, 5),
        ]
        found = await since(client, query, f"{old.organisation}/1-0-0", 1)
        assert [each["org"] for each in found] == [old.organisation]


async def test_the_place_moves_on_where_nothing_is_sent(recorded: Console) -> None:
    """With the heartbeat: else a rare filter's client would have all read again."""
    caller = await recorded.caller()
    query = f"organisation={caller.organisation}&type=key_revoked"
    stream = f"{STREAM}?{query}"
    async with listening(recorded) as (client, _), client.stream("GET", stream) as answer:
        told = blocks(answer)
        assert (await anext(told))["id"]
        await caller.make(2)
        await caller.recorded()
        epoch, seq = await recorded.parts.overview.head(caller.organisation)

        async def has_moved() -> bool:
            place = (await anext(told))["id"]
            return place.startswith(f"{caller.organisation}/{epoch}-{seq}-")

        await until(has_moved)


@pytest.mark.parametrize("place", ["*,acme/1-1-1", "**", "acme/1-1-1,*,*", ","])
async def test_a_mark_that_is_none(console: Console, place: str) -> None:
    """It stands at the end, once."""
    headers = {"last-event-id": place}
    await console.refused(400, "invalid_request_error", "GET", STREAM, headers=headers)
