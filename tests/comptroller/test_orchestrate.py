"""Whatever an executor is put together from is taken apart again, however far that went."""

import threading
from pathlib import Path

import pytest

from budgets.embedded import EmbeddedServer
from comptroller import orchestrate
from comptroller.settings import Settings, load_settings
from orchestrator.running.attempt_secrets import MasterInvalid


@pytest.fixture
def settings(valkey: EmbeddedServer, tmp_path: Path) -> Settings:
    """Of an executor on this machine."""
    said = {
        "COMPTROLLER_DATA_DIR": str(tmp_path),
        "COMPTROLLER_REDIS_URL": f"unix://{valkey.socket_path}",
        "COMPTROLLER_RECORD": "false",
        "COMPTROLLER_TRUST_LEDGER": "true",
    }
    return load_settings(None, said)


def journals() -> int:
    """Threads that have a database."""
    return sum(each.name == "journal" for each in threading.enumerate())


async def test_an_executor_leaves_nothing_behind(settings: Settings) -> None:
    before = journals()
    async with orchestrate.executor(settings) as made:
        assert journals() == before + 1
        await made.start()
        await made.stop()
    assert journals() == before


async def test_one_that_cannot_be_put_together_leaves_nothing_behind(
    settings: Settings, tmp_path: Path
) -> None:
    """Its database was open when its secret was found damaged."""
    before = journals()
    (tmp_path / "runs-secret").write_bytes(b"short")
    with pytest.raises(MasterInvalid):
        async with orchestrate.executor(settings):
            pass
    assert journals() == before
