"""GET /v1/budget: what a key reads of its own budget is what the ledger has."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.gateway.behaviours import answers, held
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.stack import Stack

MONEY = ("limit", "spent", "reserved", "allotted", "free")


async def scopes_of(stack: Stack, secret: str) -> list[dict[str, Any]]:
    """The scopes in the answer."""
    answer = await stack.get(secret, "/v1/budget")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert set(document) == {"scopes"}
    found: list[dict[str, Any]] = document["scopes"]
    return found


async def test_every_scope_above_the_key_is_there_top_down(stack: Stack) -> None:
    """Organisation first, the key's own scope last, each with its state and limits."""
    secret = await stack.key("research/nightly", [{"usd": "1"}])
    await stack.set_budget("", [{"tokens": 1_000, "window": "month"}])
    scopes = await scopes_of(stack, secret)
    below = stack.scope("research/nightly")
    expected = [stack.organisation, stack.scope("research"), below, f"{below}/key-1"]
    assert [each["scope"] for each in scopes] == expected
    assert {each["state"] for each in scopes} == {"open"}
    assert [len(each["limits"]) for each in scopes] == [1, 0, 0, 1]


async def test_money_is_exact_in_dollars_and_nano_dollars(stack: Stack) -> None:
    """For usd each amount is a decimal string of dollars, and an integer of nano-dollars beside."""
    secret = await stack.key(budget=[{"usd": "0.123456789", "window": "total"}])
    await stack.chat(secret)
    limit = (await scopes_of(stack, secret))[-1]["limits"][0]
    spent = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
    assert limit["dimension"] == "usd"
    assert limit["window"] == "total"
    assert limit["limit_nusd"] == 123_456_789
    assert limit["spent_nusd"] == spent
    assert (limit["reserved_nusd"], limit["allotted_nusd"]) == (0, 0)
    assert limit["free_nusd"] == 123_456_789 - spent
    for name in MONEY:
        assert isinstance(limit[name], str)
        assert Decimal(limit[name]) * 10**9 == limit[f"{name}_nusd"]
    assert limit["resets_at"] is None
    await stack.ledger.at_rest()


async def test_other_dimensions_are_plain_numbers(stack: Stack) -> None:
    """Tokens, requests and concurrency are integers, with the end of their window."""
    budget = [
        {"tokens": 50_000, "window": "day"},
        {"requests": 5, "window": "hour", "models": ["plain", "demo/*"]},
        {"concurrency": 2},
    ]
    secret = await stack.key(budget=budget)
    await stack.chat(secret)
    tokens, requests, concurrency = (await scopes_of(stack, secret))[-1]["limits"]
    assert [tokens[name] for name in MONEY] == [50_000, 18, 0, 0, 50_000 - 18]
    assert [requests[name] for name in MONEY] == [5, 1, 0, 0, 4]
    assert [concurrency[name] for name in MONEY] == [2, 0, 0, 0, 2]
    assert sorted(requests["models"]) == ["demo/*", "plain"]
    assert requests["window"] == "hour"
    now_ms = datetime.now(UTC).timestamp() * 1000
    assert 0 <= requests["resets_at"] - now_ms <= 3_600_000
    assert 0 <= tokens["resets_at"] - now_ms <= 86_400_000


async def test_what_is_in_flight_shows_as_reserved(stack: Stack) -> None:
    """While a request runs its ceiling is reserved, and free is what others may still take."""
    secret = await stack.key(budget=[{"usd": "1"}, {"concurrency": 3}])
    reserved = (await stack.quote(secret, max_tokens=100))["reserved_nusd"]
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    call = asyncio.create_task(stack.chat(secret, max_tokens=100))
    await stack.provider.arrivals(1)
    usd, concurrency = (await scopes_of(stack, secret))[-1]["limits"]
    assert (usd["spent_nusd"], usd["reserved_nusd"]) == (0, reserved)
    assert usd["free_nusd"] == 10**9 - reserved
    assert (concurrency["reserved"], concurrency["free"]) == (1, 2)
    gate.set()
    await call
    usd, concurrency = (await scopes_of(stack, secret))[-1]["limits"]
    assert (usd["reserved_nusd"], concurrency["reserved"]) == (0, 0)
    await stack.ledger.at_rest()


async def test_a_template_shows_on_the_child(stack: Stack) -> None:
    """A child of a scope with `per_child` reads the template's limits with its own counters."""
    await stack.set_budget("users", {"per_child": [{"requests": 7}]})
    secret = await stack.key("users/ann")
    await stack.chat(secret)
    other = await stack.key("users/bob")
    for each, spent in ((secret, 1), (other, 0)):
        by_scope = {scope["scope"]: scope["limits"] for scope in await scopes_of(stack, each)}
        name = "users/ann" if each == secret else "users/bob"
        (limit,) = by_scope[stack.scope(name)]
        assert (limit["limit"], limit["spent"]) == (7, spent)


async def test_reading_changes_nothing(stack: Stack) -> None:
    """Budgets can be read at any rate: no event, no counter."""
    secret = await stack.key(budget=[{"requests": 1}])
    await scopes_of(stack, secret)
    before = await stack.ledger.state()
    for _ in range(20):
        await scopes_of(stack, secret)
    assert await stack.ledger.state() == before
