"""A key with permission mints narrower keys: what they are, what binds them, and how they end."""

import asyncio
import json
import time
from typing import Any

import httpx
import openai
import pytest

from budgets.ledger import LedgerOptions
from gateway.options import GatewayOptions
from tests.gateway.behaviours import drips
from tests.gateway.conftest import MakeStack
from tests.gateway.delegating import FIELDS, delete, error_of, listed, mint
from tests.gateway.stack import USAGE_NUSD, Stack

DOLLAR = [{"usd": "1"}]
HOUR_MS = 3_600_000
USAGE_USD = f"0.{USAGE_NUSD:09d}"


async def minter(stack: Stack, budget: object = DOLLAR, **more: Any) -> str:
    """The secret of an operator's key that delegates."""
    return await stack.key(budget=budget, delegates=True, **more)


async def test_what_is_left_out_is_as_the_minter_has_it(stack: Stack) -> None:
    """Scope below its own, models, endpoints, expiry, agent, tags, fences; no permission to mint,
    no budget of its own. It works, and the list shows it without its secret."""
    ends_ms = int(time.time() * 1000) + HOUR_MS
    fence = ((stack.scope("research"), 3),)
    secret = await minter(
        stack,
        models=("plain", "demo/*"),
        endpoints=("/v1/chat/*", "/v1/keys*", "/v1/models"),
        expires_at_ms=ends_ms,
        agent="planner",
        tags={"team": "a"},
        attempts=fence,
    )
    await stack.administration.set_state(fence[0][0], "fence", "step_started", b"{}", attempt=3)
    made = await mint(stack, secret)
    own = stack.keys[secret]
    assert made["scope"] == own.key_scope
    assert made["budget_scope"] == f"{own.key_scope}/{made['id']}"
    assert made["models"] == ["plain", "demo/*"]
    assert made["endpoints"] == ["/v1/chat/*", "/v1/keys*", "/v1/models"]
    assert (made["expires_at_ms"], made["agent"], made["tags"]) == (
        *(ends_ms, "planner"),
        {"team": "a"},
    )
    assert (made["delegates"], made["budget"], made["minted_by"]) == (False, [], own.id)
    assert (await stack.chat(made["key"])).status_code == 200
    assert (await stack.chat(made["key"], "dear")).status_code == 403
    found = await stack.keyring.find(made["key"].encode())
    assert found is not None
    assert found[0].attempts == fence
    (shown,) = await listed(stack, secret)
    assert shown == {name: made[name] for name in FIELDS}
    await stack.ledger.at_rest()


async def test_all_that_can_be_asked_for(stack: Stack) -> None:
    """A scope below, fewer models and endpoints, an earlier end, limits, another agent, tags
    beside those of the minter, the permission; and each of it holds."""
    secret = await minter(stack, models=("plain", "demo/*"), tags={"team": "a"})
    scope = f"{stack.keys[secret].key_scope}/run-1"
    budget = [{"usd": "0.5", "window": "day"}, {"requests": 2}, {"concurrency": 3}]
    made = await mint(
        stack,
        secret,
        scope=scope,
        models=["demo/small", "demo/l*"],
        endpoints=["/v1/chat/completions"],
        expires_in="10m",
        budget=budget,
        agent="helper-bot",
        tags={"task": "b"},
        delegates=True,
    )
    assert (made["scope"], made["models"]) == (scope, ["demo/small", "demo/l*"])
    assert made["expires_at_ms"] == made["created_at_ms"] + 600_000
    assert (made["agent"], made["tags"]) == ("helper-bot", {"team": "a", "task": "b"})
    assert made["budget"] == [
        {"usd": "0.50", "window": "day"},
        {"requests": 2, "window": "total"},
        {"concurrency": 3},
    ]
    for model, status in (("demo/small", 200), ("plain", 403), ("demo/small", 200)):
        assert (await stack.chat(made["key"], model)).status_code == status
    assert (await stack.get(made["key"], "/v1/models")).status_code == 403
    third = await stack.chat(made["key"], "demo/small")
    assert (third.status_code, third.json()["error"]["reason"]) == (402, "exhausted")
    assert made["budget_scope"] in third.json()["error"]["message"]
    await stack.ledger.at_rest()


