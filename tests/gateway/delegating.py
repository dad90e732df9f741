"""How the tests of delegation mint: calls that must succeed, or be refused as they should."""

from typing import Any

import httpx

from tests.gateway.stack import Stack

KEYS = "/v1/keys"
FIELDS = {
    *("id", "name", "scope", "budget_scope", "status", "minted_by", "models", "endpoints"),
    *("agent", "tags", "delegates", "subscopes", "created_at_ms", "expires_at_ms"),
}


async def mint(stack: Stack, secret: str, **fields: Any) -> dict[str, Any]:
    """A key minted by this one: the answer, with its secret in `key`."""
    answer = await stack.call(secret, {"name": "helper", **fields}, KEYS)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.json()
    assert set(made) == {*FIELDS, "key", "budget", "allotment"}
    return made


async def listed(stack: Stack, secret: str, query: str = "") -> list[dict[str, Any]]:
    """The keys below this one."""
    answer = await stack.get(secret, f"{KEYS}{query}")
    assert answer.status_code == 200, answer.text
    keys: list[dict[str, Any]] = answer.json()["keys"]
    assert all(set(each) == FIELDS for each in keys)
    return keys


async def delete(stack: Stack, secret: str, key_id: str) -> httpx.Response:
    """DELETE /v1/keys/{id}."""
    headers = {"authorization": f"Bearer {secret}"}
    return await stack.client.delete(f"{KEYS}/{key_id}", headers=headers)


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error, which must be this one, in OpenAI's shape, and not to be retried."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert (error["code"], answer.headers["x-should-retry"]) == (code, "false"), error
    return error
