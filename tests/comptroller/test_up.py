"""`comptroller up` as a supervisor: whatever is killed comes back, and nothing is lost; whatever
cannot be is said at once."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comptroller.settings import load_settings
from comptroller.up import _Stack
from tests.budgets.harness import head_of
from tests.comptroller.commands.commanding import comptroller
from tests.comptroller.standing import admin_get, loaded, recorded, tried, until
from tests.gateway.behaviours import drips, echoes_cap
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import (
    Running,
    all_gone,
    comptroller_up,
    descendants,
    fake_config,
    processes_of,
    started,
)
from tests.gateway.provider import Provider
from tests.gateway.stack import GREETING
from tests.gateway.wire import Wire, post, request_bytes

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 200}
CHARGED_NUSD = 11 * INPUT_NUSD + 200 * OUTPUT_NUSD
BACK_S_MAX = 15
_EVENTS = """
SELECT count(), uniqExact(epoch, seq), max(seq), countIf(event_type = 'llm_request'),
       countIf(event_type IN ('llm_response', 'reservation_expired')),
       countIf(event_type = 'reservation_expired'), sum(charged_nusd)
FROM comptroller.events WHERE org = 'acme' AND part = 0
"""
_GAPLESS = """
SELECT sum(last - first + 1) FROM
(SELECT min(seq) AS first, max(seq) AS last FROM comptroller.events
 WHERE org = 'acme' AND part = 0 GROUP BY epoch)
"""
_TRUE = """
SELECT countIf(charged_nusd = %d), countIf(charged_nusd NOT IN (0, %d))
FROM comptroller.events WHERE org = 'acme' AND event_type = 'llm_response'
"""


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(echoes_cap(11))
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider, **more: object) -> dict[str, object]:
    """One key with a thousand dollars, leases that a test can wait for."""
    key = {"name": "ci", "scope": f"{ORGANISATION}/research", "secret": SECRET}
    budgets = {f"{ORGANISATION}/research": [{"usd": "1000"}]}
    return fake_config(provider, keys=[key], budgets=budgets, ledger={"lease_ms": 1500}, **more)


async def seq_of(view: LedgerView) -> int:
    """The seq of the ledger's last event."""
    return head_of(await view._hash("ledger")).seq


@pytest.mark.timeout(180)
async def test_whatever_is_killed_under_load_comes_back(folder: Path, provider: Provider) -> None:
    """kill -9 of the workers, the recorder, the admin API and the ledger, in turn and under load:
    each is back within seconds and none of the others is started anew. Afterwards the records are
    gapless in each epoch and verify, what they sum up to is what the ledger counts, every call has
    ended once, and what was settled is what the provider has served."""
    async with comptroller_up(
        folder, config=config(provider), workers=2, record=True, admin=True
    ) as running:
        view = running.view(ORGANISATION)
        async with loaded(running, SECRET, DOCUMENT, callers=6) as statuses:
            for part in ("comptroller.work", "valkey-server", "comptroller.record", "administer"):
                await until(lambda: _is_served(running))
                assert await _killed(running, view, part) < BACK_S_MAX, part
            await until(lambda: _is_served(running))
        assert set(statuses) <= {200, 503, 0}, statuses
        await until(lambda: _is_at_rest(view))
        spent_nusd, seq = await view.spent(), await seq_of(view)
        await view.close()
        await until(lambda: _is_recorded(running, seq))
        count, unique, last, asked, ended, expired, charged_nusd = await recorded(running, _EVENTS)
        assert last == seq
        assert [count] == [unique] == await recorded(running, _GAPLESS)
        assert charged_nusd == spent_nusd
        assert asked == ended
        settled, otherwise = await recorded(running, _TRUE % (CHARGED_NUSD, CHARGED_NUSD))
        assert otherwise == 0
        assert statuses[200] <= settled <= len(provider.received) <= settled + expired
        verdict = await comptroller("verify", "--json", "--data-dir", str(running.data_dir))
        assert (verdict.code, verdict.document["events"]) == (0, count), verdict.err


