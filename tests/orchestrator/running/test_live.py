"""What steps say can be followed while they work; whatever is in the way of that loses some of it,
and never holds up a step."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.redispy import RedisPyTransport
from budgets.transport import Argument, LedgerTransport, LedgerUnavailable
from orchestrator.places import AttemptPlace, RunPlace, TaskId, new_run_id
from orchestrator.running import live
from orchestrator.running.live import Live, LiveText, follow, key_of
from tests.gateway.behaviours import answers, chunk_event, says, streams, word_events
from tests.gateway.provider import Received, Reply
from tests.orchestrator.running.workshop import Workshop

PROMPT = {"text": "x", "model": "plain", "max_tokens": 50}


class Away:
    """A ledger that does not answer until it is to say that it is away."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[Argument, ...]] = asyncio.Queue()
        self.answers = asyncio.Event()

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        self.asked.put_nowait(args)
        await self.answers.wait()
        raise LedgerUnavailable("away")


@pytest.fixture(params=["pipelined", "redispy"])
async def transport(
    valkey: EmbeddedServer, request: pytest.FixtureRequest
) -> AsyncIterator[LedgerTransport]:
    """To a real ledger."""
    made: LedgerTransport
    if request.param == "pipelined":
        made = PipelinedTransport(NodeAddress(unix_path=str(valkey.socket_path)))
    else:
        made = RedisPyTransport(f"unix://{valkey.socket_path}")
    yield made
    await made.close()


def attempt(step: str = "a", number: int = 1, run: str = "") -> AttemptPlace:
    """Of a run of its own."""
    place = RunPlace(run or new_run_id(1), "acme/p", "w", 1)
    return AttemptPlace(place, TaskId(step), number)


async def until_said(transport: LedgerTransport, run: str, words: str) -> list[LiveText]:
    """Follows a run until somebody has said this."""
    found: list[LiveText] = []
    async with asyncio.timeout(10):
        while words not in "".join(each.text for each in found):
            found += await follow(transport, run, found[-1].at if found else "")
    return found


