"""`comptroller up` in real processes: the same guarantees, and what only processes can break."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.behaviours import DONE, drips, echoes_cap, usage_event, usage_text, word_events
from tests.gateway.curling import run_curl_line
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import LedgerView, charged, held
from tests.gateway.processes import (
    Running,
    all_gone,
    comptroller_up,
    descendants,
    fake_config,
    free_port,
    ledgers_of,
    processes_of,
    started,
)
from tests.gateway.provider import Behaviour, Provider, Received, Reply
from tests.gateway.stack import GREETING
from tests.gateway.wire import Wire, burst, post, request_bytes

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 200}
STREAMED = {**DOCUMENT, "stream": True}
LEASE_MS = 1_500
BACK_S_MAX = 30


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(echoes_cap(11))
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider, budget: object, **more: object) -> dict[str, object]:
    """One key below one budget."""
    key = {"name": "ci", "scope": f"{ORGANISATION}/research", "secret": SECRET}
    return fake_config(provider, budgets={f"{ORGANISATION}/research": budget}, keys=[key], **more)


async def reserved_by(running: Running, document: object) -> dict[str, int]:
    """The quote of a request."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        answer = await client.post(
            f"http://127.0.0.1:{running.port}/v1/quote",
            json=document,
            headers={"authorization": f"Bearer {SECRET}"},
        )
    quoted: dict[str, int] = answer.json()
    return quoted


async def eventually_at_rest(view: LedgerView) -> None:
    """Nothing is reserved and the books agree."""
    try:
        await view.until_at_rest()
    finally:
        await view.close()


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_budget_of_one_hundred_under_five_hundred_calls(
    folder: Path, provider: Provider, workers: int
) -> None:
    """However many workers share the ledger, exactly as many calls pass as the budget is worth,
    and it is spent to the last nano-dollar."""
    async with comptroller_up(folder, config=config(provider, []), workers=workers) as running:
        quoted = await reserved_by(running, DOCUMENT)
        assert len(running.workers()) == workers
    provider.behaviour = echoes_cap(quoted["input_tokens_max"])
    worth_nusd = 100 * quoted["reserved_nusd"]
    budget = {
        "limits": [{"usd": f"{worth_nusd // 10**9}.{worth_nusd % 10**9:09d}"}],
        "on_exceed": "refuse",
    }
    async with comptroller_up(folder, config=config(provider, budget), workers=workers) as running:
        half: list[object] = [DOCUMENT, STREAMED] * 250
        answers = await burst(running.port, SECRET, half)
        statuses = [answer.status for answer in answers]
        assert statuses.count(200) == 100
        assert set(statuses) <= {200, 402, 429}
        assert len(provider.received) == 100
        assert (await post(running.port, SECRET, DOCUMENT)).status == 402
        view = running.view(ORGANISATION)
        assert await view.spent() == worth_nusd
        await eventually_at_rest(view)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_killed_workers_reservations_are_charged_when_their_leases_expire(
    folder: Path, provider: Provider, workers: int
) -> None:
    """kill -9 in mid-stream: the worker is replaced, and without anybody asking for anything its
    lease is charged in full once it has expired, and nothing stays reserved."""
    provider.behaviour = drips(interval_ms=50)
    settings = config(provider, [{"usd": "1"}, {"concurrency": 5}], ledger={"lease_ms": LEASE_MS})
    async with comptroller_up(folder, config=settings, workers=workers) as running:
        before = running.workers()
        async with Wire(running.port) as wire:
            await wire.send(request_bytes(SECRET, json.dumps(STREAMED).encode()))
            await wire.until(b"drip ")
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(provider.last.gone.wait(), 30)
        view = running.view(ORGANISATION)
        (entry,) = await view.endings(1)
        assert entry.kind == "reservation_expired"
        assert charged(entry) == held(entry) > 0
        await running.until_replaced(before, workers)
        await running.until_ready()
        provider.behaviour = echoes_cap(11)
        assert (await post(running.port, SECRET, DOCUMENT)).status == 200
        await eventually_at_rest(view)


