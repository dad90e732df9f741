"""A provider that bills many times its bound, at real workers over a real ledger: what it can
overspend is bounded by the probation, and what was learned outlives every process."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from budgets.learned import HELD_TIMES
from gateway.options import GatewayOptions
from tests.budgets.harness import Entry
from tests.gateway.behaviours import plain_body, usage_text
from tests.gateway.ledger_view import LedgerView, charged, held
from tests.gateway.processes import Running, comptroller_up, fake_config
from tests.gateway.provider import Behaviour, Provider, Received, Reply
from tests.gateway.stack import GREETING
from tests.gateway.wire import burst, post

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
TIMES = 11
CALLS = 200
CAP = 200
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": CAP}
PROBATION_CONCURRENCY = GatewayOptions().probation_concurrency


class Biller:
    """Takes its time, and says that it used so many tokens; knows how many it served at once."""

    def __init__(self, prompt: int, completion: int) -> None:
        self.usage = prompt, completion
        self.at_once = self.at_once_max = 0

    async def behave(self, _received: Received, reply: Reply) -> None:
        """As a Behaviour."""
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await asyncio.sleep(0.1)  # so that all that may run at once does
        self.at_once -= 1
        reply.whole(200, plain_body(usage_text(*self.usage)))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(Biller(11, 7).behave)
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider, **more: object) -> dict[str, object]:
    """One key below one large budget; who is held waits for long."""
    key = {"name": "ci", "scope": f"{ORGANISATION}/research", "secret": SECRET}
    budgets = {f"{ORGANISATION}/research": [{"usd": "1000"}]}
    return fake_config(provider, budgets=budgets, keys=[key], **more)


def patient(**more: object) -> dict[str, object]:
    """Options of the gateway."""
    return {"gateway": {"wait_ms": 60_000, **more}}


async def bound_of(running: Running, view: LedgerView) -> tuple[int, int]:
    """(input tokens, nano-dollars) that a request is reserved with: of one that was answered."""
    assert (await post(running.port, SECRET, DOCUMENT)).status == 200
    (request, ending) = (await view.requests())[-1], (await endings(view))[-1]
    assert ending.id == request.id
    # $1 and $2 per million tokens, see fake_config
    return held(ending) // 1_000 - 2 * CAP, held(ending)


async def endings(view: LedgerView) -> list[Entry]:
    """All endings so far."""
    return [each for each in await view.outbox() if each.kind == "llm_response"]


def dear(input_tokens: int) -> Biller:
    """Bills TIMES what was bounded, in both directions."""
    return Biller(TIMES * input_tokens, TIMES * CAP)


async def bound_without(provider: Provider, folder: Path) -> tuple[int, int]:
    """The bound of DOCUMENT, from a stack of its own that learns nothing."""
    settings = config(provider, gateway={"learn_bounds": False})
    async with comptroller_up(folder, config=settings) as running:
        view = running.view(ORGANISATION)
        try:
            found = await bound_of(running, view)
            assert await view.route_events() == []
            return found
        finally:
            await view.close()


async def test_what_a_provider_can_overspend_is_bounded_by_the_probation(
    folder: Path, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """200 calls at once, two workers, an upstream that bills eleven times the bound. At most
    PROBATION_CONCURRENCY requests cost more than was set aside, so the overspend is at most
    PROBATION_CONCURRENCY * (11 - 1) * bound; whatever is granted after the first raise is covered.
    Killed workers and a stopped stack change nothing about it."""
    input_tokens, bound_nusd = await bound_without(provider, tmp_path_factory.mktemp("plain"))
    biller = dear(input_tokens)
    provider.behaviour = biller.behave
    settings = config(provider, **patient())
    async with comptroller_up(folder, config=settings, workers=2) as running:
        answers = await burst(running.port, SECRET, [DOCUMENT] * CALLS)
        assert {answer.status for answer in answers} == {200}
        view = running.view(ORGANISATION)
        over = [charged(each) - held(each) for each in await endings(view)]
        overspent = sum(each for each in over if each > 0)
        beyond = sum(each > 0 for each in over)
        assert 1 <= beyond <= PROBATION_CONCURRENCY
        assert 0 < overspent <= PROBATION_CONCURRENCY * (TIMES - 1) * bound_nusd
        assert all(each in (0, (TIMES - 1) * bound_nusd) for each in over)
        raises = [e for e in await view.route_events() if e["action"] == "factor_raised"]
        assert len(raises) == 1
        assert raises[0]["input_thousandths"] == raises[0]["output_thousandths"] == 1000 * TIMES
        granted_later = {e.id for e in await view.requests() if e.seq > raises[0]["seq"]}
        assert len(granted_later) == CALLS - beyond
        for each in await endings(view):
            assert each.id not in granted_later or charged(each) <= held(each)
        log = "".join(each.read_text() for each in (folder / "data" / "logs").glob("gateway*"))
        assert "bills more than its bound" in log
        assert "token_count_framing" in log

        before = running.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await running.until_replaced(before, 2)
        await running.until_ready()
        assert (await bound_of(running, view))[1] == TIMES * bound_nusd
        await view.close()
    async with comptroller_up(folder, config=settings, workers=2) as running:
        view = running.view(ORGANISATION)
        assert (await bound_of(running, view))[1] == TIMES * bound_nusd
        await view.until_at_rest()
        await view.close()


async def test_a_good_route_leaves_probation_and_runs_at_full_concurrency(
    folder: Path, provider: Provider
) -> None:
    """Before, PROBATION_CONCURRENCY at once, whatever comes; afterwards any number."""
    first = Biller(11, 7)
    provider.behaviour = first.behave
    async with comptroller_up(folder, config=config(provider, **patient()), workers=2) as running:
        view = running.view(ORGANISATION)
        answers = await burst(running.port, SECRET, [DOCUMENT] * PROBATION_CONCURRENCY * HELD_TIMES)
        assert {answer.status for answer in answers} == {200}
        actions = [each["action"] for each in await view.route_events()]
        assert actions == ["probation_began", "probation_ended"]
        ended = next(e for e in await view.route_events() if e["action"] == "probation_ended")
        assert most_at_once(await view.outbox(), ended["seq"]) <= PROBATION_CONCURRENCY
        second = Biller(11, 7)
        provider.behaviour = second.behave
        await burst(running.port, SECRET, [DOCUMENT] * 60)
        assert second.at_once_max > 2 * PROBATION_CONCURRENCY
        await view.until_at_rest()
        await view.close()


def most_at_once(entries: list[Entry], before_seq: int) -> int:
    """Reservations that were open at once, up to an event."""
    open_, most = 0, 0
    for entry in entries:
        if entry.seq < before_seq:
            open_ += (entry.kind == "llm_request") - (entry.kind == "llm_response")
            most = max(most, open_)
    return most


async def test_who_is_held_by_probation_is_told_that_it_ends(
    folder: Path, provider: Provider
) -> None:
    """429 with Retry-After and the reason in words; who comes when there is a place is served."""
    gate = asyncio.Event()
    provider.behaviour = waits(gate)
    settings = config(provider, gateway={"wait_ms": 50})
    async with comptroller_up(folder, config=settings) as running:
        calls = [
            asyncio.create_task(post(running.port, SECRET, DOCUMENT))
            for _ in range(PROBATION_CONCURRENCY)
        ]
        await provider.arrivals(PROBATION_CONCURRENCY)
        refused = await post(running.port, SECRET, DOCUMENT)
        assert refused.status == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        for word in (b"probation", b"ends by itself", b"openai:upstream-model"):
            assert word in refused.body
        gate.set()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
        assert (await post(running.port, SECRET, DOCUMENT)).status == 200


def waits(gate: asyncio.Event) -> Behaviour:
    """Answers when the gate opens."""

    async def behave(_received: Received, reply: Reply) -> None:
        await gate.wait()
        reply.whole(200, plain_body(usage_text(11, 7)))

    return behave
