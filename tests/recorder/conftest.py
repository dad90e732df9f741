"""Records behind HTTP in a process of their own, and a ledger for each test: what the recorder's
suites about faults share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from budgets.embedded import EmbeddedServer
from clickhouse.store import Store
from tests.recorder.crashing import RecordsServer
from tests.recorder.growing import Asked, Growing
from tests.recorder.rig import Stage, staged
from tests.recorder.workbench import StoreProcess, begin_anew, desk_at


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


@pytest.fixture(scope="session")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own, which each test begins anew."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def growing(emptied: StoreProcess, valkey: EmbeddedServer) -> AsyncIterator[Growing]:
    """Empty records, and a ledger at noon."""
    await begin_anew(emptied)
    memory = Asked(emptied)
    async with desk_at(valkey, memory=memory) as desk:
        yield Growing(desk, emptied, memory)
