"""The recorder's process: the records' engine, its HTTP port, and the recorder, until SIGTERM.

A process of its own, because the embedded engine is one to a folder and must never be forked. It is
built from the environment alone, like a gateway worker: `python -m comptroller.record`.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn

from clickhouse.accounts import Accounts, RecordsSecret
from clickhouse.engine import Engine
from clickhouse.errors import EngineBusy, RecordsError, StoreUnavailable
from clickhouse.facade import Facade, listen
from clickhouse.migrate import Layout, SchemaMismatch, migrate
from clickhouse.store import EmbeddedStore, HttpStore, Store
from comptroller.data_dir import (
    absolute,
    recorder_folder,
    records_folder,
    secret_file,
    url_file,
)
from comptroller.parts import open_session
from comptroller.process import LOOPBACK, begin, say_ready
from comptroller.settings import Settings
from recorder.recorder import Recorder, RecorderBusy

CONNECTIONS_MAX = 64
ENGINE_WAIT_S_MAX = 20.0
MIGRATE_EVERY_S = 2.0
READS_END_S_MAX = 3
_log = logging.getLogger("comptroller.recorder")


async def record(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then records what is left."""
    data_dir = absolute(settings.data_dir)
    session = open_session(settings, waits=False)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with _store(settings, data_dir) as store:
        recorder = Recorder(session, store, recorder_folder(data_dir), settings.recorder, stopping)
        if not await _migrated(settings, store):
            say_ready()  # the ledger keeps what comes until there are records to write it to
            while not stopping.is_set() and not await _migrated(settings, store):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), MIGRATE_EVERY_S)
        else:
            say_ready()
        await recorder.run()
    await session.transport.close()


async def _migrated(settings: Settings, store: Store) -> bool:
    """Whether the records are there and of this version. Raises SchemaMismatch, StoreRefused."""
    try:
        await migrate(store, Layout(settings.records.clickhouse_cluster))
    except StoreUnavailable as error:
        _log.warning("nothing is recorded yet: %s", error)
        return False
    return True


@contextlib.asynccontextmanager
async def _store(settings: Settings, data_dir: Path) -> AsyncIterator[Store]:
    options = settings.records
    if options.clickhouse_url:
        store = HttpStore(
            options.clickhouse_url, options.clickhouse_user, options.clickhouse_password
        )
        try:
            yield store
        finally:
            await store.close()
        return
    engine = await _opened(records_folder(data_dir))
    try:
        accounts = Accounts(RecordsSecret.load_or_create(secret_file(data_dir)))
        async with _listening(Facade(engine, accounts), options.clickhouse_port, data_dir):
            yield EmbeddedStore(engine)
    finally:
        await asyncio.to_thread(engine.close)


async def _opened(folder: Path) -> Engine:
    """The engine; that of an instance which is just ending is waited for."""
    give_up_s = time.monotonic() + ENGINE_WAIT_S_MAX
    while True:
        try:
            return Engine(folder)
        except EngineBusy:
            if time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(0.1)  # a file's lock has no event to wait for


@contextlib.asynccontextmanager
async def _listening(facade: Facade, port: int, data_dir: Path) -> AsyncIterator[None]:
    config = uvicorn.Config(
        facade,
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=READS_END_S_MAX,
    )
    config.load()
    server = _Server(config)
    listener = listen(port)
    url = url_file(data_dir)
    url.write_text(f"http://{LOOPBACK}:{listener.getsockname()[1]}", encoding="ascii")
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        url.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the recorder decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn.Server."""
        yield


def main() -> None:
    """The process's entry point."""
    settings = begin("recorder", models=False)
    try:
        asyncio.run(record(settings))
    except (RecordsError, RecorderBusy, SchemaMismatch, OSError) as error:
        sys.exit(f"comptroller: the recorder cannot start: {error}")


if __name__ == "__main__":
    main()
