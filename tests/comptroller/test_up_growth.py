"""The whole product as people start it: what has left its ledger comes back over the records'
HTTP, at a request, at an act, and at the next start."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import Running, comptroller_up

SECRETS = {name: f"ck-{name}-0123456789abcdef0123" for name in ("short", "gone", "lasting")}
GONE_S_MAX = 40
TOKEN = {"COMPTROLLER_ADMIN_TOKEN": "a-token-of-the-tests-0123456789"}
QUICK = {**TOKEN, "COMPTROLLER_COMPACT_EVERY_MS": "100", "COMPTROLLER_REST_MS": "1000"}


def _config() -> dict[str, object]:
    keys = [
        {"name": name, "scope": f"acme/{name}-team", "secret": secret, "budget": [{"usd": "1.00"}]}
        for name, secret in SECRETS.items()
    ]
    keys[0]["expires_in"] = "6s"
    return {"keys": keys, "budgets": {"acme": [{"usd": "9.00"}]}}


async def _call(running: Running, name: str) -> httpx.Response:
    document = {"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
        return await client.post(
            "/v1/chat/completions",
            json=document,
            headers={"authorization": f"Bearer {SECRETS[name]}"},
            timeout=20,
        )


async def _act(running: Running, method: str, path: str, **more: Any) -> httpx.Response:
    url = (running.data_dir / "admin.url").read_text(encoding="ascii")
    headers = {"authorization": f"Bearer {TOKEN['COMPTROLLER_ADMIN_TOKEN']}"}
    async with (
        asyncio.timeout(GONE_S_MAX),
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        while True:
            answer = await client.request(method, path, timeout=20, **more)
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.1)  # records that are slow to answer say: try again


async def _until_gone(running: Running, view: LedgerView, *scopes: str) -> None:
    """Somebody works on meanwhile: seqs and snapshots go on with events."""
    async with asyncio.timeout(GONE_S_MAX):
        fields = [f"s:{scope}" for scope in scopes]
        while any(await view._redis.hmget(view._key("ledger"), fields)):
            await _call(running, "lasting")
            await asyncio.sleep(0.1)


async def test_expired_and_revoked_keys_leave_and_stay_what_they_are(folder: Path) -> None:
    """Their scopes, budgets and entries leave the ledger while it serves. At the next start the
    file declares them again: the recorder is asked, the one has still expired and the other is
    still revoked; what each has spent is found to the nano-dollar."""
    short, gone = "acme/short-team/key-short", "acme/gone-team/key-gone"
    async with comptroller_up(
        folder, config=_config(), record=True, admin=True, environment=QUICK
    ) as running:
        for name in SECRETS:
            assert (await _call(running, name)).status_code == 200
        shown = await _act(running, "GET", "/v1/budgets", params={"scope": short})
        spent = shown.json()["limits"][0]["spent"]
        assert float(spent) > 0
        revoked = await _act(running, "DELETE", "/v1/keys/key-gone")
        assert revoked.json()["status"] == "revoked"
        view = running.view("acme")
        await _until_gone(running, view, short, gone, "acme/short-team", "acme/gone-team")
        assert (await _act(running, "GET", "/v1/keys/key-gone")).status_code == 404
        refused = await _call(running, "short")
        assert refused.status_code == 401
        again = await _act(running, "GET", "/v1/budgets", params={"scope": short})
        assert again.json()["limits"][0]["spent"] == spent
        closed = await _act(running, "GET", "/v1/budgets", params={"scope": gone})
        assert closed.json()["state"] == "closed"
        await _until_gone(running, view, short, gone)
        await view.close()
    async with comptroller_up(
        folder, config=_config(), record=True, admin=True, environment=TOKEN
    ) as running:
        assert (await _call(running, "short")).status_code == 401
        assert (await _call(running, "gone")).status_code == 401
        assert (await _call(running, "lasting")).status_code == 200
        shown = await _act(running, "GET", "/v1/keys/key-short")
        assert shown.json()["status"] == "expired"
        again = await _act(running, "GET", "/v1/budgets", params={"scope": short})
        assert again.json()["limits"][0]["spent"] == spent
