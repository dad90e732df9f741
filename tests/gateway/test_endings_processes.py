"""Settlements whose ledger was away, in real processes that are stopped, killed and started again:
what is in the books in the end is what the provider served, each call once."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from budgets.endingfile import files_in
from budgets.endingrecords import read_records
from tests.budgets.harness import Entry
from tests.gateway.behaviours import plain_body, usage_text
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import LedgerView, charged
from tests.gateway.processes import Running, comptroller_up, fake_config
from tests.gateway.provider import Provider, Received, Reply
from tests.gateway.stack import GREETING
from tests.gateway.wire import Wire, post, request_bytes
from tests.pausing import pause

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
CALLS = 25
PROMPT = 11
LEASE_MS = 1_500
ON_DISK_S_MAX = 15
TAKEN_S_MAX = 30


class Gated:
    """A provider whose answers wait at a gate; the n-th call uses n tokens, so that each has a cost
    of its own."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.served_nusd: list[int] = []

    async def __call__(self, _received: Received, reply: Reply) -> None:
        """One call."""
        await self.gate.wait()
        tokens = len(self.served_nusd) + 1
        self.served_nusd.append(PROMPT * INPUT_NUSD + tokens * OUTPUT_NUSD)
        reply.whole(200, plain_body(usage_text(PROMPT, tokens)))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(Gated())
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
def gated(provider: Provider) -> Gated:
    """What it does."""
    assert isinstance(provider.behaviour, Gated)
    return provider.behaviour


def config(provider: Provider, lease_ms: int, **gateway: object) -> dict[str, object]:
    """One key below a budget that is large enough, and any number at once of a new route."""
    gateway = {"probation_concurrency": 0, **gateway}
    key = {"name": "ci", "scope": f"{ORGANISATION}/research", "secret": SECRET}
    budgets = {ORGANISATION: [{"usd": "5"}, {"tokens": 10**7}, {"concurrency": 500}]}
    return fake_config(
        provider, keys=[key], budgets=budgets, ledger={"lease_ms": lease_ms}, gateway=gateway
    )


@contextlib.asynccontextmanager
async def calls_under_way(running: Running, provider: Provider) -> AsyncIterator[None]:
    """CALLS requests have reached the provider; how their clients fare is of no interest."""
    document = {"model": "plain", "messages": GREETING, "max_tokens": 200}
    before = len(provider.received)

    async def call() -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with Wire(running.port) as wire:
                await wire.send(request_bytes(SECRET, json.dumps(document).encode()))
                await wire.answer()

    calls = [asyncio.create_task(call()) for _ in range(CALLS)]
    await provider.arrivals(before + CALLS)
    try:
        yield
    finally:
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def on_disk(running: Running) -> int:
    """How many endings wait there, whoever has them."""
    found = [read_records(each.read_bytes()) for each in files_in(running.data_dir / "endings")]
    return sum(len(each.endings) for each in found)


