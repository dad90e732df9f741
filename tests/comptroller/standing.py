"""Questions to a running stack that go around the code under test: its records over HTTP, its
processes, what lies in its data dir."""

import asyncio
import contextlib
import json
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from clickhouse.accounts import READER, RecordsSecret
from tests.gateway.processes import Running
from tests.gateway.wire import Answer, post
from tests.living import below, contents_below

WAIT_S_MAX = 25
LOAD_PAUSE_S = 0.01


async def recorded(running: Running, query: str) -> list[Any]:
    """The only row of a query; raises httpx.HTTPError while no recorder answers."""
    url = (running.data_dir / "records.url").read_text(encoding="ascii")
    secret = RecordsSecret.load_or_create(running.data_dir / "records.secret")
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.post(
            url,
            content=f"{query} FORMAT JSONCompactEachRow",
            params={"output_format_json_quote_64bit_integers": "0"},
            auth=(READER, secret.password_of(READER)),
        )
    answer.raise_for_status()
    (line,) = answer.text.splitlines()
    row = json.loads(line)
    assert isinstance(row, list)
    return row


async def admin_get(running: Running, path: str, token: str = "") -> httpx.Response:
    """One question to its admin API."""
    url = (running.data_dir / "admin.url").read_text(encoding="ascii")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return await client.get(url + path, headers=headers)


async def until(true: Callable[[], Awaitable[bool]]) -> float:
    """Waits for what nothing tells of; how many seconds it took."""
    began_s = time.monotonic()
    async with asyncio.timeout(WAIT_S_MAX):
        while not await _is(true):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def _is(true: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await true()
    except (httpx.HTTPError, OSError, EOFError):
        return False


@contextlib.asynccontextmanager
async def loaded(
    running: Running, secret: str, document: object, callers: int
) -> AsyncIterator[Counter[int]]:
    """So many callers that never rest, for the block; how often each status came, 0 where the
    connection broke."""
    statuses: Counter[int] = Counter()
    over = asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            answer = await tried(running.port, secret, document)
            statuses[answer.status if answer else 0] += 1
            await asyncio.sleep(LOAD_PAUSE_S)

    calls = [asyncio.create_task(call()) for _ in range(callers)]
    try:
        yield statuses
    finally:
        over.set()
        await asyncio.gather(*calls)


async def tried(port: int, secret: str, document: object) -> Answer | None:
    """One call; None where its connection broke."""
    try:
        return await post(port, secret, document)
    except (OSError, EOFError):
        return None


def environment_of(pid: int) -> dict[str, str]:
    """Of a process, as it was begun."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def cwd_of(pid: int) -> Path:
    """The folder that a process stands in."""
    return Path(f"/proc/{pid}/cwd").readlink()


def readable_by_others(folder: Path) -> set[str]:
    """Names of the files that others than the owner may read, were it not for the folder."""
    return {
        str(path.relative_to(folder))
        for path, found in below(folder)
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077
    }


def files_with(folder: Path, text: str) -> list[Path]:
    """The files that hold this text."""
    return [
        path.relative_to(folder)
        for path, content in contents_below(folder)
        if text.encode() in content
    ]
