"""One engine for a test process, because a process has one folder; and one behind HTTP, in a
process of its own."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clickhouse.accounts import RecordsSecret
from clickhouse.engine import Engine, EngineLimits
from tests.clickhouse.samples import fill

READY_TIMEOUT_S = 30


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine of this process, with tables of two organisations."""
    limits = EngineLimits(read_ms_max=10_000)
    with Engine(tmp_path_factory.mktemp("records"), limits) as engine:
        fill(engine)
        yield engine


@dataclass(frozen=True, slots=True)
class Served:
    """A facade in a process of its own."""

    port: int
    secret: RecordsSecret
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def auth(self, user: str) -> tuple[str, str]:
        """User and password."""
        return user, self.secret.password_of(user)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The facade under uvicorn, with the sample tables, the recorder's account enabled."""
    folder: Path = tmp_path_factory.mktemp("served")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.clickhouse.server_process", str(folder), str(writing)],
        pass_fds=(writing,),
        cwd=Path(__file__).parents[2],
    )
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], READY_TIMEOUT_S)
        port = int(os.read(reading, 16) or b"0") if ready else 0
        assert port, "the facade did not start"
        secret = RecordsSecret.load_or_create(folder / "records.secret")
        yield Served(port, secret, process)
    finally:
        os.close(reading)
        process.terminate()
        process.wait(20)
