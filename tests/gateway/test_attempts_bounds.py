"""However often a call is tried, it stays within what it began with: the budgets and models of its
key, its name, the time of its route, the table of models, and a caller who waits."""

import asyncio
import dataclasses
import random
from collections import Counter
from typing import Any

import pytest

from gateway.options import GatewayOptions
from gateway.routes import Route, Routes
from gateway.upstream import Origin, Upstream
from pricing import dollars
from tests.gateway.behaviours import ERROR_BODY, held, says
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import OUTPUT_NUSD, fake_route
from tests.gateway.pairs import BUDGET, RATE_LIMITED, RULES, MakePair, Pair, limited
from tests.gateway.stack import CAP, GREETING, USAGE_NUSD


async def test_a_key_does_not_fall_back_to_a_model_that_it_may_not_use(pair: Pair) -> None:
    """And an answer of the fallback counts against the limits of the fallback's name."""
    pair.first.behaviour = limited("70")
    narrow = await pair.stack.key(budget=BUDGET, models=("fragile",))
    status, headers, _ = await pair.ask(narrow, "fragile")
    assert (status, headers.get("x-comptroller-attempts")) == (429, None)
    assert not pair.other.received
    budget = [{"usd": "1"}, {"requests": 1, "window": "hour", "models": ["spare"]}]
    wide = await pair.stack.key("wide", budget)
    assert (await pair.ask(wide, "fragile"))[0] == 200
    assert (await pair.ask(wide, "fragile"))[0] == 429


async def test_a_budget_without_room_for_the_fallback_leaves_the_first_failure(pair: Pair) -> None:
    """What the provider said is the answer; that a budget refused is in the events."""
    pair.first.behaviour = limited("70")
    secret = await pair.stack.key("poor", [{"usd": "0.0005"}])
    status, _, text = await pair.ask(secret, "narrow")
    assert (status, text) == (429, RATE_LIMITED.decode())
    assert not pair.other.received
    await pair.stack.ledger.until_at_rest()


async def test_a_budget_without_room_for_a_second_attempt_is_never_crossed(pair: Pair) -> None:
    """Also a failure that cost nothing counts as a request; the second would be one more."""
    secret = await pair.stack.key("one", [{"requests": 1}])
    pair.first.behaviour = says(ERROR_BODY, 500)
    status, _, text = await pair.ask(secret)
    assert (status, text) == (500, ERROR_BODY.decode())
    assert (len(pair.first.received), len(pair.other.received)) == (1, 0)


@pytest.mark.parametrize(("failure", "is_free"), [(500, True), (504, False)])
async def test_what_may_have_been_paid_leaves_its_room_to_nobody(
    make_pair: MakePair, failure: int, *, is_free: bool
) -> None:
    """An unknown outcome has taken the whole of a budget for one attempt: the second one that the
    rules allow (retry_unknown) is not made. One that cost nothing leaves the room to the second."""
    pair = await make_pair(dataclasses.replace(RULES, retry_unknown=True))
    quoted = await pair.stack.quote(await pair.stack.key("asks", BUDGET), "both", max_tokens=CAP)
    limit_nusd = quoted["reserved_nusd"] + 1
    secret = await pair.stack.key("tight", [{"usd": dollars(limit_nusd)}])
    pair.first.behaviour = says(ERROR_BODY, failure)
    status, _, _ = await pair.ask(secret)
    assert status == (200 if is_free else failure)
    assert (len(pair.first.received), len(pair.other.received)) == (1, int(is_free))
    await pair.stack.ledger.until_at_rest()
    spent_nusd = await pair.stack.ledger.spent_in(1)
    assert spent_nusd == (USAGE_NUSD if is_free else quoted["reserved_nusd"]) <= limit_nusd


async def test_a_named_request_keeps_its_name_through_attempts(pair: Pair) -> None:
    """The final answer is replayed, nobody is asked again, and the name is the last attempt's."""
    pair.first.behaviour = says(ERROR_BODY, 500)
    secret = await pair.stack.key(budget=BUDGET)
    headers = {"authorization": f"Bearer {secret}", "idempotency-key": "once"}
    document = {"model": "both", "messages": GREETING, "max_tokens": CAP}

    async def ask() -> Any:
        return await pair.stack.client.post("/v1/chat/completions", json=document, headers=headers)

    first, second = await ask(), await ask()
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["x-comptroller-replayed"] == "true"
    assert second.content == first.content
    name = "x-comptroller-request-id"
    assert second.headers[name] == first.headers[name]
    assert (len(pair.first.received), len(pair.other.received)) == (1, 1)


