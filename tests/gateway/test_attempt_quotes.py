"""A deployment that has no price for what is asked is passed over, as any that cannot serve it."""

import asyncio
from dataclasses import replace

from gateway.options import GatewayOptions
from gateway.routes import Route
from pricing import PriceSheet
from tests.gateway.behaviours import ERROR_BODY, answers, held, says
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import price
from tests.gateway.served import sheet
from tests.gateway.stack import CAP, COUNTED
from tests.gateway.two_providers import RULES, Change, as_it_is, deployments, second_provider

NO_FLEX = dict.fromkeys(("input_cost_per_token_flex", "output_cost_per_token_flex"))
PATIENT_RULES = replace(RULES, retries=2)
DEAREST_NUSD = 10**9  # per token of output: a whole default cap of it is beyond what is computed


def priced_by(prices: PriceSheet) -> Change:
    """At these."""

    def change(route: Route) -> Route:
        return replace(route, sheet=prices, price=prices.price())

    return change


WITH_FLEX, WITHOUT = priced_by(sheet()), priced_by(sheet(NO_FLEX))


async def test_a_tier_that_the_first_does_not_list_is_served_by_the_second(
    make_stack: MakeStack,
) -> None:
    """Nothing is sent to who has no price for it."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other, WITHOUT, WITH_FLEX))
        secret = await stack.key(budget=COUNTED)
        answer = await stack.chat(secret, "both", max_tokens=CAP, service_tier="flex")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-comptroller-attempts"] == "2"
        assert (len(stack.provider.received), len(other.received)) == (0, 1)
        await stack.ledger.until_at_rest()


async def test_the_provider_s_error_is_told_and_not_that_another_has_no_price(
    make_stack: MakeStack,
) -> None:
    """The one that has failed says why the call was not served, and is tried again."""
    async with second_provider() as other:
        stack = await make_stack(
            rules=PATIENT_RULES, more_routes=deployments(other, WITH_FLEX, WITHOUT)
        )
        stack.provider.behaviour = says(ERROR_BODY, 500)
        secret = await stack.key(budget=COUNTED)
        answer = await stack.chat(secret, "both", max_tokens=CAP, service_tier="flex")
        assert (answer.status_code, answer.content) == (500, ERROR_BODY)
        assert answer.headers["x-comptroller-attempts"] == "3"
        assert (len(stack.provider.received), len(other.received)) == (2, 0)
        await stack.ledger.until_at_rest()


async def test_where_none_has_a_price_the_caller_is_told(make_stack: MakeStack) -> None:
    """400, with what could be asked for."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other, WITHOUT, WITHOUT))
        secret = await stack.key(budget=COUNTED)
        answer = await stack.chat(secret, "both", max_tokens=CAP, service_tier="flex")
        assert answer.status_code == 400
        assert "'flex' has no price here; use auto or" in answer.json()["error"]["message"]
        assert not stack.provider.received
        await stack.ledger.at_rest()


async def test_a_quote_that_is_lost_in_the_line_leads_to_the_next_deployment(
    make_stack: MakeStack,
) -> None:
    """A policy changes while a request waits for its turn: what it would reserve now can no more
    be computed at the first one's price, and can at the second's."""

    def dearest(route: Route) -> Route:
        return replace(route, price=price(DEAREST_NUSD))

    async with second_provider() as other:
        routes = deployments(other, dearest, as_it_is)
        options = GatewayOptions(wait_ms=60_000)
        stack = await make_stack(options, rules=RULES, more_routes=routes)
        limits = [{"concurrency": 1}]
        await stack.set_budget("research", {"limits": limits, "output_tokens_default": 1})
        secret = await stack.key()
        gate = asyncio.Event()
        stack.provider.behaviour = held(gate, answers())
        holding = asyncio.create_task(stack.chat(secret, max_tokens=CAP))
        await stack.provider.arrivals(1)
        waiting = asyncio.create_task(stack.chat(secret, "both"))
        await stack.until_waiting(1)
        await stack.set_budget("research", {"limits": limits, "output_tokens_default": 16_384})
        gate.set()
        assert (await holding).status_code == 200
        answer = await waiting
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-comptroller-attempts"] == "2"
        assert (len(stack.provider.received), len(other.received)) == (1, 1)
        await stack.ledger.until_at_rest()
