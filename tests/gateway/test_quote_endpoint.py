"""POST /v1/quote: what a call would reserve and whether it would be granted, not sent."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.options import GatewayOptions
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.stack import GREETING, Stack


async def test_a_quote_is_what_the_call_then_reserves(stack: Stack) -> None:
    """Over different requests the quoted ceiling is the reservation, to the nano-dollar."""
    secret = await stack.key(budget=[{"usd": "1"}])
    requests: list[dict[str, Any]] = [
        {},
        {"max_tokens": 1},
        {"max_completion_tokens": 500, "n": 3},
        {"messages": [{"role": "user", "content": "caf\u00e9 \u2603" * 50}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [1]}}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"stream": True, "max_tokens": 40},
    ]
    for number, fields in enumerate(requests):
        quoted = await stack.quote(secret, **fields)
        assert quoted["fits"] is True
        answer = await stack.chat(secret, **fields)
        assert answer.status_code == 200
        asked = (await stack.ledger.requests())[number]
        assert int(asked.counters[2]) == quoted["reserved_nusd"]
        assert Decimal(answer.headers["x-comptroller-reserved-usd"]) == Decimal(
            str(quoted["reserved_usd"])
        )
        assert stack.provider.last.cap == quoted["output_tokens_max"]
    await stack.ledger.at_rest()


async def test_the_shape_of_a_quote(stack: Stack) -> None:
    """The documented fields and no others; the ceiling is input and output at their rates."""
    secret = await stack.key(budget=[{"usd": "1"}])
    quoted = await stack.quote(secret, max_tokens=100)
    fields = {"reserved_usd", "reserved_nusd", "input_tokens_max", "output_tokens_max"}
    assert set(quoted) == fields | {"fits", "scope"}
    assert isinstance(quoted["reserved_usd"], str)
    assert Decimal(quoted["reserved_usd"]) * 10**9 == quoted["reserved_nusd"]
    assert quoted["output_tokens_max"] == 100
    assert quoted["input_tokens_max"] >= len(GREETING[0]["content"])
    ceiling = quoted["input_tokens_max"] * INPUT_NUSD + 100 * OUTPUT_NUSD
    assert quoted["reserved_nusd"] == ceiling


async def test_a_quote_sends_and_changes_nothing(stack: Stack) -> None:
    """Nothing reaches the provider, no event is written, no counter moves."""
    secret = await stack.key(budget=[{"usd": "1"}, {"requests": 1}])
    await stack.quote(secret)
    before = await stack.ledger.state()
    for _ in range(10):
        await stack.quote(secret)
    assert await stack.ledger.state() == before
    assert stack.provider.received == []


async def test_the_tightest_scope_is_named(stack: Stack) -> None:
    """`scope` is that of the limit that binds."""
    secret = await stack.key("research/nightly", [{"usd": "5"}])
    await stack.set_budget("research", [{"usd": "0.0022"}])
    quoted: dict[str, Any] = await stack.quote(secret, max_tokens=8_000)
    assert quoted["scope"] == stack.scope("research")
    assert quoted["fits"] is True
    assert quoted["output_tokens_max"] < 1_100
    await stack.set_budget("research", [{"usd": "5"}])
    await stack.set_budget("", [{"usd": "0.0022"}])
    quoted = await stack.quote(secret, max_tokens=8_000)
    assert quoted["scope"] == stack.organisation


@pytest.mark.parametrize("on_exceed", ["clamp", "refuse"])
async def test_a_quote_says_why_not(make_stack: MakeStack, on_exceed: str) -> None:
    """`fits: false` has the reason that the call would be refused with."""
    stack = await make_stack(GatewayOptions(wait_ms=50))
    secret = await stack.key()

    async def reason(**fields: Any) -> object:
        quoted: dict[str, Any] = await stack.quote(secret, **fields)
        assert quoted["fits"] is False
        answer = await stack.chat(secret, **fields)
        assert answer.json()["error"]["reason"] == quoted["reason"]
        return quoted["reason"]

    document = {"limits": [{"usd": "0.005"}], "on_exceed": on_exceed}
    await stack.set_budget("research", document)
    long = [{"role": "user", "content": "x" * 6_000}]
    assert await reason(messages=long) == "request_too_large"
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers(prompt=0, completion=1_900))
    call = asyncio.create_task(stack.chat(secret, max_tokens=1_900))
    await stack.provider.arrivals(1)
    assert await reason(max_tokens=1_900) == "held"
    gate.set()
    assert (await call).status_code == 200
    assert await reason(max_tokens=1_900) == "exhausted"
    await stack.ledger.at_rest()


async def test_a_quote_fits_exactly_where_the_call_is_granted(stack: Stack) -> None:
    """Around the edge of a budget quote and call agree, in dollars and in tokens."""
    secret = await stack.key()
    exact = await stack.quote(secret, max_tokens=500)
    tokens = exact["input_tokens_max"] + 500
    for amount, fits in ((tokens - 1, False), (tokens, True)):
        document = {"limits": [{"tokens": amount}], "on_exceed": "refuse"}
        await stack.set_budget("research", document)
        quoted = await stack.quote(secret, max_tokens=500)
        assert quoted["fits"] is fits
        before = len(stack.provider.received)
        await stack.chat(secret, max_tokens=500)
        assert (len(stack.provider.received) == before + 1) is fits
    await stack.ledger.at_rest()


async def test_a_quote_is_for_the_endpoint_that_is_named(stack: Stack) -> None:
    """Chat completions by default; one that does not exist is a 400 that names those that do."""
    secret = await stack.key(budget=[{"usd": "1"}])
    body = {"model": "plain", "messages": GREETING}
    quoted = [
        await stack.call(secret, body, path)
        for path in ("/v1/quote", "/v1/quote?endpoint=/v1/chat/completions")
    ]
    assert quoted[0].json() == quoted[1].json()
    refused = await stack.call(secret, body, "/v1/quote?endpoint=/v1/nothing")
    assert refused.status_code == 400
    assert "/v1/chat/completions" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "endpoint"
