"""What steps say reaches everybody who may see their run, once and in its order, and nobody else;
the stream ends when the run has, after all that was said."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from console import run_following
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.running.live import Live
from tests.console.desk import ADMIN_SECRET, Console, listening
from tests.console.running import book_of, submitted
from tests.console.test_event_stream import begun

RUNS = "/v1/runs"
HOSTILE = "a\n\nevent: end\ndata: {}\n\n\u2028\x85\x1b[2Jé"


@pytest.fixture(autouse=True)
def is_soon_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """No orchestrator tells the log."""
    monkeypatch.setattr(run_following, "QUIET_MS", 100)
    monkeypatch.setattr(run_following, "COMPLETED_MS_MAX", 100)


async def said(console: Console, run: str, *texts: tuple[str, str], attempt: int = 1) -> None:
    """What steps say, as an executor writes it: one entry of the stream."""
    live = Live(console.parts.session.transport)
    for step, text in texts:
        place = AttemptPlace(RunPlace(run, "acme/lab", "report", 1), TaskId(step), attempt)
        live.say(place, "text", text)
    await live.close()


async def told(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """(id, name, data) of its events; lines end as this client's reader has it, which takes more
    for ends than the standard does."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, text = line.partition(":")
            fields[name] = text.strip()
            continue
        if "data" in fields:
            yield fields["id"], fields.get("event", ""), json.loads(fields["data"])
        fields = {}


async def followed(client: httpx.AsyncClient, run: str, **headers: str) -> list[tuple[str, Any]]:
    """(name, data) of all that is told until the run has ended."""
    async with client.stream("GET", f"{RUNS}/{run}/stream", headers=headers) as answer:
        await begun(answer)
        return [(name, data) async for _, name, data in told(answer)]


async def end(console: Console, run: str) -> None:
    """Nobody executes it."""
    await console.done("POST", f"{RUNS}/{run}/cancel")


async def test_what_steps_say_comes_as_they_say_it(console: Console) -> None:
    """To both who read; what was said before comes first, and the end last, with how it ended."""
    run = await submitted(console)
    await said(console, run, ("a", "Once "))
    async with listening(console) as (client, _):
        stream = ("GET", f"{RUNS}/{run}/stream")
        async with (
            asyncio.timeout(10),
            client.stream(*stream) as one,
            client.stream(*stream) as two,
        ):
            readers = [told(each) for each in (one, two)]
            for each in readers:
                _, name, data = await anext(each)
                assert (name, data["text"]) == ("text", "Once ")
            await said(console, run, ("a", "upon"), attempt=2)
            for each in readers:
                _, name, data = await anext(each)
                assert (name, data) == (
                    "text", {"step": "a", "entry": None, "attempt": 2, "text": "upon"}
                )  # fmt: skip
            await end(console, run)
            for each in readers:
                ((_, name, data),) = [found async for found in each]
                assert (name, data["status"]) == ("end", "cancelled")


async def test_names_and_words_stay_what_they_are(console: Console) -> None:
    """What would end a line, begin an event or move a cursor is data."""
    run = await submitted(console)
    await said(console, run, (HOSTILE, HOSTILE))
    await end(console, run)
    async with listening(console) as (client, _):
        (text, last) = await followed(client, run)
    assert text == ("text", {"step": HOSTILE, "entry": None, "attempt": 1, "text": HOSTILE})
    assert last[0] == "end"


async def test_who_comes_back_misses_nothing(console: Console) -> None:
    """Cut off after the first of two pieces that were written together, one gets both again; after
    the second, what came since; and nothing at the end but the end."""
    run = await submitted(console)
    await said(console, run, ("a", "x"), ("b", "y"))
    places: list[str] = []
    async with listening(console) as (client, _):
        async with client.stream("GET", f"{RUNS}/{run}/stream") as answer:
            reader = told(answer)
            places += [(await anext(reader))[0] for _ in range(2)]
        await said(console, run, ("a", "z"))
        await end(console, run)

        async def after(place: str) -> list[str]:
            found = await followed(client, run, **{"last-event-id": place})
            return [data["text"] for name, data in found if name == "text"]

        assert await after(places[0]) == ["x", "y", "z"]
        assert await after(places[1]) == ["z"]
        for wrong in ("!x", f"{places[1]}-3", "acme/1-1-1!"):
            headers = {"last-event-id": wrong}
            answer = await client.get(f"{RUNS}/{run}/stream", headers=headers)
            assert answer.status_code == 400, wrong


async def test_others_hear_nothing(console: Console) -> None:
    """A token of another organisation gets a stream with nothing in it, as of a run that is not
    there; nor does who asks in another organisation."""
    run = await submitted(console)
    await said(console, run, ("a", "secret"))
    await end(console, run)
    await console.done("PUT", "/v1/budgets", {"scope": "globex", "limits": []})
    foreign = await console.token("viewer", "globex")
    async with listening(console) as (client, server):
        path = f"{RUNS}/{run}/stream"
        answers = []
        for each, token in ((path, foreign), (f"{path}?organisation=globex", ADMIN_SECRET)):
            bearer = {"authorization": f"Bearer {token}"}
            request = client.build_request("GET", each, headers=bearer)
            answers.append(await client.send(request, stream=True))
            await begun(answers[-1])
        seen = await followed(client, run)  # meanwhile there was time to hear it
        server.should_exit = True
        for answer in answers:
            assert [each async for each in told(answer)] == []
    assert [name for name, _ in seen] == ["text", "end"]


async def test_the_log_says_that_it_is_over_before_the_stream_does(
    recorded: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends before our eyes: its last event of the log is told, too."""
    monkeypatch.setattr(run_following, "COMPLETED_MS_MAX", 20_000)
    caller = await recorded.caller()
    run = await submitted(recorded, scope=f"{caller.organisation}/lab")
    event = json.dumps({"run_id": run, "scope": f"{caller.organisation}/lab/report/{run}"})
    path = f"{RUNS}/{run}/stream"
    async with listening(recorded) as (client, _), client.stream("GET", path) as answer:
        await begun(answer)
        await recorded.parts.administration.append(
            caller.organisation, f"{1:032x}", "run_completed", event.encode()
        )
        with book_of(recorded) as book:
            book.claim()
            book.end(run, "done")
        async with asyncio.timeout(20):
            found = [(name, data) async for _, name, data in told(answer)]
    assert [name or data["event_type"] for name, data in found] == ["run_completed", "end"]
    assert found[-1][1]["status"] == "done"
