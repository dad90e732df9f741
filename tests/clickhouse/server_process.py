"""A process that serves the sample tables over HTTP: `server_process <folder> <descriptor>` writes
its port to the descriptor once it listens."""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from clickhouse.accounts import Accounts, RecordsSecret
from clickhouse.engine import Engine, EngineLimits
from clickhouse.facade import Facade, FacadeLimits, listen
from tests.clickhouse.samples import fill


async def _serve(folder: Path, descriptor: int) -> None:
    listening = listen(0)
    limits = EngineLimits(read_ms_max=10_000, whole_bytes_max=4 * 1024**2)
    with Engine(folder / "records", limits) as engine:
        fill(engine)
        accounts = Accounts(
            RecordsSecret.load_or_create(folder / "records.secret"), recorder_enabled=True
        )
        facade = Facade(
            engine,
            accounts,
            hosts=["records.example"],
            limits=FacadeLimits(
                reads_max=4, reads_of_account_max=2, read_wait_ms_max=300, send_ms_max=1_000
            ),
        )
        server = uvicorn.Server(
            uvicorn.Config(facade, http="httptools", log_level="critical", access_log=False)
        )
        os.write(descriptor, str(listening.getsockname()[1]).encode())
        await server.serve([listening])


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
