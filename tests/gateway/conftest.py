"""The gateway's acceptance tests: every test has a gateway, a provider and an organisation of its
own, on the event loop that the product runs on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import uvloop

from budgets.embedded import EmbeddedServer
from budgets.ledger import LedgerOptions
from gateway.options import GatewayOptions
from tests.gateway.stack import NEVER_MS, Stack, running_stack

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
