"""`comptroller sql`, `tail` and `verify` on a stack as people start it, with real processes."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from comptroller.exits import FAILED, NOT_VERIFIED
from tests.comptroller.commands.commanding import COMPTROLLER, Ran
from tests.comptroller.commands.forked import forked
from tests.comptroller.standing import recorded, until
from tests.gateway.processes import Running, comptroller_up

ORGANISATION = "demo"
CALLS = 3
COST_NUSD = 36_200  # what the demo model says to "hello"


async def command(data_dir: Path, *arguments: str) -> Ran:
    """`comptroller ...` on a data dir."""
    return await forked(*arguments, "--data-dir", str(data_dir))


async def ask(running: Running, *, stream: bool = False) -> None:
    """One call with the first key."""
    secret = (running.data_dir / "first-key").read_text(encoding="ascii")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{running.port}", trust_env=False, timeout=20
    ) as client:
        answer = await client.post(
            "/v1/chat/completions",
            headers={"Authorization": f"Bearer {secret}"},
            json={
                "model": "demo/small",
                "messages": [{"role": "user", "content": "hello"}],
                "stream": stream,
            },
        )
        assert answer.status_code == 200, answer.text


async def calls_in(running: Running) -> int:
    """How many it has recorded."""
    (count,) = await recorded(running, "SELECT count() FROM requests")
    return int(count)


async def until_recorded(running: Running, count: int) -> None:
    """Nothing tells but asking."""

    async def is_so() -> bool:
        return await calls_in(running) == count

    await until(is_so)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Running]:
    """One for all who ask it."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        async with comptroller_up(Path(folder), record=True) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(stack: Running) -> Running:
    """It has served a few calls and recorded them."""
    before = await calls_in(stack)
    for n in range(CALLS):
        await ask(stack, stream=n == 1)
    await until_recorded(stack, before + CALLS)
    return stack


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_called_can_be_asked_in_sql(running: Running) -> None:
    """Requests, their exact cost and the streamed answer as one object; in the format that is
    asked for; nothing can be written, and an organisation's user sees its own rows only."""
    data_dir, calls = running.data_dir, await calls_in(running)
    ran = await command(
        data_dir, "sql", "SELECT charged_nusd, payload_state FROM requests", "--json"
    )
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert rows == [{"charged_nusd": COST_NUSD, "payload_state": "full"}] * calls
    bodies = await command(
        data_dir, "sql", "SELECT body FROM bodies WHERE kind = 'response'", "--json"
    )
    answers = [json.loads(json.loads(line)["body"]) for line in bodies.out.splitlines()]
    texts = {each["choices"][0]["message"]["content"] for each in answers}
    assert len(answers) == calls
    assert len(texts) == 1
    refused = await command(data_dir, "sql", "DROP TABLE events")
    assert refused.code == FAILED
    assert "comptroller:" in refused.err
    others = await command(
        data_dir, "sql", "SELECT count() FROM events", "--organisation", "other", "--format", "TSV"
    )
    assert (others.code, others.out) == (0, "0\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_tail_shows_what_comes(running: Running) -> None:
    """The last events at once, and each new one as it is recorded."""
    ran = await command(running.data_dir, "tail", "--no-follow", "-n", "2")
    assert ran.code == 0, ran.err
    assert [line.split()[2] for line in ran.out.splitlines()] == ["llm_request", "llm_response"]
    process = await asyncio.create_subprocess_exec(
        COMPTROLLER,
        *("tail", "-n", "1", "--json", "--data-dir", str(running.data_dir)),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        assert process.stdout is not None
        seen = [json.loads(await asyncio.wait_for(process.stdout.readline(), 30))]
        await ask(running)
        lines = [await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(2)]
        seen += map(json.loads, lines)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 30)
    assert [each["event_type"] for each in seen] == ["llm_response", "llm_request", "llm_response"]
    assert [each["seq"] for each in seen] == list(range(seen[0]["seq"], seen[0]["seq"] + 3))


async def test_the_chain_is_verified_while_it_runs_and_after(folder: Path) -> None:
    """exit 0 on a running and on a stopped stack, with the signature of its end; the evidence is
    accepted by the stand-alone script; exit 4 and the first wrong event once a row was changed."""
    async with comptroller_up(folder, record=True) as running:
        await ask(running)
        await until_recorded(running, 1)
        ran = await command(running.data_dir, "verify")
        assert ran.code == 0, ran.err
        assert "demo: ok" in ran.out
    data_dir = folder / "data"
    evidence = folder / "evidence"
    ran = await command(data_dir, "verify", "--json", "--export", str(evidence))
    assert ran.code == 0, ran.err
    (verdict,) = (json.loads(line) for line in ran.out.splitlines())
    assert verdict["ok"]
    assert verdict["signed"]["seq"] == verdict["events"] > 3
    script = Path(__file__).parent.parent.parent / "recorder" / "verify_evidence.py"
    checker = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(evidence / "demo.jsonl"), stdout=asyncio.subprocess.PIPE
    )
    assert await asyncio.wait_for(checker.wait(), 30) == 0
    change = (
        "from clickhouse.engine import Engine; import sys, pathlib\n"
        "with Engine(pathlib.Path(sys.argv[1])) as engine:\n"
        '    engine.command("ALTER TABLE comptroller.events UPDATE charged_nusd = 1 "\n'
        "                   \"WHERE event_type = 'llm_response' SETTINGS mutations_sync = 1\")\n"
    )
    changed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", change, str(data_dir / "records"), cwd=script.parent.parent
    )
    assert await asyncio.wait_for(changed.wait(), 60) == 0
    ran = await command(data_dir, "verify")
    assert ran.code == NOT_VERIFIED
    assert "NOT VERIFIED" in ran.out
    assert "changed" in ran.out


async def test_no_records_is_said(tmp_path: Path) -> None:
    """A data dir without records: exit 1 and what to do, on every command."""
    for arguments in (("sql", "SELECT 1"), ("tail",), ("verify",)):
        ran = await command(tmp_path, *arguments)
        assert ran.code == FAILED
        assert "--data-dir" in ran.err


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_recorder_is_started_again(running: Running) -> None:
    """kill -9 of the recorder: the gateway serves on, and the next one records what it serves."""
    before = await calls_in(running)
    os.kill(running.recorder(), signal.SIGKILL)
    await ask(running)
    await until_recorded(running, before + 1)
    ran = await command(running.data_dir, "verify")
    assert ran.code == 0, ran.out + ran.err
