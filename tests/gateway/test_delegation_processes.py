"""Delegation on real processes: every worker obeys at once, a worker may die while it mints, and no
secret is left anywhere."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.comptroller.standing import files_with, recorded, until
from tests.gateway.behaviours import answers
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import Running, comptroller_up, fake_config
from tests.gateway.provider import Provider
from tests.gateway.stack import GREETING
from tests.gateway.wire import Answer, post

SECRET = "ck-a-secret-of-some-length"
ORGANISATION = "acme"
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 200}
KEYS = "/v1/keys"
CALLS = 40
WORKERS = 3


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The fake provider, in the test's process."""
    provider = Provider(answers())
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider, **more: object) -> dict[str, object]:
    """One key of the file that delegates."""
    key = {
        "name": "planner",
        "scope": f"{ORGANISATION}/research",
        "secret": SECRET,
        "delegates": True,
        "budget": [{"usd": "1"}],
        **more,
    }
    return fake_config(provider, keys=[key])


async def mint(port: int, secret: str, **fields: Any) -> dict[str, Any]:
    """A key minted by this one."""
    answer = await post(port, secret, {"name": "helper", **fields}, path=KEYS)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


async def everywhere(running: Running, secret: str) -> set[int]:
    """The statuses of so many calls that each worker gets some."""
    calls = await asyncio.gather(*(post(running.port, secret, DOCUMENT) for _ in range(CALLS)))
    return {each.status for each in calls}


async def test_revoking_ends_the_whole_line_at_the_next_call_on_every_worker(
    folder: Path, provider: Provider
) -> None:
    """All workers have used the keys and have them in their caches; one of them revokes."""
    async with comptroller_up(folder, config=config(provider), workers=WORKERS) as running:
        mid = await mint(running.port, SECRET, delegates=True)
        low = await mint(running.port, mid["key"], delegates=True)
        lowest = await mint(running.port, low["key"])
        line = [mid, low, lowest]
        for each in line:
            assert await everywhere(running, each["key"]) == {200}
        path = f"{KEYS}/{mid['id']}"
        answer = await post(running.port, SECRET, None, path=path, method="DELETE")
        assert answer.json["status"] == "revoked"
        for each in line:
            assert await everywhere(running, each["key"]) == {401}
        assert await everywhere(running, SECRET) == {200}
        view = running.view(ORGANISATION)
        await view.until_at_rest()
        await view.close()


async def test_what_the_file_takes_is_gone_for_every_worker(
    folder: Path, provider: Provider
) -> None:
    """The permission, at the next start; what was minted works on until it is revoked."""
    async with comptroller_up(folder, config=config(provider)) as running:
        made = await mint(running.port, SECRET)
    without = config(provider, delegates=False)
    async with comptroller_up(folder, config=without, workers=2) as running:
        answer = await post(running.port, SECRET, {"name": "x"}, path=KEYS)
        assert answer.error["code"] == "delegation_refused"
        assert await everywhere(running, made["key"]) == {200}


async def test_workers_that_are_killed_while_they_mint(folder: Path, provider: Provider) -> None:
    """kill -9 under many mintings: every key whose secret somebody was given works and is listed,
    nothing else that works exists, and what broke off does not keep its minter from minting."""
    async with comptroller_up(folder, config=config(provider), workers=2) as running:
        made: list[dict[str, Any]] = []

        async def one() -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                answer = await post(running.port, SECRET, {"name": "helper"}, path=KEYS)
                if answer.status == 201:
                    made.append(answer.json)

        for _ in range(3):
            before = running.workers()
            minting = [asyncio.create_task(one()) for _ in range(30)]
            await asyncio.wait(minting, return_when=asyncio.FIRST_COMPLETED)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*minting)
            await running.until_replaced(before, 2)
            await running.until_ready()
        assert made
        page = await post(running.port, SECRET, None, path=f"{KEYS}?limit=1000", method="GET")
        listed = {each["id"] for each in page.json["keys"]}
        assert {each["id"] for each in made} <= listed
        for each in made:
            assert (await post(running.port, each["key"], DOCUMENT)).status == 200
        assert await _usable(running.view(ORGANISATION)) <= listed
        await mint(running.port, SECRET)


async def _usable(view: LedgerView) -> set[str]:
    """The ids of minted keys whose secrets work, by what is in the server itself."""
    try:
        return await view.minted_keys()
    finally:
        await view.close()


async def test_secrets_are_in_no_file_and_no_log(folder: Path, provider: Provider) -> None:
    """Data dir (ledger's file, records, logs, spool) and output: neither of a key that works nor of
    one that was revoked; the records say who minted whom."""
    async with comptroller_up(folder, config=config(provider), record=True, admin=True) as running:
        mid = await mint(running.port, SECRET, delegates=True)
        low = await mint(running.port, mid["key"])
        for each in (mid, low):
            assert (await post(running.port, each["key"], DOCUMENT)).status == 200
        path = f"{KEYS}/{low['id']}"
        answer: Answer = await post(running.port, SECRET, None, path=path, method="DELETE")
        assert answer.status == 200
        query = (
            "SELECT groupArray((event_type, key_id, by, triggered_by)) FROM (SELECT * FROM "
            "comptroller.events WHERE by LIKE 'key-%' AND event_type LIKE 'key_%' ORDER BY seq)"
        )

        async def is_recorded() -> bool:
            return len((await recorded(running, query))[0]) == 3

        await until(is_recorded)
        own = "key-planner", f"{ORGANISATION}/research/key-planner"
        assert (await recorded(running, query))[0] == [
            ["key_minted", mid["id"], *own],
            ["key_minted", low["id"], mid["id"], mid["budget_scope"]],
            ["key_revoked", low["id"], *own],
        ]
        for each in (mid, low):
            assert not files_with(running.data_dir, each["key"])
            assert each["key"] not in running.output
    for each in (mid, low):
        assert not files_with(running.data_dir, each["key"])
        assert each["key"] not in running.output
