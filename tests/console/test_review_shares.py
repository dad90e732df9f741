"""What one organisation's tokens can take of a console that others share."""

import pytest

from console.options import ConsoleOptions
from tests.console.desk import ADMIN_SECRET, Console, listening
from tests.console.test_event_stream import STREAM


@pytest.fixture
def options() -> ConsoleOptions:
    """Few of everything."""
    return ConsoleOptions(
        tokens_max=4,
        organisation_tokens_max=2,
        streams_max=3,
        organisation_streams_max=1,
        records_connections_max=3,
        organisation_connections_max=2,
        records_wait_ms_max=100,
    )


async def test_one_organisations_admin_leaves_tokens_to_others(console: Console) -> None:
    """It fills its own share; what has expired makes room in it."""
    token = await console.token("admin", "acme")
    body = {"name": "a", "role": "viewer"}
    await console.done("POST", "/v1/tokens", {**body, "expires_in": "1ms"}, token=token)
    await console.done("POST", "/v1/tokens", {**body, "name": "b"}, token=token)
    last = ("POST", "/v1/tokens", {**body, "name": "c"})
    error = await console.refused(409, "conflict", *last, token=token)
    assert "2 tokens of acme" in error["message"]
    assert len(await console.parts.tokens.all()) == 3
    await console.done("POST", "/v1/tokens", {**body, "organisation": "globex", "name": "g"})
    error = await console.refused(409, "conflict", "POST", "/v1/tokens", {**body, "name": "d"})
    assert "4 tokens" in error["message"]


async def test_one_organisations_streams_leave_room_for_others(recorded: Console) -> None:
    """The others' begin while its share is full."""
    caller, other = await recorded.caller(), await recorded.caller()
    tokens = [await recorded.token("viewer", each.organisation) for each in (caller, other)]
    async with listening(recorded) as (client, _):
        mine, theirs = ({"authorization": f"Bearer {each}"} for each in tokens)
        async with client.stream("GET", STREAM, headers=mine) as first:
            assert first.status_code == 200
            refused = await client.get(STREAM, headers=mine)
            assert refused.status_code == 429
            assert caller.organisation in refused.json()["error"]["message"]
            for headers in (theirs, None):
                async with client.stream("GET", STREAM, headers=headers) as answer:
                    assert answer.status_code == 200


async def test_one_organisations_questions_leave_room_for_others(recorded: Console) -> None:
    """While its share is full of long ones: the next of its own is told to wait, others' are
    answered."""
    caller, other = await recorded.caller(), await recorded.caller()
    tokens = [await recorded.token("viewer", each.organisation) for each in (caller, other)]
    asked = ("POST", "/v1/sql", {"query": "SELECT 1"})
    slots = recorded.parts.records._slots
    async with slots.place(caller.organisation), slots.place(caller.organisation):
        error = await recorded.refused(503, "records_unavailable", *asked, token=tokens[0])
        assert "too many questions" in error["message"]
        for token in (tokens[1], ADMIN_SECRET):
            assert (await recorded.done(*asked, token=token))["rows"] == [[1]]
    assert (await recorded.done(*asked, token=tokens[0]))["rows"] == [[1]]