async def _killed(running: Running, view: LedgerView, part: str) -> float:
    """Kills it; the seconds until it is back and does its work."""
    everything = set(descendants(running.process.pid))
    gone = running.parts(part)
    assert gone, part
    for pid in gone:
        os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        now = running.parts(part)
        return len(now - gone) == len(gone) and await _does_its_work(running, view, part, seq)

    seq = await seq_of(view) if part == "comptroller.record" else 0
    took_s = await until(is_back)
    assert everything - gone <= set(descendants(running.process.pid)), "another was started anew"
    return took_s


async def _does_its_work(running: Running, view: LedgerView, part: str, seq: int) -> bool:
    if part == "comptroller.record":
        return await _is_recorded(running, seq)
    if part == "administer":
        return (await admin_get(running, "/readyz")).status_code == 200
    return await _is_served(running)


async def _is_served(running: Running) -> bool:
    answer = await tried(running.port, SECRET, DOCUMENT)
    return answer is not None and answer.status == 200


async def _is_recorded(running: Running, seq: int) -> bool:
    _, _, last, *_ = await recorded(running, _EVENTS)
    return bool(last >= seq)


async def _is_at_rest(view: LedgerView) -> bool:
    counters = await view.counters()
    return bool(counters) and not any(reserved for _, reserved, _ in counters.values())


async def test_a_killed_supervisor_takes_everything_along(folder: Path, provider: Provider) -> None:
    """kill -9 of the command itself, with a stream under way: all of its processes end, and the
    next start has what was spent. The address that the dead admin API has left is not one to send
    a token to."""
    provider.behaviour = drips(interval_ms=20)
    settings = config(provider, gateway={"drain_ms": 500})
    first = await started(folder, config=settings, record=True, admin=True)
    try:
        await first.until_ready()
        await first.until_greeted()
        family = descendants(first.process.pid)
        async with Wire(first.port) as wire:
            streamed = json.dumps({**DOCUMENT, "stream": True})
            await wire.send(request_bytes(SECRET, streamed.encode()))
            await wire.until(b"drip ")
            first.process.kill()
            await first.ended()
            await all_gone(family, within_s=BACK_S_MAX)  # the recorder looks for the ledger
        assert (first.data_dir / "admin.url").exists()
        asked = await comptroller("budget", "list", "--data-dir", str(first.data_dir))
        assert (asked.code, "no stack" in asked.err) == (1, True), asked.err
        provider.behaviour = echoes_cap(11)
        async with comptroller_up(folder, config=settings, record=True) as second:
            assert not (first.data_dir / "admin.url").exists()
            view = second.view(ORGANISATION)
            await until(lambda: _is_at_rest(view))
            spent_nusd = await view.spent()
            assert spent_nusd > 0
            assert (await post(second.port, SECRET, DOCUMENT)).status == 200
            assert await view.spent() == spent_nusd + CHARGED_NUSD
            await view.close()
    finally:
        _kill_all(folder)


def test_a_worker_has_the_time_that_it_may_drain() -> None:
    """A stop kills no worker before `drain_ms` is over, however long that is."""
    settings = load_settings(None, {"COMPTROLLER_DRAIN_MS": "3600000"})
    stack = _Stack(settings, None, {}, Path("/nowhere"))
    assert stack._kept("gateway-1", "comptroller.work")._stop_s_max > 3600


async def test_a_disk_that_is_full_does_not_stop_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs that cannot be shortened are told of, and tried again."""
    tries = asyncio.Semaphore(0)

    def shorten(folder: Path) -> None:
        loop.call_soon_threadsafe(tries.release)
        raise OSError(28, "No space left on device")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("comptroller.up.shorten", shorten)
    monkeypatch.setattr("comptroller.up.SHORTEN_EVERY_S", 0.0)
    keeping = asyncio.create_task(
        _Stack(load_settings(None, {}), None, {}, tmp_path)._keep_logs_short()
    )
    for _ in range(3):
        await asyncio.wait_for(tries.acquire(), 30)
    assert not keeping.done()
    assert "No space left" in caplog.text
    keeping.cancel()


def _kill_all(folder: Path) -> None:
    for pid in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
