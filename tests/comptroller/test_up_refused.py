"""What cannot start says why, what to do about it, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.comptroller.refusing import refused
from tests.gateway.processes import (
    Running,
    all_gone,
    comptroller_up,
    descendants,
    processes_of,
    started,
)

QUICK_S_MAX = 30
BEGUN_S_MAX = 60


@pytest.fixture
async def running(folder: Path) -> AsyncIterator[Running]:
    """A stack that is there already."""
    async with comptroller_up(folder, record=True, admin=True) as running:
        yield running


async def test_a_second_start_disturbs_nobody(folder: Path, running: Running) -> None:
    """On the same data dir: refused at once, with the process id of the first, exit code 1; on a
    port of the first's, data or admin, with the option that chooses another. The first one runs on
    as it was, and beside it a second stack on its own folder and ports."""
    family = descendants(running.process.pid)
    admin_url = (running.data_dir / "admin.url").read_text()
    admin_port = admin_url.rpartition(":")[2]
    began_s = time.monotonic()
    same_dir, same_port, same_admin_port = await asyncio.gather(
        refused(folder, alone=False),
        refused(folder / "b", more=("--port", str(running.port))),
        refused(folder / "c", admin=True, more=("--admin-port", admin_port)),
    )
    assert time.monotonic() - began_s < QUICK_S_MAX
    assert same_dir.code == same_port.code == same_admin_port.code == 1
    assert f"process {running.process.pid})" in same_dir.output
    assert "choose another --data-dir" in same_dir.output
    assert f"127.0.0.1:{running.port}" in same_port.output
    assert "choose with --port" in same_port.output
    assert "choose with --admin-port" in same_admin_port.output
    for each in (same_dir, same_port, same_admin_port):
        assert "Traceback" not in each.output
        assert each.output.rstrip().rpartition("\n")[2] == "try: comptroller doctor"
    assert descendants(running.process.pid) == family
    assert (running.data_dir / "admin.url").read_text() == admin_url
    (folder / "d").mkdir()
    async with comptroller_up(folder / "d", admin=True, record=True) as beside:
        assert beside.port != running.port
        await running.until_ready()


async def test_a_data_dir_of_another_format_is_not_touched(folder: Path) -> None:
    """It is refused before anything is written there but the lock."""
    data_dir = folder / "data"
    data_dir.mkdir()
    (data_dir / "format").write_text("2")
    told = await refused(folder)
    assert told.code == 1
    assert "was written by another version (format '2'" in told.output
    assert sorted(each.name for each in data_dir.iterdir()) == ["format", "lock"]


async def test_a_part_that_cannot_start_ends_the_command_with_its_last_words(folder: Path) -> None:
    """The records' port is taken; the ledger's file is damaged; a log cannot be written; the admin
    token is too weak; the ledger of the settings does not answer: exit code 1, the reason, and no
    process left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _damage_ledger(folder / "damaged" / "data")
        (folder / "unwritable" / "data" / "logs" / "gateway-1.log").mkdir(parents=True)
        told = await asyncio.gather(
            refused(
                folder / "port",
                record=True,
                environment={"COMPTROLLER_CLICKHOUSE_PORT": str(port)},
            ),
            refused(folder / "damaged"),
            refused(folder / "unwritable"),
            refused(
                folder / "weak",
                admin=True,
                environment={"COMPTROLLER_ADMIN_TOKEN": "weak-token"},
            ),
            refused(
                folder / "away", environment={"COMPTROLLER_REDIS_URL": "redis://127.0.0.1:1/0"}
            ),
        )
    assert [each.code for each in told] == [1] * len(told), told
    words = (
        ("recorder", str(port), "recorder.log"),
        ("valkey-server", "ledger.log", "last words", "append only file"),
        ("gateway-1.log",),
        ("COMPTROLLER_ADMIN_TOKEN must have",),
        ("the ledger cannot be reached",),
    )
    for each, expected in zip(told, words, strict=True):
        assert "Traceback" not in each.output
        for word in expected:
            assert word in each.output, each.output
        assert "weak-token" not in each.output
    await all_gone(processes_of(folder))


def _damage_ledger(data_dir: Path) -> None:
    files = data_dir / "ledger" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (files / "appendonly.aof.1.incr.aof").write_bytes(b"*3\r\nnot a command of any kind\r\n" * 9)


async def test_only_a_part_needs_a_shared_ledger(folder: Path) -> None:
    """`--only` without COMPTROLLER_REDIS_URL is a usage error that says so."""
    told = await refused(folder, more=("--only", "recorder"))
    assert told.code == 2
    assert "COMPTROLLER_REDIS_URL" in told.output
    assert not (folder / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["the folder is made", "the ledger runs", "the recorder starts"])
async def test_a_stop_during_the_start(folder: Path, number: signal.Signals, moment: str) -> None:
    """At whatever moment: no process is left, and once the ledger runs the exit code is 0."""
    running = await started(folder, record=True, admin=True)
    try:
        async with asyncio.timeout(BEGUN_S_MAX):
            while not _is_there(running, moment):  # noqa: ASYNC110  # a process has no event
                await asyncio.sleep(0.001)
        running.process.send_signal(number)
        code = await running.ended()
        await all_gone(processes_of(folder))
        assert code == 0 or moment == "the folder is made"
        assert "Traceback" not in running.output
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)


def _is_there(running: Running, moment: str) -> bool:
    if moment == "the folder is made":
        return running.data_dir.exists()
    if moment == "the ledger runs":
        return (running.data_dir / "ledger.sock").exists()
    return bool(running.parts("comptroller.record"))
