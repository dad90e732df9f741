"""A key minted with an allotment: money that leaves its minter's budget, and comes back."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from budgets.ledger import LedgerOptions
from pricing import dollars
from tests.gateway.behaviours import drips
from tests.gateway.conftest import MakeStack
from tests.gateway.delegating import KEYS, delete, error_of, listed, mint
from tests.gateway.stack import USAGE_NUSD, Stack

DOLLAR = [{"usd": "1"}]
NUSD = 10**9
WAIT_S_MAX = 15


async def standing(stack: Stack, secret: str, dimension: str = "usd") -> dict[str, Any]:
    """The only limit of a key's own scope in a dimension, as the key sees it, without the bound of
    an allotment."""
    answer = await stack.get(secret, "/v1/budget")
    assert answer.status_code == 200, answer.text
    limits = answer.json()["scopes"][-1]["limits"]
    (found,) = [
        each for each in limits if each["dimension"] == dimension and "allotment" not in each
    ]
    return dict(found)


async def moved(stack: Stack, secret: str) -> tuple[int, int, int]:
    """(spent, allotted, free) of a key's dollars, in nano-dollars."""
    found = await standing(stack, secret)
    return found["spent_nusd"], found["allotted_nusd"], found["free_nusd"]


async def total_allotted(stack: Stack) -> int:
    """Of all counters of the organisation."""
    return sum(allotted for _, _, allotted in (await stack.ledger.counters()).values())


async def refused(stack: Stack, secret: str, **allotment: Any) -> httpx.Response:
    """A minting with an allotment, which leaves nothing."""
    before, known = await stack.ledger.state(), await listed(stack, secret)
    answer = await stack.call(secret, {"name": "x", "allotment": allotment}, KEYS)
    assert answer.status_code in (402, 429), answer.text
    assert await stack.ledger.state() == before
    assert await listed(stack, secret) == known
    return answer


async def test_money_is_moved_and_comes_back_when_the_key_is_revoked(stack: Stack) -> None:
    """It is gone from the minter while the key lives, whatever is spent of it; afterwards only what
    was spent is. The key ends with it, and its secret is nowhere shown again."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    made = await mint(stack, secret, allotment={"usd": "0.60", "expires_in": "1h"})
    assert made["allotment"] == {"usd": "0.60"}
    assert made["budget"] == [{"usd": "0.60", "window": "total"}]
    assert made["expires_at_ms"] == made["created_at_ms"] + 3_600_000
    assert await moved(stack, secret) == (0, 600_000_000, 400_000_000)
    assert (await stack.chat(made["key"])).status_code == 200
    assert await moved(stack, secret) == (0, 600_000_000, 400_000_000)
    assert (await delete(stack, secret, made["id"])).status_code == 200
    assert await moved(stack, secret) == (USAGE_NUSD, 0, NUSD - USAGE_NUSD)
    error_of(await stack.chat(made["key"]), 401, "invalid_api_key")
    await stack.ledger.at_rest()


async def test_a_key_with_an_allotment_has_it_and_no_more(stack: Stack) -> None:
    """Not less, where nothing is left of its minter's budget; not more, where that has plenty."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    made = await mint(stack, secret, allotment={"usd": "0.60", "expires_in": "1h"})
    small = await mint(stack, secret, allotment={"usd": "0.00000001", "expires_in": "1h"})
    error = error_of(await stack.chat(small["key"]), 402, "budget_exceeded")
    assert small["budget_scope"] in error["message"]
    below = stack.keys[secret].key_scope.partition("/")[2]
    await stack.set_budget(below, {"limits": [{"usd": "0.60000001"}], "kind": "key"})
    assert (await stack.chat(secret)).status_code == 429
    assert (await stack.chat(made["key"])).status_code == 200
    await stack.ledger.endings(1)


async def test_what_a_budget_does_not_have_is_not_moved(stack: Stack) -> None:
    """Larger than the limit, or spent: 402; held by another allotment: 429. Nothing is written, no
    key is listed, and the same call goes well when the money is back."""
    secret = await stack.key(budget=[{"usd": "1"}, {"tokens": 1_000_000}], delegates=True)
    error = error_of(
        await refused(stack, secret, usd="1.01", expires_in="1h"), 402, "budget_exceeded"
    )
    assert error["reason"] == "request_too_large"
    assert "$1.01 asked" in error["message"]
    assert "input" not in error["message"]
    assert (await stack.chat(secret)).status_code == 200
    error = error_of(
        await refused(stack, secret, usd="1.00", expires_in="1h"), 402, "budget_exceeded"
    )
    assert error["reason"] == "exhausted"
    first = await mint(stack, secret, allotment={"usd": "0.6", "tokens": 9, "expires_in": "1h"})
    assert first["allotment"] == {"usd": "0.60", "tokens": 9}
    for amounts in ({"usd": "0.5"}, {"tokens": 999_980}):
        answer = await refused(stack, secret, **amounts, expires_in="1h")
        error = answer.json()["error"]
        assert (error["code"], error["reason"]) == ("rate_limit_exceeded", "held")
        assert "The rest is held or allotted" in error["message"]
        assert int(answer.headers["retry-after"]) >= 1
    await delete(stack, secret, first["id"])
    await mint(stack, secret, allotment={"usd": "0.5", "expires_in": "1h"})


