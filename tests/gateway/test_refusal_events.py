"""A budget's refusals become events, coalesced, on a running gateway; other refusals leave none."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from budgets.embedded import EmbeddedServer
from budgets.keys import Key
from budgets.ledger import LedgerOptions
from budgets.policy import parse_policy
from budgets.recording import Recording
from gateway.options import GatewayOptions
from gateway.refusal_log import FLUSH_MS
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import comptroller_up
from tests.gateway.stack import GREETING, Stack, running_stack
from tests.gateway.wire import Wire, burst, request_bytes

SOON_MS = 20
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 50}
NO_REQUESTS = [{"requests": 0, "window": "day"}]


@pytest.fixture
async def soon(make_stack: MakeStack) -> Stack:
    """A gateway that tells of refusals almost at once, and does not wait long for others."""
    return await make_stack(GatewayOptions(wait_ms=50), refusals_flush_ms=SOON_MS)


async def only(stack: Stack, count: int = 1) -> dict[str, Any]:
    """The event that tells of so many refusals; the books agree."""
    (event,) = await stack.ledger.refusals(count)
    await stack.ledger.at_rest()
    return event


async def test_an_exhausted_budget(soon: Stack) -> None:
    """Who was refused, what for, by which limit of which scope, what was asked and free, when."""
    secret = await soon.key("research/nightly")
    await soon.set_budget("research", [{"requests": 1, "window": "day"}])
    assert (await soon.chat(secret)).status_code == 200
    before_ms = time.time_ns() // 1_000_000
    answer = await soon.chat(secret)
    after_ms = time.time_ns() // 1_000_000
    event = await only(soon)
    detail = event.pop("detail")
    assert len(event.pop("request_id")) == 32
    assert event == {
        "scope": soon.scope("research/nightly/key-1"),
        "error": answer.json()["error"]["reason"],
        "key_id": "key-1",
        "endpoint": "/v1/chat/completions",
        "provider": "openai",
        "model_requested": "plain",
        "model": "upstream-model",
        "status": answer.status_code,
    }
    assert before_ms <= detail.pop("first_ms") == detail.pop("last_ms") <= after_ms
    assert detail == {
        "count": 1,
        "scope": soon.scope("research"),
        "dimension": "requests",
        "window": "day",
        "asked": 1,
        "free": 0,
    }


async def test_a_request_that_is_too_large(soon: Stack) -> None:
    """What was asked is the least form of the request, in the unit of the limit."""
    secret = await soon.key(budget=[{"usd": "0.0005"}])
    assert (await soon.chat(secret, n=50)).status_code == 402
    event = await only(soon)
    assert (event["error"], event["status"]) == ("request_too_large", 402)
    detail = event["detail"]
    assert (detail["dimension"], detail["window"]) == ("usd", "total")
    assert detail["asked"] > detail["free"] == 500_000


async def test_a_minute_limit(soon: Stack) -> None:
    """Refused for now, with the status that says so."""
    secret = await soon.key(budget=[{"requests": 1, "window": "minute"}])
    statuses = [(await soon.chat(secret)).status_code for _ in range(3)]
    assert statuses[-1] == 429
    events = await soon.ledger.refusals(statuses.count(429))
    for event in events:
        assert (event["error"], event["status"]) == ("exhausted", 429)
        assert event["detail"]["window"] == "minute"


async def test_held_after_the_wait_only(soon: Stack) -> None:
    """A request that was granted in the end was not refused; one whose time was up was."""
    secret = await soon.key(budget=[{"concurrency": 1}])
    gate = asyncio.Event()
    soon.provider.behaviour = held(gate, answers())
    first = asyncio.create_task(soon.chat(secret))
    await soon.provider.arrivals(1)
    assert (await soon.chat(secret)).status_code == 429
    gate.set()
    assert (await first).status_code == 200
    assert (await soon.chat(secret)).status_code == 200
    event = await only(soon)
    assert (event["error"], event["status"]) == ("held", 429)
    assert event["detail"]["dimension"] == "concurrency"
    assert (event["detail"]["asked"], event["detail"]["free"]) == (1, 0)


async def test_a_wait_that_ends_in_a_grant_is_no_refusal(make_stack: MakeStack) -> None:
    """Neither is one whose client hangs up in line."""
    stack = await make_stack(GatewayOptions(wait_ms=5_000), refusals_flush_ms=SOON_MS)
    secret = await stack.key(budget=[{"concurrency": 1}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    first = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, json.dumps(DOCUMENT).encode()))
        await wire.hang_up()
    second = asyncio.create_task(stack.chat(secret))
    gate.set()
    assert ((await first).status_code, (await second).status_code) == (200, 200)
    await stack.set_state("research", "freeze")
    assert (await stack.chat(secret)).status_code == 402
    assert (await only(stack))["error"] == "frozen"


@pytest.mark.parametrize(("action", "reason"), [("freeze", "frozen"), ("close", "run_halted")])
async def test_a_scope_that_is_not_open(soon: Stack, action: str, reason: str) -> None:
    """The scope whose state refused is named; nothing was asked of a limit."""
    secret = await soon.key("research/run-1")
    await soon.set_state("research", action)
    assert (await soon.chat(secret)).status_code == 402
    event = await only(soon)
    assert (event["error"], event["scope"]) == (reason, soon.scope("research/run-1/key-1"))
    assert event["detail"]["scope"] == soon.scope("research")
    assert set(event["detail"]) == {"count", "first_ms", "last_ms", "scope"}


async def test_a_fenced_attempt(soon: Stack) -> None:
    """An executor that was paused and comes back is told, and so is the log."""
    scope = soon.scope("run-1/write")
    key = Key(id="old", name="old", scope=scope, created_at_ms=1, attempts=((scope, 1),))
    await soon.keyring.mint(key, "ck-attempt-1", parse_policy([]))
    assert (await soon.chat("ck-attempt-1")).status_code == 200
    await soon.administration.set_state(scope, "fence", "step_started", b"{}", attempt=2)
    assert (await soon.chat("ck-attempt-1")).status_code == 402
    event = await only(soon)
    assert (event["error"], event["key_id"]) == ("run_halted", "old")
    assert event["detail"]["scope"] == scope


async def test_two_hundred_within_a_second_are_one_event(make_stack: MakeStack) -> None:
    """Or two, when the second turns in their midst. Each refused call is counted once, and the
    calls that are served meanwhile lie between them without a gap."""
    stack = await make_stack(refusals_flush_ms=FLUSH_MS)
    secret, other = await stack.key(budget=NO_REQUESTS), await stack.key("sales")
    documents = [{**DOCUMENT, "stream": n % 2 == 0} for n in range(200)]
    refused, served = await asyncio.gather(
        burst(stack.port, secret, documents), burst(stack.port, other, documents[:20])
    )
    assert {answer.status for answer in refused} == {402}
    assert {answer.status for answer in served} == {200}
    events = await stack.ledger.refusals(200)
    assert 1 <= len(events) <= 2
    for event in events:
        detail = event["detail"]
        assert 0 <= detail["last_ms"] - detail["first_ms"] <= FLUSH_MS + 500
    await stack.ledger.endings(20)
    await stack.ledger.at_rest()


async def test_two_keys_are_two_events(make_stack: MakeStack) -> None:
    """Refused by the same scope at the same time, each key has its own count."""
    stack = await make_stack(refusals_flush_ms=FLUSH_MS)
    secrets = [await stack.key(), await stack.key()]
    await stack.set_budget("research", NO_REQUESTS)
    for secret, count in zip(secrets, (3, 5), strict=True):
        for answer in await burst(stack.port, secret, [DOCUMENT] * count):
            assert answer.status == 402
    events = await stack.ledger.refusals(8)
    found: Counter[str] = Counter()
    for event in events:
        assert event["detail"]["scope"] == stack.scope("research")
        found[event["key_id"]] += event["detail"]["count"]
    assert found == {"key-1": 3, "key-2": 5}
    assert len({event["request_id"] for event in events}) == len(events)
    await stack.ledger.at_rest()


async def test_other_refusals_leave_no_event(soon: Stack) -> None:
    """No, unknown, expired or revoked key, what a key may not do, what is malformed or unknown,
    and questions that reserve nothing."""
    plain = await soon.key()
    limited = await soon.key(models=("dear",), endpoints=("/v1/chat/*",))
    expired = await soon.key(expires_at_ms=1)
    revoked = await soon.key()
    await soon.keyring.revoke(soon.keys[revoked])
    nothing_left = await soon.key(budget=NO_REQUESTS)
    calls = [
        (401, soon.client.post("/v1/chat/completions", json=DOCUMENT)),
        (401, soon.chat("ck-nobody")),
        (401, soon.chat(expired)),
        (401, soon.chat(revoked)),
        (403, soon.chat(limited)),
        (403, soon.get(limited, "/v1/budget")),
        (404, soon.chat(plain, "nobody")),
        (404, soon.get(plain, "/v1/nothing")),
        (405, soon.get(plain, "/v1/chat/completions")),
        (400, soon.chat(plain, max_tokens=0)),
        (502, soon.chat(plain, "absent")),
        (200, soon.call(nothing_left, DOCUMENT, "/v1/quote")),
        (200, soon.get(nothing_left, "/v1/budget")),
    ]
    for status, call in calls:
        assert (await call).status_code == status
    await soon.set_state("research", "freeze")
    assert (await soon.get(plain, "/v1/models")).status_code == 402
    assert (await soon.call(plain, DOCUMENT, "/v1/quote")).status_code == 402
    assert (await soon.chat(plain)).status_code == 402
    event = await only(soon)
    assert (event["key_id"], event["error"]) == ("key-1", "frozen")


async def test_the_setting_s_status_is_the_one_that_is_told(make_stack: MakeStack) -> None:
    """`refusal_status: 400` is in the event as it was answered."""
    stack = await make_stack(GatewayOptions(refusal_status=400), refusals_flush_ms=SOON_MS)
    secret = await stack.key(budget=NO_REQUESTS)
    assert (await stack.chat(secret)).status_code == 400
    assert (await only(stack))["status"] == 400


async def test_an_outbox_that_fills_is_left_to_what_is_charged(make_stack: MakeStack) -> None:
    """From half of its room on, refusals wait; calls are served until it is full, and the callers
    who are refused do not notice. When there is room again, every refusal is told."""
    stack = await make_stack(
        ledger_options=LedgerOptions(outbox_events_max=20), refusals_flush_ms=SOON_MS
    )
    secret, refused = await stack.key(), await stack.key("sales", NO_REQUESTS)
    while len(await stack.ledger.outbox()) < 10:
        assert (await stack.chat(secret)).status_code == 200
    for _ in range(5):
        assert (await stack.chat(refused)).status_code == 402
        await asyncio.sleep(SOON_MS / 1000)
    entries = await stack.ledger.outbox()
    assert not [each for each in entries if each.kind == "budget_exceeded"]
    assert (await stack.chat(secret)).status_code == 200
    last = (await stack.ledger.outbox())[-1]
    recording = Recording(stack.administration._session, "test")
    await recording.confirm(stack.organisation, last.epoch, last.seq, 0)
    events = await stack.ledger.refusals(5)
    assert {event["key_id"] for event in events} == {"key-2"}


async def test_refusals_outlive_the_ledger_s_absence(folder: Path) -> None:
    """Redis killed after a refusal and back again: the refusal is told once, with those since."""
    server = EmbeddedServer(folder)
    server.start()
    try:
        async with running_stack(
            server.socket_path, call_timeout_ms=300, refusals_flush_ms=100
        ) as stack:
            secret = await stack.key(budget=NO_REQUESTS)
            assert (await stack.chat(secret)).status_code == 402
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            for _ in range(3):
                assert (await stack.chat(secret)).status_code == 503
                await asyncio.sleep(0.1)  # rounds that fail
            server.start()
            assert (await stack.client.get("/readyz")).status_code == 200
            assert (await stack.chat(secret)).status_code == 402
            events = await stack.ledger.refusals(2)
            assert {event["error"] for event in events} == {"request_too_large"}
            await stack.ledger.at_rest()
    finally:
        server.stop()


async def test_what_is_left_is_told_when_the_worker_stops(valkey: EmbeddedServer) -> None:
    """The second need not be over."""
    async with running_stack(valkey.socket_path) as stack:
        secret = await stack.key(budget=NO_REQUESTS)
        for _ in range(3):
            assert (await stack.chat(secret)).status_code == 402
        assert [each.kind for each in await stack.ledger.outbox()].count("budget_exceeded") == 0
        organisation = stack.organisation
    view = LedgerView(valkey.socket_path, organisation)
    try:
        (event,) = await view.refusals(3)
        assert event["detail"]["count"] == 3
        await view.at_rest()
    finally:
        await view.close()


async def test_sigterm_loses_no_refusal(folder: Path) -> None:
    """Real workers, told to stop right after they refused: the ledger that they leave has all."""
    secret = "ck-a-secret-of-some-length"
    document = {**DOCUMENT, "model": "demo/small"}
    config = {
        "budgets": {"acme/research": NO_REQUESTS},
        "keys": [{"name": "ci", "scope": "acme/research", "secret": secret, "agent": "ci-bot"}],
    }
    async with comptroller_up(folder, config=config, workers=2) as running:
        refused = await burst(running.port, secret, [document] * 40)
        assert {answer.status for answer in refused} == {402}
        running.terminate()
        assert await running.ended() == 0
    server = EmbeddedServer(running.data_dir)
    server.start()
    view = running.view("acme")
    try:
        events = await view.refusals(40)
        assert len(events) <= 4  # each worker's, and the second may have turned
        assert {event["agent"] for event in events} == {"ci-bot"}
        await view.at_rest()
    finally:
        await view.close()
        server.stop()
