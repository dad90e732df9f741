"""The whole product as people start it, whose recorder is killed in mid-load: the records agree
with the ledger to the nano-dollar, verify, and hold nobody's secret.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.budgets.harness import head_of
from tests.comptroller.standing import files_with
from tests.gateway.behaviours import echoes_cap
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import (
    Running,
    all_gone,
    descendants,
    started,
)
from tests.gateway.provider import Provider, Received, Reply
from tests.gateway.wire import burst
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import until

PROVIDER_KEY = "sk-proj-of-the-operator-0123456789abcdef"
ORGANISATION = "demo"
CALLS = 200
TELLS_401, TELLS_400, TELLS_500 = 71, 72, 73
_COUNTS = """
SELECT count(), uniqExact(epoch, seq), max(seq), countIf(event_type = 'llm_request'),
       countIf(event_type IN ('llm_response', 'reservation_expired')), sum(charged_nusd)
FROM comptroller.events WHERE org = {org:String} AND part = 0
"""
_SPEND = "SELECT sum(charged_nusd) FROM comptroller.spend_daily WHERE org = {org:String}"
_TELLING = (
    "SELECT countIf(position(formatRow('TSV', *), {text:String}) > 0), count() FROM comptroller."
)


async def tells(received: Received, reply: Reply) -> None:
    """A provider that repeats the key that it was sent, in refusals and in an answer."""
    said = json.dumps({"error": {"message": f"bad key {received.headers['authorization']}"}})
    if received.cap == TELLS_401:
        reply.whole(401, said.encode())
    elif received.cap == TELLS_400:
        reply.whole(400, said.encode())
    elif received.cap == TELLS_500:
        reply.whole(500, said.encode())
    else:
        await echoes_cap(11)(received, reply)


def documents() -> list[Any]:
    """Calls of every kind, as many as there are to be."""
    hello = [{"role": "user", "content": "hello"}]
    kinds: list[Any] = [
        {"model": "demo/small", "messages": hello},
        {"model": "demo/small", "messages": hello, "stream": True},
        {"model": "plain", "messages": hello, "max_tokens": 200},
        {"model": "plain", "messages": hello, "max_tokens": 200, "stream": True},
        {"model": "plain", "messages": hello, "max_tokens": TELLS_401},
    ]
    return [kinds[n % len(kinds)] for n in range(CALLS)]


@asynccontextmanager
async def comptroller_up(folder: Path, provider: Provider) -> AsyncIterator[Running]:
    """`comptroller up` with the provider's key in its environment, and no key of its own declared:
    it makes the first one."""
    price = {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
    plain = {
        "model_name": "plain",
        "litellm_params": {
            "model": "openai/upstream-model",
            "api_base": f"http://127.0.0.1:{provider.port}/v1",
            "api_key": "os.environ/OPENAI_API_KEY",
        },
        "model_info": {
            **price,
            "max_input_tokens": 128_000,
            "max_output_tokens": 16_384,
            "supports_reasoning": False,
        },
    }
    demo = {"model_name": "demo/small", "litellm_params": {"model": "demo/small"}}
    running = await started(
        folder,
        config={"model_list": [demo, plain]},
        record=True,
        admin=True,
        environment={"OPENAI_API_KEY": PROVIDER_KEY},
    )
    try:
        await running.until_ready()
        await running.until_greeted()
        yield running
    finally:
        if running.process.returncode is None:
            await running.kill_all()


async def rested(view: LedgerView) -> tuple[int, int]:
    """Waits until nothing is reserved: what was spent, and the ledger's seq."""

    async def nothing_reserved() -> bool:
        return not any(reserved for _, reserved, _ in (await view.counters()).values())

    await until(nothing_reserved)
    return await view.spent(), head_of(await view._hash("ledger")).seq


@pytest.mark.timeout(180)
async def test_a_recorder_that_is_killed_under_load(folder: Path) -> None:
    """200 calls, kill -9 of the recorder in the middle: it is started again, and after SIGTERM
    everything is recorded once, sums and counters agree, the chain verifies, and neither the
    caller's key nor the provider's is in any file or row."""
    async with fake_provider() as provider, comptroller_up(folder, provider) as running:
        address = (running.data_dir / "records.url").read_text()
        await _loaded(running)

        async def is_back() -> bool:
            return (running.data_dir / "records.url").read_text() not in ("", address)

        await until(is_back)
        spent_nusd, seq = await _stopped(running)
    await _judge(running.data_dir, spent_nusd, seq)


