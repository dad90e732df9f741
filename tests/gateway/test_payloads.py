"""Payload policies, end to end: what was said under `hash` and `off` is nowhere in Redis, neither
in its memory nor on its disk, however the request ended.

The server is one of this file's own, so that its append-only file is small and was never rewritten:
what is in it is there to be read, as the same search finds under `full`.
"""

import asyncio
import hashlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerOptions
from budgets.policy import PAYLOADS, Payloads
from gateway.events import RECORDED_BYTES_MAX
from gateway.options import GatewayOptions
from tests.gateway.behaviours import (
    DONE,
    answers,
    chunk_event,
    held,
    plain_body,
    says,
    silent,
    streams,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.fake_routes import OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import CAP, COUNTED, USAGE_NUSD, Stack, running_stack
from tests.gateway.wire import Wire, request_bytes
from tests.living import contents_below

LEVELS: tuple[Payloads, ...] = ("full", "hash", "off")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A ledger that only the tests of this file write to."""
    with tempfile.TemporaryDirectory(prefix="comptroller-payloads-") as folder:
        embedded = EmbeddedServer(Path(folder))
        embedded.start()
        try:
            yield embedded
        finally:
            embedded.stop()


@pytest.fixture
async def stack(server: EmbeddedServer) -> AsyncIterator[Stack]:
    """A gateway on it, empty: each test looks through all that is there."""
    async with redis.asyncio.Redis(unix_socket_path=str(server.socket_path)) as client:
        await client.flushall()
    # Whoever waits in line does so for as long as a busy machine takes.
    options = GatewayOptions(wait_ms=60_000)
    async with running_stack(server.socket_path, options=options) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Planted:
    """Two texts that nothing else contains; the provider repeats the prompt where it can."""

    prompt: str
    answer: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """A conversation with the prompt in it."""
        return [{"role": "user", "content": f"keep to yourself: {self.prompt}"}]

    @property
    def said(self) -> str:
        """What the provider says."""
        return f"you said {self.prompt}, I say {self.answer}"


@pytest.fixture
def planted() -> Planted:
    """New ones for each test."""
    return Planted(f"prompt-{secrets.token_hex(8)}", f"answer-{secrets.token_hex(8)}")


async def traces(server: EmbeddedServer, text: str) -> set[str]:
    """Every place where Redis has the text: names and values of its keys, and its files as the
    disk has them."""
    mark, places = text.encode(), set()
    client = redis.asyncio.Redis(unix_socket_path=str(server.socket_path))
    async with client:
        commands: Any = client
        async for key in commands.scan_iter(count=1000):
            kind = (await commands.type(key)).decode()
            if mark in key or mark in repr(await _value(commands, kind, key)).encode():
                places.add(key.decode())
        await commands.set("test:written", text[:4])
        assert (await commands.execute_command("WAITAOF", 1, 0, 10_000))[0] == 1
    for path, content in contents_below(server.folder.parent):
        if mark in content:
            places.add(path.name)
    return places


async def _value(client: Any, kind: str, key: bytes) -> object:
    match kind:
        case "string":
            return await client.get(key)
        case "hash":
            return await client.hgetall(key)
        case "stream":
            return await client.xrange(key)
        case "zset":
            return await client.zrange(key, 0, -1)
        case "set":
            return await client.smembers(key)
        case "none":
            return None  # its time was over just now
    raise AssertionError(f"a type that this search does not know: {kind}")


def _error(planted: Planted) -> bytes:
    return json.dumps({"error": {"message": planted.said, "code": planted.said}}).encode()


def _whole(planted: Planted) -> bytes:
    message = {"role": "assistant", "content": planted.said}
    return plain_body(usage_text(11, 7), message=message)


def _named(planted: Planted) -> bytes:
    """Says it in the places of names."""
    text = planted.said.encode()
    return _whole(planted).replace(b"served-model", text).replace(b'"stop"', b'"' + text + b'"')


def _breaks(planted: Planted) -> Behaviour:
    async def behave(_received: Received, reply: Reply) -> None:
        content = _whole(planted)
        reply.begin(len(content), "application/json")
        reply.raw(content[:-5])
        await asyncio.sleep(0)
        reply.close()

    return behave


def _events(planted: Planted) -> list[bytes]:
    return word_events((planted.said, " more"))


# Name: (streamed, model, behaviour, whether the answer reaches the record under `full`)
ENDINGS: dict[str, tuple[bool, str, Callable[[Planted], Behaviour], bool]] = {
    "whole": (False, "plain", lambda p: says(_whole(p)), True),
    "whole without usage": (False, "plain", lambda _: says(plain_body(None)), False),
    "names": (False, "plain", lambda p: says(_named(p)), True),
    "whole broken off": (False, "plain", _breaks, False),
    "error": (False, "plain", lambda p: says(_error(p), 400), True),
    "error of the operator": (False, "plain", lambda p: says(_error(p), 401), False),
    "error in between": (False, "plain", lambda p: says(_error(p), 503, "text/html"), True),
    "error with status 200": (False, "plain", lambda p: says(_error(p)), True),
    "not reached": (True, "absent", lambda _: silent(), False),
    "silent": (True, "hasty", lambda _: silent(), False),
    "stream": (
        True,
        "plain",
        lambda p: streams([*_events(p), usage_event(usage_text(11, 7)), DONE]),
        True,
    ),
    "stream not kept": (True, "thinker", lambda p: streams([*_events(p), DONE]), True),
    "stream error": (True, "plain", lambda p: says(_error(p), 429), True),
    "stream error with status 200": (
        True,
        "plain",
        lambda p: streams([b"data: " + _error(p) + b"\n\n", DONE]),
        True,
    ),
    "stream closed": (True, "plain", lambda p: streams(_events(p), end="close"), True),
    "stream reset": (True, "biller", lambda p: streams(_events(p), end="reset"), True),
    "stream beyond its grant": (
        True,
        "plain",
        lambda p: streams([*_events(p), chunk_event({"content": "x"}) * 500]),
        True,
    ),
}


@pytest.mark.parametrize("payloads", LEVELS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_may_not_be_recorded_is_nowhere_in_redis(
    server: EmbeddedServer, stack: Stack, planted: Planted, payloads: Payloads, ending: str
) -> None:
    """Prompt and answer are in no key and in no file of the server under `hash` and `off`, while
    under `full` the search finds both."""
    stream, model, behaviour, answered = ENDINGS[ending]
    await stack.set_budget("", {"payloads": payloads})
    stack.provider.behaviour = behaviour(planted)
    secret = await stack.key(budget=COUNTED)
    await stack.chat(secret, model, messages=planted.messages, stream=stream, max_tokens=CAP)
    _, event = await stack.ledger.ending()
    expected = {f"{{{stack.organisation}}}:bodies"} if payloads == "full" else set()
    found = await traces(server, planted.prompt)
    assert bool(found) == (payloads == "full"), found
    assert found >= expected
    assert any(name.endswith(".aof") for name in found) == (payloads == "full")
    found = await traces(server, planted.answer)
    assert bool(found) == (payloads == "full" and answered), found
    # An answer that broke off or never came has no record.
    assert event.get("payload_state", "") == (payloads if event.get("response_bytes") else "")
    await stack.ledger.at_rest()


@pytest.mark.parametrize("payloads", LEVELS)
@pytest.mark.parametrize("model", ["plain", "thinker"])
async def test_a_client_that_hangs_up_leaves_no_trace(
    server: EmbeddedServer, stack: Stack, planted: Planted, payloads: Payloads, model: str
) -> None:
    """What was streamed until then is counted in this process, or the rest is read to its end:
    either way Redis learns nothing of it, and the money is booked as under any policy."""
    await stack.set_budget("research", {"payloads": payloads})
    gate = asyncio.Event()

    async def two_parts(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(b"".join(_events(planted)[:-1]))
        await gate.wait()
        reply.chunk(usage_event(usage_text(11, 7)) + DONE)
        reply.end()

    stack.provider.behaviour = two_parts
    document = {"model": model, "messages": planted.messages, "stream": True, "max_tokens": 500}
    async with Wire(stack.port) as wire:
        secret = await stack.key(budget=COUNTED)
        await wire.send(request_bytes(secret, json.dumps(document).encode()))
        await wire.until(planted.answer.encode())
        # Reserved and running: not even a lease has it.
        assert bool(await traces(server, planted.prompt)) == (payloads == "full")
    if model == "plain":
        await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    gate.set()
    entry, event = await stack.ledger.ending()
    if model == "plain":
        assert event["usage_source"] == "counted"
        assert len(planted.said) * OUTPUT_NUSD < charged(entry) < reserved(entry)
    else:
        assert (charged(entry), event["usage_source"]) == (USAGE_NUSD, "provider")
    for text in (planted.prompt, planted.answer):
        assert bool(await traces(server, text)) == (payloads == "full")
    await stack.ledger.at_rest()


@pytest.mark.parametrize("payloads", LEVELS)
async def test_a_refused_request_leaves_no_trace(
    server: EmbeddedServer, stack: Stack, planted: Planted, payloads: Payloads
) -> None:
    """What is not granted is not recorded, under any policy."""
    await stack.set_budget("", {"payloads": payloads})
    secret = await stack.key(budget=[{"usd": "0.000000001"}])
    assert (await stack.chat(secret, messages=planted.messages)).status_code == 402
    assert await traces(server, planted.prompt) == set()


@pytest.mark.parametrize(
    ("stream", "model", "behaviour"),
    [
        (False, "plain", answers()),
        (True, "plain", answers()),
        (True, "thinker", answers()),
        (False, "plain", says(b'{"error": {"message": "no"}}', 400)),
        (False, "plain", says(plain_body(None, message={"content": "x" * RECORDED_BYTES_MAX}))),
        (True, "thinker", streams([b": " + b"x" * 100_000 + b"\n\n"] * 90)),
    ],
    ids=["whole", "stream", "stream not kept", "error", "too long", "stream too long"],
)
async def test_the_hash_is_that_of_what_full_records(
    stack: Stack, stream: bool, model: str, behaviour: Behaviour
) -> None:
    """For request and answer, kept in pieces, hashed as it comes, or longer than a record may be:
    whoever holds the payload can prove that it was this one. Only what is full is called
    truncated: a cut answer that must be redacted still says so."""
    stack.provider.behaviour = behaviour
    secret = await stack.key(budget=COUNTED)
    events: dict[Payloads, list[dict[str, Any]]] = {}
    for number, payloads in enumerate(PAYLOADS, start=1):
        await stack.set_budget("", {"payloads": payloads})
        await stack.chat(secret, model, stream=stream, max_tokens=CAP)
        ended = (await stack.ledger.endings(number))[-1]
        asked = (await stack.ledger.requests())[-1]
        bodies = await stack.ledger.bodies()
        recorded = [bodies.get(entry.seq, b"") for entry in (asked, ended)]
        events[payloads] = [json.loads(entry.event) for entry in (asked, ended)]
        if payloads == "full":
            hashes = [hashlib.sha256(body).hexdigest() for body in recorded]
            sizes = [len(body) for body in recorded]
        if payloads in ("full", "redacted"):
            assert [hashlib.sha256(body).hexdigest() for body in recorded] == hashes
        else:
            assert recorded == [b"", b""]
    cut = events["full"][1]["response_bytes"] > RECORDED_BYTES_MAX
    assert sizes[1] == min(events["full"][1]["response_bytes"], RECORDED_BYTES_MAX)
    for payloads, (asked_, ended_) in events.items():
        assert asked_["payload_state"] == payloads
        assert ended_["payload_state"] == ("truncated" if cut and payloads == "full" else payloads)
        assert asked_["request_bytes"] == sizes[0]
        named = [asked_.get("body_sha256"), ended_.get("body_sha256")]
        assert named == (hashes if payloads == "hash" else [None, None])


async def test_the_gateways_own_setting_binds_every_scope(
    server: EmbeddedServer, planted: Planted
) -> None:
    """What the operator's setting forbids no budget and no key can allow."""
    options = LedgerOptions(payloads="off")
    async with running_stack(server.socket_path, ledger_options=options) as stack:
        await stack.set_budget("", {"payloads": "full"})
        stack.provider.behaviour = says(_whole(planted))
        secret = await stack.key(budget=COUNTED)
        await stack.set_budget(
            f"research/{stack.keys[secret].id}", {"limits": COUNTED, "payloads": "full"}
        )
        assert (await stack.chat(secret, messages=planted.messages)).status_code == 200
        await stack.ledger.endings(1)
        assert await traces(server, planted.prompt) == set()
        assert await traces(server, planted.answer) == set()


async def test_the_policy_of_the_grant_holds_to_the_end(
    server: EmbeddedServer, stack: Stack, planted: Planted
) -> None:
    """A request that was granted under one policy is answered under it, both ways; the next one is
    under the new policy."""
    secret = await stack.key(budget=COUNTED)
    changes: tuple[tuple[Payloads, Payloads], ...] = (("full", "off"), ("off", "full"))
    for number, (before, after) in enumerate(changes, start=1):
        await stack.set_budget("", {"payloads": before})
        gate = asyncio.Event()
        stack.provider.behaviour = held(gate, says(_whole(planted)))
        call = asyncio.create_task(stack.chat(secret))
        await stack.provider.arrivals(number)
        await stack.set_budget("", {"payloads": after})
        gate.set()
        await call
        asked = json.loads((await stack.ledger.requests())[-1].event)
        ended = json.loads((await stack.ledger.endings(number))[-1].event)
        assert (asked["payload_state"], ended["payload_state"]) == (before, before)


async def test_who_waits_in_line_is_recorded_as_it_is_granted(
    server: EmbeddedServer, stack: Stack, planted: Planted
) -> None:
    """The policy of the grant counts, not that of the first try; the event tells how long the
    request waited, and one that did not wait says nothing of it."""
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    secret = await stack.key(budget=[*COUNTED, {"concurrency": 1}])
    first = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    loop = asyncio.get_running_loop()
    asked_at_s = loop.time()
    second = asyncio.create_task(stack.chat(secret, messages=planted.messages))
    await stack.until_waiting(1)
    assert not second.done()
    await stack.set_budget("", {"payloads": "off"})
    gate.set()
    assert [(await each).status_code for each in (first, second)] == [200, 200]
    elapsed_ms = (loop.time() - asked_at_s) * 1000
    events = [json.loads(entry.event) for entry in await stack.ledger.requests()]
    assert [each["payload_state"] for each in events] == ["full", "off"]
    assert "waited_ms" not in events[0]
    assert 0 < events[1]["waited_ms"] <= elapsed_ms + 1
    assert await traces(server, planted.prompt) == set()
    await stack.ledger.until_at_rest()
