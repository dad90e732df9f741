"""Who waits for /readyz, as a supervisor of containers does, is served."""

from pathlib import Path

import httpx

from tests.comptroller.standing import admin_get, until
from tests.gateway.processes import started

KEYS = 150  # declaring them takes longer than the workers do to start
TOKEN = "a-token-of-the-tests-0123456789"


async def test_it_is_ready_when_all_that_is_declared_is_there(folder: Path) -> None:
    """At the first 200 the last key of the file works, and so does the admin token."""
    keys = [
        {"name": f"k{n}", "scope": "acme/team", "secret": f"ck-{n:03}-0123456789abcdef"}
        for n in range(KEYS)
    ]
    running = await started(
        folder,
        config={"keys": keys},
        record=True,
        admin=True,
        environment={"COMPTROLLER_ADMIN_TOKEN": TOKEN},
    )
    try:
        await running.until_ready()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
            answer = await client.get(
                "/v1/models", headers={"authorization": f"Bearer {keys[-1]['secret']}"}
            )
        assert answer.status_code == 200, answer.text

        async def admin_is_ready() -> bool:
            return (await admin_get(running, "/readyz")).status_code == 200

        await until(admin_is_ready)
        assert (await admin_get(running, "/v1/keys", TOKEN)).status_code == 200
        running.terminate()
        assert await running.ended() == 0
        assert not (running.data_dir / "declared").exists()
    finally:
        if running.process.returncode is None:
            await running.kill_all()
