"""The gateway's acceptance tests: every test has a gateway, a provider and an organisation of its
own, on the event loop that the product runs on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerOptions
from gateway.options import GatewayOptions
from gateway.routing_rules import RoutingRules
from tests.gateway.pairs import RULES, MakePair, Pair, paired_routes
from tests.gateway.provider_text import text_routes
from tests.gateway.stack import NEVER_MS, Stack, running_stack
from tests.gateway.two_providers import second_provider

MakeStack = Callable[..., Awaitable[Stack]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def make_stack(valkey: EmbeddedServer) -> AsyncIterator[MakeStack]:
    """Starts gateways with options of the test's choice."""
    async with contextlib.AsyncExitStack() as running:

        async def make(
            options: GatewayOptions | None = None,
            ledger_options: LedgerOptions | None = None,
            refusals_flush_ms: int = NEVER_MS,
            **more: Any,
        ) -> Stack:
            stack = running_stack(
                valkey.socket_path,
                options=options,
                ledger_options=ledger_options,
                refusals_flush_ms=refusals_flush_ms,
                **more,
            )
            return await running.enter_async_context(stack)

        yield make


@pytest.fixture
async def stack(make_stack: MakeStack) -> Stack:
    """A gateway with the default options."""
    return await make_stack()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def text_stack(valkey: EmbeddedServer) -> AsyncIterator[Stack]:
    """One gateway for a whole module, with models for texts."""
    async with running_stack(valkey.socket_path, more_routes=text_routes) as stack:
        yield stack
        await stack.ledger.at_rest()


@pytest.fixture
async def make_pair(make_stack: MakeStack) -> AsyncIterator[MakePair]:
    """Starts stacks with a second provider, with rules of the test's choice."""
    async with second_provider() as other:
        routes = paired_routes(other)

        async def make(rules: RoutingRules = RULES, **more: Any) -> Pair:
            return Pair(await make_stack(rules=rules, more_routes=routes, **more), other)

        yield make


@pytest.fixture
async def pair(make_pair: MakePair) -> Pair:
    """With the rules that most of them have."""
    return await make_pair()
