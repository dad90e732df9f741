"""`Idempotency-Key` on several workers, and when they are killed: real processes."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pricing import dollars
from tests.gateway.behaviours import answers, held, silent
from tests.gateway.ledger_view import charged
from tests.gateway.processes import comptroller_up, fake_config
from tests.gateway.provider import Provider
from tests.gateway.stack import GREETING, USAGE_NUSD
from tests.gateway.wire import Answer, Wire, post, request_bytes

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 200}
NAMED = "idempotency-key: one and the same"
LEASE_MS = 1_500
CALLS = 40


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(answers())
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider, **more: object) -> dict[str, object]:
    """One key with a dollar."""
    key = {"name": "ci", "scope": f"{ORGANISATION}/research", "secret": SECRET}
    budgets = {f"{ORGANISATION}/research": [{"usd": "1"}]}
    return fake_config(provider, budgets=budgets, keys=[key], **more)


def reason(answer: Answer) -> str:
    """Why a conflict."""
    assert answer.status == 409, answer.body
    assert answer.error["code"] == "idempotency_conflict"
    return str(answer.error["reason"])


async def test_two_workers_make_one_call(folder: Path, provider: Provider) -> None:
    """Whichever worker each of them meets: one is sent, the others are told, and afterwards every
    worker knows; that which has the answer gives it, the other says who has it."""
    gate = asyncio.Event()
    provider.behaviour = held(gate, answers())
    async with comptroller_up(folder, config=config(provider), workers=2) as running:
        calls = [
            asyncio.create_task(post(running.port, SECRET, DOCUMENT, NAMED)) for _ in range(CALLS)
        ]
        while sum(each.done() for each in calls) < CALLS - 1:
            await asyncio.wait(
                [each for each in calls if not each.done()],
                return_when=asyncio.FIRST_COMPLETED,
                timeout=10,
            )
        gate.set()
        made = await asyncio.gather(*calls)
        (first,) = [each for each in made if each.status == 200]
        assert [reason(each) for each in made if each is not first] == ["in_flight"] * (CALLS - 1)
        again = [await post(running.port, SECRET, DOCUMENT, NAMED) for _ in range(CALLS)]
        for each in again:
            id_ = each.headers["x-comptroller-request-id"]
            assert id_ == first.headers["x-comptroller-request-id"]
            assert each.headers["x-comptroller-cost-usd"] == dollars(USAGE_NUSD)
            if each.status == 200:
                assert each.body == first.body
            else:
                assert reason(each) == "settled"
        assert len(provider.received) == 1
        view = running.view(ORGANISATION)
        assert await view.spent() == USAGE_NUSD
        await view.at_rest()
        await view.close()


async def test_a_killed_workers_request_is_not_made_again(folder: Path, provider: Provider) -> None:
    """kill -9 while the provider works: until the lease expires the request counts as in flight,
    afterwards as lost and charged whole. Neither makes a second call; a new name does."""
    provider.behaviour = silent()
    settings = config(provider, ledger={"lease_ms": LEASE_MS})
    async with comptroller_up(folder, config=settings, workers=2) as running:
        view = running.view(ORGANISATION)
        before = running.workers()
        async with Wire(running.port) as wire:
            await wire.send(request_bytes(SECRET, json.dumps(DOCUMENT).encode(), NAMED))
            await provider.arrivals(1)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(provider.last.gone.wait(), 30)
        await running.until_replaced(before, 2)
        await running.until_ready()
        assert reason(await post(running.port, SECRET, DOCUMENT, NAMED)) in ("in_flight", "expired")
        (entry,) = await view.endings(1)
        assert entry.kind == "reservation_expired"
        provider.behaviour = answers()
        for _ in range(2):
            answer = await post(running.port, SECRET, DOCUMENT, NAMED)
            assert reason(answer) == "expired"
            assert answer.headers["x-comptroller-request-id"] == entry.id
            assert answer.headers["x-comptroller-cost-usd"] == dollars(charged(entry))
        assert len(provider.received) == 1
        anew = await post(running.port, SECRET, DOCUMENT, "idempotency-key: another")
        assert anew.status == 200
        await view.until_at_rest()
        await view.close()


async def test_a_restart_forgets_answers_but_not_names(folder: Path, provider: Provider) -> None:
    """Everything is stopped and started again: the answer is gone with its worker, what it cost is
    not, and nothing is paid twice."""
    async with comptroller_up(folder, config=config(provider)) as running:
        first = await post(running.port, SECRET, DOCUMENT, NAMED)
        assert first.status == 200
    async with comptroller_up(folder, config=config(provider)) as running:
        answer = await post(running.port, SECRET, DOCUMENT, NAMED)
        assert reason(answer) == "settled"
        for name in ("x-comptroller-request-id", "x-comptroller-cost-usd"):
            assert answer.headers[name] == first.headers[name]
    assert len(provider.received) == 1
