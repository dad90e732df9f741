"""A recorder's process whose ClickHouse is away when it starts: a machine that boots before its
database must serve, and record later."""

import asyncio
import os
import sys
from pathlib import Path

from clickhouse.accounts import RECORDER, RecordsSecret
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import Stage, find

READY_S_MAX = 30


async def test_it_serves_and_records_once_there_are_records(stage: Stage, tmp_path: Path) -> None:
    """It says that it is ready while nobody listens at its ClickHouse; what is called meanwhile is
    recorded, once, when somebody does; SIGTERM ends it with 0."""
    records = RecordsServer(tmp_path / "records")
    records.folder.mkdir()
    secret = RecordsSecret.load_or_create(records.folder / "records.secret")
    caller = await stage.caller()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "comptroller.record"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "COMPTROLLER_DATA_DIR": str(tmp_path / "data"),
            "COMPTROLLER_REDIS_URL": f"unix://{stage.server.socket_path}",
            "COMPTROLLER_CLICKHOUSE_URL": records.url,
            "COMPTROLLER_CLICKHOUSE_USER": RECORDER,
            "COMPTROLLER_CLICKHOUSE_PASSWORD": secret.password_of(RECORDER),
        },
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_S_MAX)
        assert line == b"ready\n", await process.stderr.read()
        await caller.make(3)
        assert await caller.waiting()
        await asyncio.to_thread(records.start)
        folder = tmp_path / "data" / "recorder"
        await caller.recorded(folder)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), READY_S_MAX) == 0
        assert b"nothing is recorded yet" in await process.stderr.read()
        store = records.store()
        await caller.judge(await find(store, caller.organisation), folder)
        await store.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        records.kill()