async def test_two_that_ask_for_the_last_money_at_once(stack: Stack) -> None:
    """However many: as many get it as there is for, the others leave no key that works and hold
    nothing."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    body = {"name": "x", "allotment": {"usd": "0.4", "expires_in": "1h"}}
    answers = await asyncio.gather(*(stack.call(secret, body, KEYS) for _ in range(12)))
    statuses = [each.status_code for each in answers]
    assert statuses.count(201) == 2
    assert set(statuses) == {201, 429}
    assert await moved(stack, secret) == (0, 800_000_000, 200_000_000)
    active = [each for each in await listed(stack, secret) if each["status"] == "active"]
    assert {each["id"] for each in active} == {
        each.json()["id"] for each in answers if each.status_code == 201
    }


@pytest.mark.parametrize("how", ["expires", "minter revoked", "middle revoked"])
async def test_money_comes_back_through_a_line_of_keys(make_stack: MakeStack, how: str) -> None:
    """An allotment out of an allotment: when one ends, what is below it ends first, and each place
    has what it had but for what was spent."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=600))
    await stack.set_budget("research", [{"usd": "2"}])
    secret = await stack.key(budget=DOLLAR, delegates=True)
    lasts = "2s" if how == "expires" else "1h"
    mid = await mint(stack, secret, allotment={"usd": "0.6", "expires_in": lasts}, delegates=True)
    low = await mint(stack, mid["key"], allotment={"usd": "0.2"})
    assert low["expires_at_ms"] == mid["expires_at_ms"]
    assert (await stack.chat(low["key"])).status_code == 200
    assert (await moved(stack, mid["key"]))[1:] == (200_000_000, 400_000_000)
    assert (await moved(stack, secret))[1:] == (600_000_000, 400_000_000)
    watcher = await stack.key()
    if how == "minter revoked":
        await stack.keyring.revoke(stack.keys[secret])
    elif how == "middle revoked":
        await delete(stack, secret, mid["id"])
    async with asyncio.timeout(WAIT_S_MAX):
        while await total_allotted(stack):  # noqa: ASYNC110  # the sweeper tells nobody
            await asyncio.sleep(0.05)
    scopes = (await stack.get(watcher, "/v1/budget")).json()["scopes"]
    assert scopes[1]["limits"][0]["spent"] == dollars(USAGE_NUSD)
    for each in (mid, low):
        error_of(await stack.chat(each["key"]), 401, "invalid_api_key")
    await stack.ledger.until_at_rest()


async def test_a_stream_in_a_revoked_key_is_awaited_and_booked(make_stack: MakeStack) -> None:
    """What it has spent is charged to the minter, and the rest comes back when it has ended."""
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=600))
    secret = await stack.key(budget=DOLLAR, delegates=True)
    made = await mint(stack, secret, allotment={"usd": "0.6", "expires_in": "1h"})
    stack.provider.behaviour = drips(interval_ms=50)
    headers = {"authorization": f"Bearer {made['key']}"}
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with stack.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=headers
    ) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await delete(stack, secret, made["id"])
        assert (await moved(stack, secret))[1] == 600_000_000
        async with asyncio.timeout(WAIT_S_MAX):
            async for _ in lines:
                pass
    await stack.ledger.until_at_rest()
    spent, allotted, free = await moved(stack, secret)
    assert 0 < spent < 600_000_000
    assert (allotted, free) == (0, NUSD - spent)


async def test_an_allotment_needs_an_end(stack: Stack) -> None:
    """Its own, that of the key, or that of the minter; the sooner one is that of both."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    answer = await stack.call(secret, {"name": "x", "allotment": {"usd": "0.1"}}, KEYS)
    error = error_of(answer, 400, "invalid_request_error")
    assert error["param"] == "allotment.expires_in"
    for own, its in (("10m", None), (None, "10m"), ("10m", "1h"), ("1h", "10m")):
        made = await mint(
            stack, secret, expires_in=own, allotment={"usd": "0.1", "expires_in": its}
        )
        assert made["expires_at_ms"] == made["created_at_ms"] + 600_000


async def test_a_budget_beside_an_allotment(stack: Stack) -> None:
    """Both hold; of two totals the lower one is the key's."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    budget = [{"usd": "0.3"}, {"requests": 1}, {"usd": "0.2", "window": "day"}]
    made = await mint(
        stack, secret, budget=budget, allotment={"usd": "0.4", "tokens": 50_000}, expires_in="1h"
    )
    assert sorted(made["budget"], key=str) == sorted(
        [
            {"usd": "0.30", "window": "total"},
            {"usd": "0.20", "window": "day"},
            {"requests": 1, "window": "total"},
            {"tokens": 50_000, "window": "total"},
        ],
        key=str,
    )
    assert (await stack.chat(made["key"])).status_code == 200
    error_of(await stack.chat(made["key"]), 402, "budget_exceeded")
    made = await mint(
        stack, secret, budget=[{"usd": "0.5"}], allotment={"usd": "0.4"}, expires_in="1h"
    )
    assert made["budget"] == [{"usd": "0.40", "window": "total"}]


async def test_who_moved_what_is_in_the_log(stack: Stack) -> None:
    """Opening and end: by which key, to which, how much."""
    secret = await stack.key(budget=DOLLAR, delegates=True)
    made = await mint(stack, secret, allotment={"usd": "0.6", "tokens": 10, "expires_in": "1h"})
    await delete(stack, secret, made["id"])
    own = stack.keys[secret]
    events = [
        (each.kind, json.loads(each.event))
        for each in await stack.ledger.outbox()
        if each.kind.startswith("allotment_")
    ]
    assert [kind for kind, _ in events] == ["allotment_opened", "allotment_closed"]
    for _, event in events:
        assert event == {
            "scope": made["budget_scope"],
            "by": own.id,
            "triggered_by": own.key_scope,
            "key_id": made["id"],
            "expires_at_ms": made["expires_at_ms"],
            "allotted_nusd": 600_000_000,
            "allotted_tokens": 10,
        }
