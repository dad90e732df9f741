"""A recorder waits for the engine of one that is just ending, and says whose it is if it stays."""

import fcntl
from pathlib import Path

import pytest

from clickhouse.engine import LOCK_FILE, Engine
from clickhouse.errors import EngineBusy
from comptroller import record


async def test_an_engine_that_stays_another_s_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for more than once, and then told with the folder and what to do."""
    asked: list[Path] = []

    def engine(folder: Path) -> Engine:
        asked.append(folder)
        return Engine(folder)

    monkeypatch.setattr("comptroller.record.Engine", engine)
    monkeypatch.setattr("comptroller.record.ENGINE_WAIT_S_MAX", 0.15)
    with (tmp_path / LOCK_FILE).open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        with pytest.raises(EngineBusy, match="is open in another process: stop it first") as told:
            await record._opened(tmp_path)
    assert str(tmp_path) in str(told.value)
    assert len(asked) > 1
