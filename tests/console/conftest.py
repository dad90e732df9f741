"""A console over a real ledger of the test's own, and, where a test asks for them, real records
with a real recorder between the two."""

from collections.abc import AsyncIterator, Iterator

import pytest

from console.options import ConsoleOptions
from console.records import RecordsAddress, RecordsAway
from tests.console.desk import Console, opened
from tests.console.recosting import Prices
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import staged


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordsServer]:
    """Records behind HTTP; tests use organisations of their own."""
    server = RecordsServer(tmp_path_factory.mktemp("console"))
    server.start()
    yield server
    server.kill()


def nowhere(_: str) -> RecordsAddress:
    """No recorder runs."""
    raise RecordsAway("no recorder runs")


@pytest.fixture
def options() -> ConsoleOptions:
    """Streams that look often; a module may have others."""
    return ConsoleOptions(stream_poll_ms=20)


@pytest.fixture
async def console(options: ConsoleOptions) -> AsyncIterator[Console]:
    """Without records."""
    async with staged() as stage, opened(stage, nowhere, options) as console:
        yield console


@pytest.fixture
async def recorded(records: RecordsServer, options: ConsoleOptions) -> AsyncIterator[Console]:
    """With records, and a recorder that writes what the ledger has."""
    async with staged() as stage:
        store = records.store()
        await stage.recorder(store)
        async with opened(stage, Console.found(records), options) as console:
            yield console
        await store.close()


@pytest.fixture
def prices() -> Prices:
    """Another one than was charged by."""
    return Prices()


@pytest.fixture
async def recosting(
    records: RecordsServer, options: ConsoleOptions, prices: Prices
) -> AsyncIterator[Console]:
    """A console with these prices, records and a recorder."""
    async with staged() as stage:
        store = records.store()
        await stage.recorder(store)
        async with opened(stage, Console.found(records), options, prices) as console:
            yield console
        await store.close()