async def test_both_budgets_bind_a_minted_key_with_openais_own_library(stack: Stack) -> None:
    """Its own limit, its minter's, and that of its siblings' spending: whichever is first. The
    library makes one request for one refusal."""
    secret = await minter(stack, [{"requests": 3}])
    mine = await mint(stack, secret, budget=[{"requests": 2}])
    other = await mint(stack, secret, budget=[{"usd": "5"}])

    async def ask(key: str) -> str:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=stack.base_url, api_key=key, http_client=http
        ) as client:
            answer = await client.chat.completions.create(
                model="plain", messages=[{"role": "user", "content": "hello there"}]
            )
            return answer.choices[0].message.content or ""

    for _ in range(2):
        assert await ask(mine["key"])
    with pytest.raises(openai.APIStatusError) as own:
        await ask(mine["key"])
    assert mine["budget_scope"] in own.value.message
    assert await ask(other["key"])
    with pytest.raises(openai.APIStatusError) as above:
        await ask(other["key"])
    assert f"budget of {stack.keys[secret].key_scope} (3 requests)" in above.value.message
    assert (own.value.status_code, above.value.status_code) == (402, 402)
    assert len(stack.provider.received) == 3
    await stack.ledger.at_rest()


async def test_a_minted_key_may_mint_below_itself_if_it_was_asked_for(stack: Stack) -> None:
    """Grandchildren: spending counts at each of the line; each sees what comes from it, and
    revoking the one in the middle ends it and all below, although they are in a cache."""
    secret = await minter(stack)
    mid = await mint(stack, secret, delegates=True, name="mid")
    low = await mint(stack, mid["key"], name="low")
    aside = await mint(stack, secret, name="aside")
    assert low["scope"] == mid["budget_scope"]
    assert low["minted_by"] == mid["id"]
    assert (await stack.chat(low["key"])).status_code == 200
    budget = (await stack.get(low["key"], "/v1/budget")).json()["scopes"]
    assert [each["scope"].count("/") for each in budget] == [0, 1, 2, 3, 4]
    assert budget[2]["limits"][0]["spent"] == USAGE_USD.rstrip("0")
    assert {each["name"] for each in await listed(stack, secret)} == {"mid", "low", "aside"}
    assert [each["name"] for each in await listed(stack, mid["key"])] == ["low"]

    answer = await delete(stack, secret, mid["id"])
    assert (answer.status_code, answer.json()["status"]) == (200, "revoked")
    for each, says in ((mid, "this key was revoked"), (low, "a key that this one comes from")):
        error = error_of(await stack.chat(each["key"]), 401, "invalid_api_key")
        assert says in error["message"]
        error_of(await stack.call(each["key"], {"name": "x"}, "/v1/keys"), 401, "invalid_api_key")
    assert (await stack.chat(aside["key"])).status_code == 200
    states = {each["name"]: each["status"] for each in await listed(stack, secret)}
    assert states == {"mid": "revoked", "low": "revoked", "aside": "active"}
    again = await delete(stack, secret, mid["id"])
    assert (again.status_code, again.json()) == (200, answer.json())
    await stack.ledger.at_rest()


async def test_revoking_the_minter_ends_all_that_come_from_it(stack: Stack) -> None:
    """By an operator, at their very next call; and a rotation that ends all of its secrets at once
    ends them, too, while one with an overlap does not."""
    secret = await minter(stack, secret_sha256="0" * 64)
    made = await mint(stack, secret, delegates=True)
    low = await mint(stack, made["key"])
    own = stack.keys[secret]
    slowly = await stack.keyring.rotate(own, "ck-second-secret-of-it", 60_000)
    assert (await stack.chat(low["key"])).status_code == 200
    at_once = await stack.keyring.rotate(slowly, "ck-third-secret-of-it", 0)
    for each in (made, low):
        error_of(await stack.chat(each["key"]), 401, "invalid_api_key")
    later = await mint(stack, "ck-third-secret-of-it")
    assert (await stack.chat(later["key"])).status_code == 200
    statuses = {each["id"]: each["status"] for each in await listed(stack, "ck-third-secret-of-it")}
    assert statuses == {made["id"]: "revoked", low["id"]: "revoked", later["id"]: "active"}
    await stack.keyring.revoke(at_once)
    error_of(await stack.chat(later["key"]), 401, "invalid_api_key")
    await stack.ledger.at_rest()