async def test_a_caller_who_has_gone_is_not_tried_for(pair: Pair) -> None:
    """While a retry waits for its time nothing is reserved; nobody pays for an answer that nobody
    reads."""
    pair.other.behaviour = says(ERROR_BODY, 500)
    secret = await pair.stack.key(budget=BUDGET)
    call = asyncio.create_task(pair.ask(secret, "spare"))
    await pair.other.arrivals(1)
    await pair.stack.ledger.endings(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await pair.ask(await pair.stack.key("later", BUDGET), "spare"))[0] == 500
    assert len(pair.other.received) == 1 + 3
    await pair.stack.ledger.until_at_rest()


async def test_all_calls_at_once_are_served_by_the_deployment_that_lives(
    make_pair: MakePair,
) -> None:
    """200 of them while the other is dead: the budget has room for one attempt each and for not one
    more in flight, and ends exactly at what was used. By a seed, so that about half meet the dead
    one before it rests."""
    rules = dataclasses.replace(RULES, cooldown_ms=60_000)
    seeded = random.Random(7).random
    options = GatewayOptions(wait_ms=20_000)
    pair = await make_pair(rules, chance=seeded, options=options)
    secret = await pair.stack.key("many", [{"usd": "0.05"}, {"concurrency": 100}])
    results = await asyncio.gather(*(pair.ask(secret, "half") for _ in range(200)))
    assert Counter(status for status, _, _ in results) == {200: 200}
    retried = sum("x-comptroller-attempts" in headers for _, headers, _ in results)
    assert 0 < retried < 150
    await pair.stack.ledger.until_at_rest()
    assert await pair.stack.ledger.spent_in(1) == 200 * USAGE_NUSD


async def test_the_route_s_time_bounds_all_attempts(make_pair: MakePair) -> None:
    """A provider that fails late leaves less time for the next attempt, and none after the end."""
    pair = await make_pair(dataclasses.replace(RULES, retries=9))
    pair.first.behaviour = says(ERROR_BODY, 500)
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, _ = await pair.ask(secret, "hasty")  # 150 ms; the first wait is longer
    assert (status, headers.get("x-comptroller-attempts")) == (500, None)
    assert len(pair.first.received) == 1


async def test_a_quote_is_that_of_the_dearest_deployment(make_stack: MakeStack) -> None:
    """Whichever of them serves it, no request reserves more than was quoted."""

    def mixed(origin: Origin, upstream: Upstream) -> list[Route]:
        return [
            fake_route("mixed", origin, upstream, output_nusd=times * OUTPUT_NUSD)
            for times in (1, 9, 3)
        ]

    stack = await make_stack(more_routes=mixed)
    secret = await stack.key(budget=BUDGET)
    quoted = (await stack.quote(secret, "mixed", max_tokens=CAP))["reserved_nusd"]
    plain = (await stack.quote(secret, "plain", max_tokens=CAP))["reserved_nusd"]
    assert quoted == plain + 8 * CAP * OUTPUT_NUSD


async def test_a_request_in_flight_falls_back_by_the_table_that_it_began_with(pair: Pair) -> None:
    """Another one came while its first deployment was asked: the model that it falls back to is
    not in it, and answers all the same, by the options that go with its own table; who comes later
    does not find it."""
    gate = asyncio.Event()
    pair.first.behaviour = held(gate, says(ERROR_BODY, 500))
    secret = await pair.stack.key(budget=BUDGET)
    asking = asyncio.create_task(pair.stack.chat(secret, "fragile"))
    await pair.first.arrivals(1)
    in_force = pair.stack.parts.in_force
    cap = in_force.options.output_tokens_default
    in_force.become(Routes([]), dataclasses.replace(in_force.options, output_tokens_default=7))
    gate.set()
    answer = await asking
    assert answer.status_code == 200
    asked = await pair.events("llm_request")
    assert [each["model_requested"] for each in asked] == [*3 * ["fragile"], "spare"]
    assert [each.cap for each in (*pair.first.received, *pair.other.received)] == 4 * [cap]
    assert (await pair.stack.chat(secret, "spare", max_tokens=CAP)).status_code == 404
    await pair.stack.ledger.until_at_rest()