async def test_a_model_is_read_while_it_speaks(shop: Workshop) -> None:
    """Before its step has ended; the step's output is the whole."""
    gate = asyncio.Event()

    async def behave(_: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(chunk_event({"content": "Once "}))
        await gate.wait()
        for each in (chunk_event({"content": "upon"}), chunk_event({}, "stop")):
            reply.chunk(each)
        reply.chunk(b"data: [DONE]\n\n")
        reply.end()

    shop.stack.provider.behaviour = behave
    run = await shop.submit({"id": "a", "prompt": PROMPT}, output="{{ steps.a.output }}")
    transport = shop.stack.parts.ledger._session.transport
    (first,) = await until_said(transport, run, "Once ")
    assert (first.step_id, first.entry, first.attempt, first.kind) == ("a", -1, 1, "text")
    assert await shop.status(run) == "running"
    gate.set()
    assert await shop.ended(run) == "done"
    assert await shop.output(run) == "Once upon"
    found = await follow(transport, run, first.at)
    assert [each.text for each in found] == ["upon"]
    assert shop.stack.provider.last.json["stream_options"] == {"include_usage": True}


async def test_a_program_is_read_by_line(shop: Workshop) -> None:
    """Each entry of a `foreach` by itself; secrets are hidden as in the log."""
    lines = ("import os, sys", "print('at', sys.argv[1], file=sys.stderr)",
             "print(os.environ['OPENAI_API_KEY'], file=sys.stderr)")  # fmt: skip
    argv = [*shop.program("says.py", *lines), "{{ item }}"]
    run = await shop.submit({"id": "a", "foreach": ["x", "y"], "command": argv})
    assert await shop.ended(run) == "done"
    transport = shop.stack.parts.ledger._session.transport
    found: dict[int, str] = {}
    async with asyncio.timeout(10):
        while sorted(found.values()) != ["at x\n***\n", "at y\n***\n"]:
            found = {}
            for each in await follow(transport, run):
                assert each.kind == "log"
                found[each.entry] = found.get(each.entry, "") + each.text


async def test_a_stream_that_breaks_off_is_tried_again(shop: Workshop) -> None:
    """With a new attempt, whose key and whose texts are its own."""
    good = shop.stack.provider.behaviour
    broken = streams(word_events(("Hello",))[:-1], end="reset")

    async def behave(received: Received, reply: Reply) -> None:
        is_first = len(shop.stack.provider.received) == 1
        await (broken if is_first else good)(received, reply)

    shop.stack.provider.behaviour = behave
    step = {"id": "a", "prompt": PROMPT, "retries": {"most": 1, "backoff": "1s"}}
    run = await shop.submit(step)
    await shop.until_task(run, "a", "again")
    assert "broke off" in str((await shop.task(run, "a"))["error"])
    assert await shop.ended(run) == "done"
    assert (await shop.task(run, "a"))["attempt"] == 2


async def test_what_the_gateway_refuses_before_a_stream_is_as_ever(shop: Workshop) -> None:
    """A provider's error is the step's, in its words; a budget that is used up halts the run."""
    error = b'{"error": {"message": "no such temperature"}}'
    shop.stack.provider.behaviour = says(error, 400)
    run = await shop.submit({"id": "a", "prompt": PROMPT})
    assert await shop.ended(run) == "failed"
    assert "no such temperature" in await shop.error(run)
    assert (await shop.task(run, "a"))["attempt"] == 1
    shop.stack.provider.behaviour = answers()
    steps = [{"id": "a", "prompt": PROMPT}, {"id": "b", "needs": ["a"], "prompt": PROMPT}]
    run = await shop.submit(*steps, budget=[{"requests": 1}])
    assert await shop.ended(run) == "halted"


async def test_a_run_keeps_its_last_words_for_a_time(transport: LedgerTransport) -> None:
    """What is said together is one entry; who reads late gets what is there, in its order."""
    said, place = Live(transport), attempt()
    for word in ("a ", "b ", "c"):
        said.say(place, "text", word)
    said.say(place, "log", "line\n")
    await said.close()
    said.say(place, "text", "d")
    await said.close()
    run = place.run.id
    found = await follow(transport, run)
    assert [(each.kind, each.text) for each in found] == [
        ("text", "a b c"),
        ("log", "line\n"),
        ("text", "d"),
    ]
    assert found[0].at == found[1].at < found[2].at
    assert await follow(transport, run, found[0].at) == found[2:]
    assert await follow(transport, run, found[2].at, wait_ms=1) == []
    left_ms = await transport.command("PTTL", key_of(run))
    assert isinstance(left_ms, int)
    assert live.KEPT_MS - 60_000 < left_ms <= live.KEPT_MS


async def test_what_is_said_is_bounded(
    transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a time, and in all: what is too much is dropped, and counted."""
    monkeypatch.setattr(live, "ENTRIES_MAX", 10)
    said, place = Live(transport), attempt()
    said.say(place, "text", "x" * (live.PENDING_CHARS_MAX - 1))
    said.say(place, "text", "yyy")
    said.say(place, "log", "z")
    for number in range(300):
        await said.close()
        said.say(place, "text", str(number))
    await said.close()
    assert said.dropped_chars == 3
    length = await transport.command("XLEN", key_of(place.run.id))
    assert isinstance(length, int)
    assert length < 200
    (last,) = (await follow(transport, place.run.id, await _before_last(transport, place)))[-1:]
    assert last.text == "299"


async def _before_last(transport: LedgerTransport, place: AttemptPlace) -> str:
    found = await transport.command("XREVRANGE", key_of(place.run.id), "+", "-", "COUNT", "2")
    assert isinstance(found, list)
    at: bytes = found[1][0]
    return at.decode()


async def test_a_ledger_that_is_away_costs_words_and_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One write at a time waits for it, however much is said meanwhile."""
    monkeypatch.setattr(live, "FLUSH_MS", 1)
    ledger = Away()
    said, places = Live(cast("LedgerTransport", ledger)), [attempt(), attempt()]
    said.say(places[0], "text", "lost")
    async with asyncio.timeout(10):
        assert (await ledger.asked.get())[0] == "XADD"
    for _ in range(100):
        for place in places:
            said.say(place, "text", "x" * 1_000)
    assert ledger.asked.empty()
    ledger.answers.set()
    await said.close()
    assert said.dropped_chars == 4 + 200_000