async def test_a_stream_is_cut_when_a_minter_of_its_key_is_revoked(make_stack: MakeStack) -> None:
    """At the next heartbeat, as for the key itself."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=600))
    secret = await minter(stack)
    made = await mint(stack, secret)
    stack.provider.behaviour = drips(interval_ms=50)
    headers = {"authorization": f"Bearer {made['key']}"}
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with stack.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=headers
    ) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        await stack.keyring.revoke(stack.keys[secret])
        async with asyncio.timeout(10):
            rest = [line async for line in lines]
    assert "data: [DONE]" not in rest
    await stack.ledger.until_at_rest()


async def test_who_minted_whom_is_in_the_log(stack: Stack) -> None:
    """`by` is the id of the key that did it, `triggered_by` its own scope, for minting, for the
    budget that comes with it, and for revoking."""
    secret = await minter(stack)
    mid = await mint(stack, secret, delegates=True)
    low = await mint(stack, mid["key"], budget=DOLLAR, agent="bot")
    await delete(stack, secret, low["id"])
    events = [(each.kind, json.loads(each.event)) for each in await stack.ledger.outbox()][2:]
    own = stack.keys[secret]
    assert [(kind, event["by"], event["triggered_by"]) for kind, event in events] == [
        ("budget_changed", own.id, own.key_scope),
        ("key_minted", own.id, own.key_scope),
        ("budget_changed", mid["id"], mid["budget_scope"]),
        ("key_minted", mid["id"], mid["budget_scope"]),
        ("key_revoked", own.id, own.key_scope),
    ]
    assert [event.get("key_id") for _, event in events] == [
        *(None, mid["id"], None, low["id"], low["id"])
    ]
    assert events[3][1]["agent"] == "bot"
    assert low["key"] not in repr(events)


async def test_lists_come_in_pages(stack: Stack) -> None:
    """Every key once, whatever the size of a page."""
    secret = await minter(stack)
    ids = sorted([(await mint(stack, secret))["id"] for _ in range(5)])
    for size in (1, 2, 5, 100):
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = (await stack.get(secret, f"/v1/keys?limit={size}&after={after}")).json()
            found += [each["id"] for each in page["keys"]]
            after = page["next"]
        assert found == ids
    for query in (
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=%D9%A1",
        "after=%00",
        "&".join("a" * 9),
    ):
        answer = await stack.get(secret, f"/v1/keys?{query}")
        assert answer.status_code == (200 if query[1] == "&" else 400), query


async def test_a_key_that_expires_is_shown_so_and_ends(make_stack: MakeStack) -> None:
    """The gateway's clock judges it."""
    stack = await make_stack(GatewayOptions())
    secret = await minter(stack)
    made = await mint(stack, secret, expires_in="1ms")
    await asyncio.sleep(0.01)  # a clock has no event
    assert "expired" in error_of(await stack.chat(made["key"]), 401, "invalid_api_key")["message"]
    (shown,) = await listed(stack, secret)
    assert shown["status"] == "expired"


async def test_a_frozen_minter_mints_nothing_and_its_keys_wait(stack: Stack) -> None:
    """A freeze holds for all below, and is over when it is over."""
    secret = await minter(stack)
    made = await mint(stack, secret)
    await stack.set_state(stack.keys[secret].key_scope.partition("/")[2], "freeze")
    answers: list[httpx.Response] = [
        await stack.call(secret, {"name": "x"}, "/v1/keys"),
        await stack.get(secret, "/v1/keys"),
        await delete(stack, secret, made["id"]),
        await stack.chat(made["key"]),
    ]
    for answer in answers:
        assert error_of(answer, 402, "budget_exceeded")["reason"] == "frozen"
    await stack.set_state(stack.keys[secret].key_scope.partition("/")[2], "thaw")
    assert (await stack.chat(made["key"])).status_code == 200