async def test_sigterm_drains_and_settles(folder: Path, provider: Provider) -> None:
    """A stream that runs when the stack is told to stop goes on to its end and is settled by its
    truth; then all processes are gone and the exit code is 0."""
    gate = asyncio.Event()

    async def two_parts(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(b"".join(word_events(("one ",))[:-1]))
        await gate.wait()
        reply.chunk(word_events()[-1] + usage_event(usage_text(11, 7)) + DONE)
        reply.end()

    provider.behaviour = two_parts
    async with comptroller_up(folder, config=config(provider, [{"usd": "1"}])) as running:
        async with Wire(running.port) as wire, Wire(running.port) as idle:
            await idle.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            await idle.until(b"ok\n")
            await wire.send(request_bytes(SECRET, json.dumps(STREAMED).encode()))
            await wire.until(b"one ")
            running.terminate()
            await idle.until_closed()
            gate.set()
            rest = await wire.until(b"[DONE]")
            assert b"error" not in rest
        assert await running.ended() == 0
    # The ledger's file has it: a second start finds the settlement.
    async with comptroller_up(folder, config=config(provider, [{"usd": "1"}])) as running:
        view = running.view(ORGANISATION)
        entry, event = await view.ending()
        assert charged(entry) == 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
        assert event["usage_source"] == "provider"
        await eventually_at_rest(view)


async def test_a_stack_that_stops_takes_no_connection(folder: Path, provider: Provider) -> None:
    """While a stream drains, a new client is refused at once, so that a balancer tries another
    gateway: it does not wait in a queue that nobody serves."""
    provider.behaviour = drips(interval_ms=20)
    settings = config(provider, [{"usd": "1"}], gateway={"drain_ms": 30_000})
    async with (
        comptroller_up(folder, config=settings) as running,
        Wire(running.port) as wire,
        Wire(running.port) as idle,
    ):
        await idle.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await idle.until(b"ok\n")
        await wire.send(request_bytes(SECRET, json.dumps(STREAMED).encode()))
        await wire.until(b"drip ")
        running.terminate()
        await idle.until_closed()
        assert await _is_refused(running.port)


async def _is_refused(port: int) -> bool:
    """Whether a new client learns at once that nobody serves it."""
    try:
        async with asyncio.timeout(15), Wire(port) as late:
            await late.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            return await late.until_closed() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def test_a_stream_without_end_does_not_hold_up_the_stop(
    folder: Path, provider: Provider
) -> None:
    """After `drain_ms` what still runs is cut and booked: nothing stays reserved, exit code 0."""
    provider.behaviour = drips(interval_ms=50)
    settings = config(provider, [{"usd": "1"}], gateway={"drain_ms": 1_000})
    async with comptroller_up(folder, config=settings) as running, Wire(running.port) as wire:
        await wire.send(request_bytes(SECRET, json.dumps(STREAMED).encode()))
        await wire.until(b"drip ")
        running.terminate()
        assert await running.ended() == 0
    async with comptroller_up(folder, config=settings) as running:
        view = running.view(ORGANISATION)
        (entry,) = await view.endings(1)
        assert entry.kind == "llm_response"
        assert 0 < charged(entry) <= held(entry)
        await eventually_at_rest(view)


async def test_without_a_configuration_it_prints_what_to_try(folder: Path) -> None:
    """Base URL, a key with one dollar, a curl line that works in a shell; no other secret; the
    next start prints the same key, with what was spent of its dollar."""
    async with comptroller_up(folder) as running:
        output = running.output
        key = next(word for word in output.split() if word.startswith("ck-"))
        assert f"http://127.0.0.1:{running.port}/v1" in output
        assert {word.strip("'\"") for word in output.split() if "ck-" in word} == {key}
        answer = await run_curl_line(output)
        assert answer["choices"][0]["message"]["content"]
        assert answer["usage"]["cost"] > 0
        budget = await _get(running, key, "/v1/budget")
        limit = budget["scopes"][-1]["limits"][0]
        assert limit["limit_nusd"] == 10**9
        spent_nusd = limit["spent_nusd"]
        assert spent_nusd > 0
        assert (running.data_dir.stat().st_mode & 0o077) == 0
    async with comptroller_up(folder) as running:
        assert running.output.count(key) == 2 * output.count(key)
        budget = await _get(running, key, "/v1/budget")
        assert budget["scopes"][-1]["limits"][0]["spent_nusd"] == spent_nusd


async def _get(running: Running, key: str, path: str) -> Any:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        url = f"http://127.0.0.1:{running.port}{path}"
        answer = await client.get(url, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    return answer.json()


async def test_declared_secrets_are_never_printed(folder: Path, provider: Provider) -> None:
    """With a configuration neither keys nor the provider's are in the output or in any file that
    others can read."""
    async with comptroller_up(folder, config=config(provider, [{"usd": "1"}])) as running:
        await post(running.port, SECRET, DOCUMENT)
        await post(running.port, "ck-unknown-unknown", DOCUMENT)
        output = running.output
        assert "ci" in output
        for private in (SECRET, "sk-provider-secret-0123456789", "ck-unknown-unknown"):
            assert private not in output


@pytest.mark.parametrize("moment", ["the ledger runs", "the greeting is printed"])
async def test_a_stop_during_the_start_leaves_nothing_behind(folder: Path, moment: str) -> None:
    """SIGTERM before the stack is ready ends all of its processes, with exit code 0."""
    running = await started(folder)
    try:
        async with asyncio.timeout(15):
            while not (  # noqa: ASYNC110  # a file has no event
                (running.data_dir / "ledger.sock").exists()
                if moment == "the ledger runs"
                else "base URL" in running.output
            ):
                await asyncio.sleep(0.001)
        running.terminate()
        code = await running.ended()
        await all_gone(processes_of(folder))
        assert code == 0
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)


async def test_a_killed_stack_starts_again_on_its_data(folder: Path, provider: Provider) -> None:
    """kill -9 of the command itself takes its processes with it; started again on the same folder
    and port it serves, with all that was spent, on the one ledger that there is."""
    settings = config(provider, [{"usd": "1"}])
    port = free_port()
    first = await started(folder, config=settings, port=port)
    try:
        await first.until_ready()
        assert (await post(port, SECRET, DOCUMENT)).status == 200
        family = descendants(first.process.pid)
        first.process.kill()
        await first.ended()
        await all_gone(family)
        async with comptroller_up(folder, config=settings, port=port) as running:
            assert (await post(port, SECRET, DOCUMENT)).status == 200
            assert len(ledgers_of(folder)) == 1
            view = running.view(ORGANISATION)
            assert await view.spent() == 2 * (11 * INPUT_NUSD + 200 * OUTPUT_NUSD)
            await eventually_at_rest(view)
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)