@pytest.mark.timeout(180)
async def test_a_stop_while_the_recorder_is_started_again(folder: Path) -> None:
    """SIGTERM after a kill of the recorder and before it is back: what it could not record is
    recorded by the next start, once."""
    async with fake_provider() as provider:
        async with comptroller_up(folder, provider) as running:
            await _loaded(running)
            spent_nusd, _ = await _stopped(running)
        async with comptroller_up(folder, provider) as running:
            again_nusd, seq = await _stopped(running)  # a start makes events, too
    assert again_nusd == spent_nusd
    await _judge(running.data_dir, spent_nusd, seq)


@pytest.mark.parametrize("cap", [TELLS_400, TELLS_500])
async def test_a_provider_that_repeats_its_key_in_a_refusal(folder: Path, cap: int) -> None:
    """The operator's key is in no answer to a caller and in no file, whatever refusal of the
    provider repeats it."""
    async with fake_provider() as provider, comptroller_up(folder, provider) as running:
        secret = (running.data_dir / "first-key").read_text(encoding="ascii")
        hello = [{"role": "user", "content": "hello"}]
        asked = {"model": "plain", "messages": hello, "max_tokens": cap}
        (answer,) = await burst(running.port, secret, [asked])
        await _stopped(running)
    assert PROVIDER_KEY.encode() not in answer.body, "the caller was told"
    _judge_files(running.data_dir, secret)


@asynccontextmanager
async def fake_provider() -> AsyncIterator[Provider]:
    """Started and stopped."""
    provider = Provider(tells)
    await provider.start()
    yield provider
    await provider.stop()


async def _loaded(running: Running) -> None:
    """All calls, with a kill of the recorder when half of them are under way."""
    secret = (running.data_dir / "first-key").read_text(encoding="ascii")
    asked = documents()
    for first in range(0, CALLS, 40):
        calls = asyncio.create_task(burst(running.port, secret, asked[first : first + 40]))
        if first == 80:
            os.kill(running.recorder(), signal.SIGKILL)
        statuses = {answer.status for answer in await calls}
        assert 200 in statuses
        assert not statuses & {402, 429, 503}


async def _stopped(running: Running) -> tuple[int, int]:
    """SIGTERM when nothing is reserved any more; what was spent, and the ledger's seq."""
    view = running.view(ORGANISATION)
    totals = await rested(view)
    await view.close()
    family = descendants(running.process.pid)
    running.terminate()
    assert await running.ended() == 0, running.output
    await all_gone(family)
    return totals


async def _command(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "comptroller"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def _judge(data_dir: Path, spent_nusd: int, seq: int) -> None:
    """By verification, by SQL, and by looking for secrets in files and in rows (which are
    compressed on the disk)."""
    verdict = json.loads(await _command("verify", "--json", "--data-dir", str(data_dir)))
    assert verdict["ok"]
    assert verdict["signed"] == verdict["end"]
    secret = (data_dir / "first-key").read_text(encoding="ascii")
    _judge_files(data_dir, secret)
    server = RecordsServer(data_dir)
    await asyncio.to_thread(server.start)
    store = server.store()
    try:
        who = {"org": ORGANISATION}
        counts = json.loads(await store.select(_COUNTS, who))
        count = verdict["events"]  # a restart begins an epoch, above the seq of the one before
        assert counts == [count, count, seq, CALLS, CALLS, spent_nusd]
        assert json.loads(await store.select(_SPEND, who)) == [spent_nusd]
        for table in ("events", "bodies"):
            for text in (PROVIDER_KEY, secret):
                found = json.loads(await store.select(_TELLING + table, {"text": text}))
                assert found[0] == 0, table
                assert found[1] >= CALLS
    finally:
        await store.close()
        server.kill()


def _judge_files(data_dir: Path, secret: str) -> None:
    assert not files_with(data_dir, PROVIDER_KEY), "the provider's key"
    assert files_with(data_dir, secret) == [Path("first-key")], "the caller's key"