async def until(holds: Callable[[], bool], within_s: float) -> None:
    """Nothing tells of what other processes do to a disk."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.02)


def kill_workers(running: Running) -> set[int]:
    """SIGKILL to each; who they were."""
    workers = running.workers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return workers


def files_of(pid: int) -> list[Path]:
    """The files of endings that this process has open."""
    opened = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [each for each in opened if each.suffix == ".endings"]


async def booked(view: LedgerView) -> list[int]:
    """What each request was charged in the end, in nano-dollars: its ending, and what corrected it.
    No request has two of a kind."""
    entries = [
        each
        for each in await view.outbox()
        if each.kind in ("llm_response", "reservation_expired", "correction")
    ]
    kinds = Counter((each.kind, each.id) for each in entries)
    assert set(kinds.values()) == {1}, kinds
    charges: Counter[str] = Counter()
    for each in entries:
        charges[each.id] += charged(each)
    return sorted(charges.values())


async def expired(view: LedgerView) -> list[Entry]:
    """Leases that were charged whole, for the time being or for good."""
    return [each for each in await view.outbox() if each.kind == "reservation_expired"]


async def all_taken(running: Running, view: LedgerView, gated: Gated) -> None:
    """The folder empties itself, the books are at rest, and they say what the provider served."""
    await until(lambda: not files_in(running.data_dir / "endings"), TAKEN_S_MAX)
    await view.until_at_rest()
    assert await booked(view) == sorted(gated.served_nusd)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("lease_ms", [30_000, LEASE_MS])
async def test_workers_killed_while_settlements_wait_lose_none(
    folder: Path, provider: Provider, gated: Gated, workers: int, lease_ms: int
) -> None:
    """The ledger is paused while answers come, and all workers are killed -9 before it goes on:
    those that are started after them book every truth. Where the leases have expired meanwhile,
    the truth replaces the charge."""
    settings = config(provider, lease_ms)
    async with comptroller_up(folder, config=settings, workers=workers) as running:
        view = running.view(ORGANISATION)
        async with calls_under_way(running, provider):
            ledger = running.ledger()
            pause(ledger)
            gated.gate.set()
            await until(lambda: on_disk(running) == CALLS, ON_DISK_S_MAX)
            gone = kill_workers(running)
            await running.until_replaced(gone, workers)
            if lease_ms == LEASE_MS:
                await asyncio.sleep(2 * LEASE_MS / 1000)
            os.kill(ledger, signal.SIGCONT)
            await all_taken(running, view, gated)
        if lease_ms != LEASE_MS:
            assert await expired(view) == []
        await view.close()


async def test_killed_again_and_again(folder: Path, provider: Provider, gated: Gated) -> None:
    """Two rounds of calls; the ledger is paused, in the second it is killed besides. The workers
    are killed while they hold what others have left, and again while they hand it over."""
    settings = config(provider, LEASE_MS)
    async with comptroller_up(folder, config=settings, workers=2) as running:
        view = running.view(ORGANISATION)
        for round_ in range(2):
            gated.gate.clear()
            async with calls_under_way(running, provider):
                ledger = running.ledger()
                pause(ledger)
                gated.gate.set()
                await until(lambda: on_disk(running) == CALLS, ON_DISK_S_MAX)
                for _ in range(2):
                    gone = kill_workers(running)
                    await running.until_replaced(gone, 2)
                os.kill(ledger, signal.SIGKILL if round_ == 1 else signal.SIGCONT)
                await until(lambda: on_disk(running) < CALLS, TAKEN_S_MAX)
                await running.until_replaced(kill_workers(running), 2)
                await all_taken(running, view, gated)
            await running.until_ready()
        await view.close()


async def test_a_paused_worker_keeps_what_is_its_own(
    folder: Path, provider: Provider, gated: Gated
) -> None:
    """A worker that is stopped is not dead: nobody takes up its file while it may go on. Once it
    is killed, somebody does."""
    async with comptroller_up(folder, config=config(provider, LEASE_MS), workers=2) as running:
        view = running.view(ORGANISATION)
        async with calls_under_way(running, provider):
            ledger, workers = running.ledger(), running.workers()
            pause(ledger)
            gated.gate.set()
            await until(lambda: on_disk(running) == CALLS, ON_DISK_S_MAX)
            for pid in workers:
                pause(pid)
            os.kill(ledger, signal.SIGCONT)
            paused = next(pid for pid in workers if files_of(pid))
            (its_own,) = files_of(paused)
            for pid in workers - {paused}:
                os.kill(pid, signal.SIGKILL)
            await running.until_replaced(workers, 1)
            left_in = running.data_dir / "endings"
            await until(lambda: files_in(left_in) == [its_own], TAKEN_S_MAX)
            await asyncio.sleep(3 * LEASE_MS / 1000)
            assert files_in(left_in) == [its_own]
            os.kill(paused, signal.SIGKILL)
            await all_taken(running, view, gated)
        await view.close()


async def test_a_stop_while_the_ledger_is_away_leaves_them_to_the_next_start(
    folder: Path, provider: Provider, gated: Gated
) -> None:
    """SIGTERM to the stack: its workers stop within `drain_ms`, say that settlements wait on the
    disk, and the next start books them."""
    settings = config(provider, 60_000, drain_ms=500)
    async with comptroller_up(folder, config=settings) as running:
        async with calls_under_way(running, provider):
            ledger = running.ledger()
            pause(ledger)
            gated.gate.set()
            await until(lambda: on_disk(running) == CALLS, ON_DISK_S_MAX)
            worker = running.workers()
            running.terminate()
            await until(lambda: not running.workers() & worker, TAKEN_S_MAX)
        os.kill(ledger, signal.SIGCONT)
        assert await running.ended() == 0
        assert on_disk(running) == CALLS
        log = (running.data_dir / "logs" / "gateway-1.log").read_text(encoding="utf-8")
        assert f"{CALLS} settlements wait on the disk" in log
        assert "charged whole" not in log
    async with comptroller_up(folder, config=settings) as running:
        view = running.view(ORGANISATION)
        await all_taken(running, view, gated)
        assert await expired(view) == []
        await view.close()


async def test_a_damaged_left_indoes_not_keep_a_worker_from_serving(
    folder: Path, provider: Provider, gated: Gated
) -> None:
    """A file in its place: said in the log, once; requests are served."""
    gated.gate.set()
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "endings").write_text("in the way")
    async with comptroller_up(folder, config=config(provider, LEASE_MS)) as running:
        answer = await post(
            running.port, SECRET, {"model": "plain", "messages": GREETING, "max_tokens": 9}
        )
        assert answer.status == 200
        log = (running.data_dir / "logs" / "gateway-1.log").read_text(encoding="utf-8")
        assert log.count("cannot be taken up") == 1
