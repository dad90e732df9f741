"""The parts of a stack apart from each other, on one ledger: `comptroller up --only`."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from budgets.embedded import EmbeddedServer
from clickhouse.accounts import READER, RecordsSecret
from tests.comptroller.commands.commanding import comptroller
from tests.comptroller.standing import recorded, until
from tests.gateway.processes import Running, all_gone, descendants, free_port, started
from tests.gateway.wire import post

DOCUMENT = {"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]}
_COUNT = "SELECT countIf(event_type = 'llm_response') FROM comptroller.events"


@dataclass(frozen=True, slots=True)
class Shared:
    """A ledger that all parts are told, and folders of their own for each."""

    folder: Path
    ledger: EmbeddedServer
    port: int
    admin_port: int

    @contextlib.asynccontextmanager
    async def up(
        self,
        name: str,
        only: str,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Running]:
        """One part, from its greeting to its exit code 0."""
        folder = self.folder / name
        folder.mkdir()
        running = await started(
            folder,
            port=port or self.port,
            more=("--only", only, "--admin-port", str(self.admin_port)),
            environment={
                "COMPTROLLER_REDIS_URL": f"unix://{self.ledger.socket_path}",
                **(environment or {}),
            },
        )
        try:

            async def has_greeted() -> bool:
                assert running.process.returncode is None, running.output
                return running.output.endswith("\n")

            await until(has_greeted)
            yield running
            family = descendants(running.process.pid)
            running.terminate()
            assert await running.ended() == 0, running.output
            await all_gone(family)
        finally:
            if running.process.returncode is None:
                await running.kill_all()


@pytest.fixture
def shared(folder: Path) -> Iterator[Shared]:
    """The ledger, started and stopped."""
    ledger = EmbeddedServer(folder / "shared")
    ledger.start()
    try:
        yield Shared(folder, ledger, free_port(), free_port())
    finally:
        ledger.stop()


async def test_gateway_recorder_and_admin_apart(shared: Shared) -> None:
    """Each alone, on one machine with the same settings: only the one that serves a port listens on
    it. A call through the gateway is recorded by the recorder, and stopped by a budget that is set
    through the admin API; no part starts another one's processes, or a ledger of its own."""
    async with (
        shared.up("r", "recorder") as recorder,
        shared.up("g", "gateway") as gateway,
        shared.up("a", "admin", environment=_records_of(recorder)) as admin,
    ):
        for each, module in ((recorder, "record"), (gateway, "work"), (admin, "administer")):
            (child,) = descendants(each.process.pid)
            assert {child} == each.parts(f"comptroller.{module}")
            assert not (each.data_dir / "ledger").exists()
        assert "base URL" not in recorder.output + admin.output
        assert "admin API" not in recorder.output + gateway.output
        assert not (recorder.data_dir / "first-key").exists()
        secret = (gateway.data_dir / "first-key").read_text(encoding="ascii")
        assert (await post(gateway.port, secret, DOCUMENT)).status == 200

        async def is_recorded() -> bool:
            return await recorded(recorder, _COUNT) == [1]

        await until(is_recorded)
        ran = await comptroller(
            *("budget", "set", "demo/key-first", "0", "--data-dir", str(admin.data_dir))
        )
        assert ran.code == 0, ran.err
        assert (await post(gateway.port, secret, DOCUMENT)).status == 402
        async with httpx.AsyncClient(trust_env=False) as client:
            ready = await client.get(f"http://127.0.0.1:{shared.admin_port}/readyz")
        assert ready.json() == {"ready": True, "ledger": "ok", "records": "ok"}


def _records_of(recorder: Running) -> dict[str, str]:
    """The records of another machine, as a server."""
    secret = RecordsSecret.load_or_create(recorder.data_dir / "records.secret")
    return {
        "COMPTROLLER_CLICKHOUSE_URL": (recorder.data_dir / "records.url").read_text("ascii"),
        "COMPTROLLER_CLICKHOUSE_USER": READER,
        "COMPTROLLER_CLICKHOUSE_PASSWORD": secret.password_of(READER),
    }


async def test_a_second_gateway_leaves_the_first_key_alone(shared: Shared) -> None:
    """Of two machines that declare no keys, the first one makes the first key; the second one does
    not replace it, prints no key that does not work, and says how to get one."""
    async with shared.up("r", "recorder"), shared.up("g", "gateway") as first:
        secret = (first.data_dir / "first-key").read_text(encoding="ascii")
        async with shared.up("h", "gateway", port=free_port()) as second:
            assert "ck-" not in second.output
            assert "comptroller key rotate key-first" in second.output
            for each in (first, second):
                assert (await post(each.port, secret, DOCUMENT)).status == 200
