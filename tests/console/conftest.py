"""A console over a real ledger of the test's own, and, where a test asks for them, real records
with a real recorder between the two."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from console.options import ConsoleOptions
from console.records import RecordsAddress, RecordsAway
from console.workflows import Workflows
from tests.console.desk import Console, opened
from tests.console.recosting import Prices
from tests.console.running import workflows_in
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


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of one that has signed nothing."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    return file


@pytest.fixture(autouse=True)
def one_authority(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the system's: to load all of those takes a client longer than most tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))


@pytest.fixture
def options() -> ConsoleOptions:
    """Streams that look often; a module may have others."""
    return ConsoleOptions(stream_poll_ms=20)


@pytest.fixture
def workflows(tmp_path: Path) -> Workflows:
    """A database of runs of the test's own, one model, and a folder whose programs may be run."""
    return workflows_in(tmp_path)


@pytest.fixture
async def console(options: ConsoleOptions, workflows: Workflows) -> AsyncIterator[Console]:
    """Without records."""
    async with (
        staged() as stage,
        opened(stage, nowhere, options, workflows=workflows) as console,
    ):
        yield console


@pytest.fixture
async def recorded(
    records: RecordsServer, options: ConsoleOptions, workflows: Workflows
) -> AsyncIterator[Console]:
    """With records, and a recorder that writes what the ledger has."""
    async with staged() as stage:
        store = records.store()
        await stage.recorder(store)
        found = Console.found(records)
        async with opened(stage, found, options, workflows=workflows) as console:
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
