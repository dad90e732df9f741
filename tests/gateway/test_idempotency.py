"""`Idempotency-Key`: a request that its client has named is made once, and paid once."""

import asyncio
import gzip
import json

import httpx
import pytest

from gateway.idempotency import KEPT_MS_MAX, Replays
from gateway.options import GatewayOptions
from gateway.request import ASGIMessage, Request, respond
from tests.budgets.harness import ManualClock
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.naming import BUDGET, NAME, USAGE_USD, conflict, document, named, replayed
from tests.gateway.stack import USAGE_NUSD, Stack, chat_body
from tests.gateway.wire import Wire, post, request_bytes


@pytest.mark.parametrize("stream", [False, True])
async def test_fifty_at_once_are_one_call_and_one_charge(stack: Stack, stream: bool) -> None:
    """While the one runs, the forty-nine others are told so, and nothing of them is recorded;
    afterwards all get its answer."""
    secret = await stack.key(budget=BUDGET)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    body = document(stream=stream)
    running = [asyncio.create_task(named(stack, secret, body)) for _ in range(50)]
    while sum(each.done() for each in running) < 49:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        running.sort(key=asyncio.Task.done)
    gate.set()
    first, *others = await asyncio.gather(*running)
    assert first.status == 200
    assert len(stack.provider.received) == 1
    id_ = first.headers["x-comptroller-request-id"]
    assert {conflict(each, "in_flight") for each in others} == {id_}
    before = await stack.ledger.state()
    for _ in range(3):
        replayed(await named(stack, secret, body), first)
    assert await stack.ledger.state() == before
    assert len(stack.provider.received) == 1
    assert await stack.ledger.spent() == USAGE_NUSD
    assert len(await stack.ledger.requests()) == 1
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_replayed_as_it_was(stack: Stack, stream: bool) -> None:
    """Whole with its length, a stream as a stream, the cost in it included; what the budget had
    left then is not told as if it were now."""
    secret = await stack.key(budget=[*BUDGET, {"requests": 9}])
    body = document(stream=stream)
    if stream:
        body["stream_options"] = {"include_usage": True}
    first = await named(stack, secret, body)
    assert b'"cost":0.000025' in first.body
    assert "x-ratelimit-limit-requests" in first.headers
    again = await named(stack, secret, body)
    replayed(again, first)
    assert ("transfer-encoding" in again.headers) == stream
    assert ("content-length" in again.headers) != stream
    await stack.ledger.at_rest()


async def test_a_replay_costs_nothing_of_an_exhausted_budget(stack: Stack) -> None:
    """What is answered already is answered again, though no other request fits any more."""
    secret = await stack.key(budget=[{"requests": 1}])
    first = await named(stack, secret, document())
    assert (await post(stack.port, secret, document())).status == 402
    replayed(await named(stack, secret, document()), first)


async def test_another_body_is_refused_and_not_sent(stack: Stack) -> None:
    """422 while the first runs and afterwards: the name is taken by something else, and be it a
    space."""
    secret = await stack.key(budget=BUDGET)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    running = asyncio.create_task(named(stack, secret, document()))
    await stack.provider.arrivals(1)
    others = [document(temperature=1), document(stream=True), document(model="dear")]
    refused = [await named(stack, secret, each) for each in others]
    gate.set()
    first = await running
    ids = {conflict(each, "other_request", 422) for each in refused}
    assert ids == {first.headers["x-comptroller-request-id"]}
    for each in others:
        conflict(await named(stack, secret, each), "other_request", 422)
    async with Wire(stack.port) as wire:
        body = json.dumps(document()).encode() + b" "
        await wire.send(request_bytes(secret, body, f"idempotency-key: {NAME}"))
        conflict(await wire.answer(), "other_request", 422)
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


async def test_names_are_a_keys_own(stack: Stack) -> None:
    """Another gateway key may use the same name, for anything: it neither gets nor sees the first
    one's answer. Nor do other names of the same key, nor requests without one."""
    mine, theirs = await stack.key(budget=BUDGET), await stack.key(budget=BUDGET)
    first = await named(stack, mine, document())
    other = await named(stack, theirs, document())
    more = [
        await named(stack, theirs, document(), NAME[:-1]),
        await named(stack, theirs, document(), NAME.upper()),
        await post(stack.port, theirs, document()),
        await post(stack.port, theirs, document()),
    ]
    ids = {each.headers["x-comptroller-request-id"] for each in (first, other, *more)}
    assert len(ids) == len(stack.provider.received) == 6
    replayed(await named(stack, mine, document()), first)
    replayed(await named(stack, theirs, document()), other)


