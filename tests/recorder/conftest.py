"""Records behind HTTP in a process of their own, and a ledger for each test: what the recorder's
suites about faults share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from clickhouse.store import Store
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import Stage, staged


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordsServer]:
    """Records that stay up and outlive recorders; tests use organisations of their own."""
    server = RecordsServer(tmp_path_factory.mktemp("served"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(records: RecordsServer) -> AsyncIterator[Store]:
    """A client of them, as the recorder has one."""
    store = records.store()
    yield store
    await store.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A ledger of the test's own."""
    async with staged() as stage:
        yield stage