async def test_a_killed_ledger_comes_back_with_all_that_it_had_answered(
    folder: Path, provider: Provider
) -> None:
    """kill -9 of the embedded ledger under load: it is back in seconds and the same workers go on;
    what was answered before is in its books, all calls end, and the budget is spent to its end and
    never beyond."""
    calls, worth_nusd = 60, 60 * (11 * INPUT_NUSD + 200 * OUTPUT_NUSD)
    provider.behaviour = pausing(0.02, echoes_cap(11))
    budget = {
        "limits": [{"usd": f"0.{worth_nusd:09d}"}],
        "on_exceed": "refuse",
    }
    async with comptroller_up(folder, config=config(provider, budget), workers=2) as running:
        workers, ledger, view = running.workers(), running.ledger(), running.view(ORGANISATION)
        before = await burst(running.port, SECRET, [DOCUMENT] * 20)
        served = [answer.status for answer in before].count(200)
        assert 0 < served <= 20
        under_way = asyncio.create_task(burst(running.port, SECRET, [DOCUMENT, STREAMED] * 20))
        await provider.arrivals(len(provider.received) + 3)
        os.kill(ledger, signal.SIGKILL)
        killed_s = time.monotonic()
        answers = await under_way
        assert {answer.status for answer in answers} <= {200, 402, 429, 503}
        await running.until_ready()
        assert time.monotonic() - killed_s < BACK_S_MAX
        assert running.ledger() != ledger
        assert running.workers() == workers
        served += [answer.status for answer in answers].count(200)
        while (answer := await post(running.port, SECRET, DOCUMENT)).status == 200:
            served += 1
        assert answer.status == 402
        assert served <= len(provider.received) <= calls
        booked = [each for each in await view.outbox() if each.kind == "llm_response"]
        assert len([each for each in booked if charged(each)]) >= served
        assert 0 < await view.spent() <= worth_nusd
        await eventually_at_rest(view)


def pausing(pause_s: float, then: Behaviour) -> Behaviour:
    """Answers after a while, so that calls are under way."""

    async def behave(received: Received, reply: Reply) -> None:
        await asyncio.sleep(pause_s)
        await then(received, reply)

    return behave