async def test_a_revoked_key_gets_no_replay(stack: Stack) -> None:
    """The name is looked up after the key was judged, at the ledger."""
    secret = await stack.key(budget=BUDGET)
    assert (await named(stack, secret, document())).status == 200
    await stack.set_state("research/key-1", "close")
    answer = await named(stack, secret, document())
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "value",
    [b"", b"x" * 256, "caf\u00e9".encode(), "caf\u00e9".encode("latin-1"), b"a\tb", b"a\x7fb"],
)
async def test_a_name_that_is_none_is_refused(stack: Stack, value: bytes) -> None:
    """Empty, too long, not ASCII, control characters: 400 before anything is reserved."""
    secret = await stack.key(budget=BUDGET)
    before = await stack.ledger.state()
    sent = request_bytes(secret, chat_body(stream=False))
    head, _, body = sent.partition(b"\r\n\r\n")
    async with Wire(stack.port) as wire:
        await wire.send(head + b"\r\nidempotency-key: " + value + b"\r\n\r\n" + body)
        answer = await wire.answer()
    assert answer.status == 400
    if answer.headers["content-type"] == "application/json":  # else uvicorn's own
        assert answer.error["code"] == "invalid_request_error"
        assert "Idempotency-Key" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"
    assert await stack.ledger.state() == before
    assert stack.provider.received == []


@pytest.mark.parametrize(
    "value", ["{acme}:ledger", "../../etc/passwd", "x" * 255, '"quoted"', "%0d%0a", "$(id)", "*"]
)
async def test_a_hostile_name_is_only_a_name(stack: Stack, value: str) -> None:
    """Names are hashed: they can be neither a key of the ledger, nor a pattern, nor a path, and
    they are in no answer."""
    secret = await stack.key(budget=BUDGET)
    first = await named(stack, secret, document(), value)
    replayed(await named(stack, secret, document(), value), first)
    other = await named(stack, secret, document(temperature=1), value)
    conflict(other, "other_request", 422)
    assert value not in other.error["message"]
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "options",
    [
        GatewayOptions(replay_answers_max=2),
        GatewayOptions(replay_bytes_max=900),
        GatewayOptions(replay_answers_max=0),
        GatewayOptions(replay_answer_bytes_max=300),
        GatewayOptions(replay_bytes_max=0),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_that_are_not_kept_are_not_bought_again(
    make_stack: MakeStack, options: GatewayOptions, stream: bool
) -> None:
    """Beyond the bounds the oldest answers go. Whoever asks for one is told which request it was
    and what it cost, and that it is not here: never a call more."""
    stack = await make_stack(options)
    secret = await stack.key(budget=BUDGET)
    body = document(stream=stream)
    firsts = [await named(stack, secret, body, f"name {n}") for n in range(3)]
    kept = 0
    for n, first in enumerate(firsts):
        again = await named(stack, secret, body, f"name {n}")
        if again.status == 200:
            replayed(again, first)
            kept += 1
        else:
            assert kept == 0  # the oldest went first
            assert conflict(again, "settled") == first.headers["x-comptroller-request-id"]
            assert again.headers["x-comptroller-cost-usd"] == USAGE_USD
            assert f"${USAGE_USD}" in again.error["message"]
    assert len(stack.provider.received) == 3
    size = len(firsts[0].body)
    room = 0 if size > options.replay_answer_bytes_max else options.replay_bytes_max // size
    assert kept == min(3, options.replay_answers_max, room)


async def test_answers_are_kept_no_longer_than_their_names() -> None:
    """An hour after it was kept an answer is of no use to anybody: the next one takes it along."""
    clock = ManualClock(0)
    replays = Replays(GatewayOptions(), clock)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}

    async def receive() -> ASGIMessage:
        raise AssertionError

    async def send(_message: ASGIMessage) -> None:
        pass

    for at_ms, size in ((0, (1, 3)), (1, (2, 6)), (KEPT_MS_MAX, (3, 9)), (KEPT_MS_MAX + 2, (2, 6))):
        clock.at_ms = at_ms
        request = Request(scope, receive, send)
        recording = replays.recording(request)
        await respond(request.send, 200, [], b"abc")
        replays.keep(f"id-{at_ms}", recording)
        assert replays.size == size


async def test_only_what_reserves_reads_the_name(stack: Stack) -> None:
    """A quote or a list may be asked for any number of times."""
    secret = await stack.key(budget=BUDGET)
    headers = {"authorization": f"Bearer {secret}", "idempotency-key": NAME}
    for _ in range(2):
        quoted = await stack.client.post("/v1/quote", json=document(), headers=headers)
        listed = await stack.client.get("/v1/models", headers=headers)
        assert (quoted.status_code, listed.status_code) == (200, 200)
    assert (await named(stack, secret, document())).status == 200


async def test_a_compressed_body_is_the_same_body(stack: Stack) -> None:
    """What counts is what was asked, not how it travelled."""
    secret = await stack.key(budget=BUDGET)
    plain = json.dumps(document()).encode()
    headers = {"authorization": f"Bearer {secret}", "idempotency-key": NAME}
    first = await stack.client.post("/v1/chat/completions", content=plain, headers=headers)
    headers["content-encoding"] = "gzip"
    again: httpx.Response = await stack.client.post(
        "/v1/chat/completions", content=gzip.compress(plain), headers=headers
    )
    assert again.headers["x-comptroller-replayed"] == "true"
    assert again.content == first.content
