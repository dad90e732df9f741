"""`comptroller up` and `comptroller doctor` at a Redis that is not theirs: what may not be a ledger
is refused before anything starts, and with the least rights the whole product runs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comptroller.assured import assure
from comptroller.commands.stack import stack_findings
from comptroller.settings import Settings, load_settings
from tests.budgets.servers import HOST, TestCluster, TestServer, running
from tests.budgets.test_redispy_rights import rule
from tests.comptroller.refusing import refused
from tests.gateway.processes import comptroller_up
from tests.gateway.wire import post

DOCUMENT = {"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]}
EVICTING = ("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru")


@pytest.fixture
def evicting() -> Iterator[TestServer]:
    """Somebody's cache."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        server = TestServer(Path(folder), *EVICTING)
        with running(server):
            yield server


def settings_at(url: str) -> Settings:
    """Of a machine whose ledger that is."""
    return load_settings(None, {"COMPTROLLER_REDIS_URL": url, "COMPTROLLER_ADMIN": "false"})


async def test_up_refuses_an_unsafe_redis(evicting: TestServer, folder: Path) -> None:
    """It ends at once, says why and what to type, and has started nothing."""
    told = await refused(folder / "up", environment={"COMPTROLLER_REDIS_URL": evicting.url})
    assert told.code == 1
    assert "CONFIG SET maxmemory-policy noeviction" in told.output
    assert "Traceback" not in told.output
    assert not (folder / "up" / "logs" / "gateway-1.log").exists()
    assert evicting.ask("DBSIZE") == 0


def test_doctor_says_the_same(evicting: TestServer) -> None:
    """With the command to type; put right, it names what it found."""
    settings = settings_at(evicting.url)
    (finding,) = stack_findings(settings, None)
    assert (finding.check, finding.status) == ("ledger", "fail")
    assert finding.do == "CONFIG SET maxmemory-policy noeviction"
    evicting.ask(*finding.do.split())
    finding = stack_findings(settings, None)[0]
    assert (finding.check, finding.status) == ("ledger", "ok")
    assert f"{HOST}:{evicting.port}: Valkey" in finding.message


def test_the_embedded_ledger_is_not_asked(folder: Path) -> None:
    """It need not run yet, and is started as it must be: by no URL, or by that of its socket."""
    for url in ("", f"unix://{folder}/ledger.sock"):
        environment = {"COMPTROLLER_REDIS_URL": url, "COMPTROLLER_DATA_DIR": str(folder)}
        assure(load_settings(None, environment))


async def test_the_product_runs_with_the_least_rights(folder: Path) -> None:
    """Gateway, recorder and admin API as docs/deploy.md's user: a request is answered, booked and
    recorded, and the server has refused nothing."""
    server = TestServer(folder, "--appendonly", "yes")
    with running(server):
        server.ask(*rule())
        await _serves(folder / "up", f"redis://comptroller:password@{HOST}:{server.port}/0")
        assert server.ask("ACL", "LOG") == []
        assert server.ask("XLEN", "{demo}:outbox") == 0, "not all was recorded"


async def test_the_product_runs_on_a_cluster(folder: Path) -> None:
    """The same on three servers, with the two rights that the guide adds for them."""
    cluster = TestCluster(folder)
    try:
        cluster.start()
        for server in cluster.servers:
            server.ask(*rule(), "+cluster|slots", "+asking")
        await _serves(folder / "up", cluster.url.replace("://", "://comptroller:password@"))
        assert [server.ask("ACL", "LOG") for server in cluster.servers] == [[], [], []]
        assert cluster.of("{demo}:outbox").ask("XLEN", "{demo}:outbox") == 0
    finally:
        cluster.stop()


async def _serves(folder: Path, url: str) -> None:
    """All parts start, one request is answered, all parts stop."""
    folder.mkdir()  # noqa: ASYNC240  # at once, on a disk of our own
    environment = {"COMPTROLLER_REDIS_URL": url}
    async with comptroller_up(folder, record=True, admin=True, environment=environment) as stack:
        await stack.until_greeted()
        key = (stack.data_dir / "first-key").read_text().strip()
        answer = await post(stack.port, key, DOCUMENT)
        assert answer.status == 200
