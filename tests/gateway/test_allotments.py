"""What a caller sees of money that was moved: in its budget, in refusals, and when it is closed."""

import asyncio
import time
from typing import Any

from budgets.allotments import Allotment
from gateway.options import GatewayOptions
from gateway.refusals import HELD_RETRY_AFTER_S_MAX
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack

DAY_MS = 86_400_000
COST_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD


async def allot(stack: Stack, scope: str, nusd: int) -> Allotment:
    """Moves nano-dollars to a scope for a day."""
    expires_at_ms = time.time_ns() // 10**6 + DAY_MS
    opening = stack.administration.allot(stack.scope(scope), {"usd": nusd}, expires_at_ms, b"{}")
    allotment = await opening
    assert isinstance(allotment, Allotment), allotment
    return allotment


async def limits_of(stack: Stack, secret: str) -> dict[str, list[dict[str, Any]]]:
    """The limits in GET /v1/budget, by scope below the organisation."""
    document = (await stack.get(secret, "/v1/budget")).json()
    prefix = len(stack.organisation) + 1
    return {each["scope"][prefix:]: each["limits"] for each in document["scopes"]}


async def test_an_allotment_is_in_the_budget_of_its_scope(stack: Stack) -> None:
    """With its free amount, its id and its expiry; the limits above that it stands for are not
    shown as if they bound."""
    secret = await stack.key("research/nightly")
    await stack.set_budget("", [{"usd": "1"}, {"requests": 100}])
    allotment = await allot(stack, "research/nightly", 10**8)
    assert (await stack.chat(secret, max_tokens=50)).status_code == 200
    found = await limits_of(stack, secret)
    assert [each["dimension"] for each in found[""]] == ["requests"]
    (shown,) = found["research/nightly"]
    assert shown["allotment"] == allotment.id
    assert shown["expires_at"] == allotment.expires_at_ms
    assert (shown["limit_nusd"], shown["spent_nusd"]) == (10**8, COST_NUSD)
    assert shown["free_nusd"] == 10**8 - COST_NUSD
    assert shown["resets_at"] is None
    above = await limits_of(stack, await stack.key("research"))
    (usd,) = [each for each in above[""] if each["dimension"] == "usd"]
    assert (usd["allotted_nusd"], usd["free_nusd"]) == (10**8, 9 * 10**8)
    assert "allotment" not in usd


async def test_an_exhausted_allotment_says_so(stack: Stack) -> None:
    """402: it is an allotment, whose, and what to do; no command that would not help."""
    secret = await stack.key("research/nightly")
    await stack.set_budget("", [{"usd": "1"}])
    await allot(stack, "research/nightly", 1000)
    answer = await stack.chat(secret, max_tokens=4000)
    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error["reason"] == "request_too_large"
    scope = stack.scope("research/nightly")
    assert error["message"].startswith(f"allotment of {scope} ($0.000001): $0.000001 free, ")
    assert f"comptroller budget show {scope}" in error["message"]
    assert "budget set" not in error["message"]


async def test_what_only_allotments_hold_is_refused_at_once(make_stack: MakeStack) -> None:
    """Nobody's ending frees it, so nobody waits for it; 429, with a Retry-After that is no lie."""
    stack = await make_stack(GatewayOptions(wait_ms=60_000))
    secret = await stack.key("research")
    await stack.set_budget("", [{"usd": "1"}])
    await allot(stack, "research/nightly", 10**9)
    answer = await asyncio.wait_for(stack.chat(secret), 30)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == str(HELD_RETRY_AFTER_S_MAX)
    error = answer.json()["error"]
    assert error["reason"] == "held"
    assert "is allotted to scopes below" in error["message"]


async def test_a_closing_awaits_the_answer_and_admits_nothing(stack: Stack) -> None:
    """The request that runs gets its answer; a new one comes back later; then the scope is open."""
    secret = await stack.key("research/nightly")
    await stack.set_budget("", [{"usd": "1"}])
    await allot(stack, "research/nightly", 10**8)
    arrived, gate = asyncio.Event(), asyncio.Event()
    answer = held(gate, answers())

    async def behave(received: Received, reply: Reply) -> None:
        arrived.set()
        await answer(received, reply)

    stack.provider.behaviour = behave
    running = asyncio.create_task(stack.chat(secret, max_tokens=50))
    await arrived.wait()
    close = stack.administration.close_allotment
    assert await close(stack.scope("research/nightly"), b"{}") == "CLOSING"
    stack.provider.behaviour = answers()
    refused = await stack.chat(secret, max_tokens=50)
    assert refused.status_code == 429
    assert refused.json()["error"]["reason"] == "closing"
    assert 1 <= int(refused.headers["retry-after"]) <= HELD_RETRY_AFTER_S_MAX
    gate.set()
    assert (await running).status_code == 200
    assert (await stack.chat(secret, max_tokens=50)).status_code == 200
    (limit,) = (await limits_of(stack, secret))[""]
    assert (limit["spent_nusd"], limit["allotted_nusd"]) == (2 * COST_NUSD, 0)
    await stack.ledger.at_rest()


async def test_a_revoked_key_gives_back_what_was_allotted_to_it(stack: Stack) -> None:
    """At once, as nothing is open in it; the key is dead."""
    secret = await stack.key("research")
    await stack.set_budget("", [{"usd": "1"}])
    await allot(stack, "research/key-1", 10**8)
    assert (await stack.chat(secret, max_tokens=50)).status_code == 200
    await stack.set_state("research/key-1", "close")
    assert (await stack.chat(secret)).status_code == 401
    (limit,) = (await limits_of(stack, await stack.key("other")))[""]
    assert (limit["spent_nusd"], limit["allotted_nusd"]) == (COST_NUSD, 0)
    await stack.ledger.at_rest()
