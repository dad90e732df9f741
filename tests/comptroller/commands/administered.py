"""A running stack with its admin API, and commands that find it by what `up` leaves in its data
dir."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from comptroller.data_dir import admin_token_file, admin_url_file
from tests.comptroller.commands.commanding import Ran
from tests.comptroller.commands.forked import forked
from tests.comptroller.standing import recorded, until
from tests.gateway.processes import Running, comptroller_up

READY_S_MAX = 30


@dataclass(frozen=True, slots=True)
class Administered:
    """The stack, and commands on it."""

    running: Running
    url: str
    token: str

    async def __call__(
        self, *arguments: str, stdin: str = "", printed: str = "", **environment: str
    ) -> Ran:
        """A command that finds it by its data dir, behind a proxy that nobody may use. `printed`:
        see `forked`."""
        proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
        where = ("--data-dir", str(self.running.data_dir))
        return await forked(
            *arguments,
            *where,
            stdin=stdin.encode(),
            environment=proxy | environment,
            printed=Path(printed) if printed else None,
        )

    async def organisation(self, name: str) -> str:
        """A new one with a dollar a day, and a key in `<name>/research`: its secret."""
        key = await self("key", "create", "one", "--scope", f"{name}/research", "--json")
        budget = await self("budget", "set", name, "1.00/day")
        assert (key.code, budget.code) == (0, 0), key.err + budget.err
        return str(key.document["key"])

    async def chat(self, secret: str, **fields: object) -> httpx.Response:
        """One call to the demo model with a key."""
        body = {"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.running.port}", trust_env=False, timeout=20
        ) as client:
            headers = {"Authorization": f"Bearer {secret}"}
            return await client.post("/v1/chat/completions", headers=headers, json=body | fields)

    async def until_recorded(self, query: str, count: int) -> None:
        """Waits until a query counts so many: nothing tells but asking."""

        async def is_so() -> bool:
            return await recorded(self.running, query) == [count]

        await until(is_so)


@contextlib.asynccontextmanager
async def administered(folder: Path, **environment: str) -> AsyncIterator[Administered]:
    """Starts it, with these variables, and ends it."""
    up = comptroller_up(folder, record=True, admin=True, environment=environment)
    async with up as running:
        url_file = admin_url_file(running.data_dir)
        async with asyncio.timeout(READY_S_MAX):
            while not url_file.exists():  # noqa: ASYNC110  # nothing tells of a file
                await asyncio.sleep(0.05)
        token = admin_token_file(running.data_dir).read_text(encoding="ascii")
        yield Administered(running, url_file.read_text(encoding="ascii"), token)
