"""Who has hung up is not tried for: no provider is asked, and paid, for an answer that nobody
reads."""

import asyncio
import json

import pytest

from tests.gateway.behaviours import ERROR_BODY, held, says
from tests.gateway.conftest import MakeStack
from tests.gateway.ledger_view import charged
from tests.gateway.stack import CAP, COUNTED, USAGE_NUSD
from tests.gateway.two_providers import RULES, deployments, second_provider
from tests.gateway.wire import Wire, request_bytes

LONG = 200_000  # bytes; of a body like this uvicorn leaves the end of the connection unread


@pytest.mark.parametrize("size", [10, LONG])
async def test_no_other_deployment_is_asked_at_once_for_a_caller_who_has_gone(
    make_stack: MakeStack, size: int
) -> None:
    """The first one fails late, in a call that is not streamed and that nobody watches; the
    next caller is tried for as ever."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other))
        secret = await stack.key(budget=COUNTED)
        gate = asyncio.Event()
        stack.provider.behaviour = held(gate, says(ERROR_BODY, 500))
        messages = [{"role": "user", "content": "a" * size}]
        document = {"model": "both", "max_tokens": CAP, "messages": messages}
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, json.dumps(document).encode()))
            await stack.provider.arrivals(1)
        stack.provider.behaviour = says(ERROR_BODY, 500)
        assert (await stack.chat(secret, "both", max_tokens=CAP)).status_code == 200
        gate.set()
        await stack.ledger.endings(3)
        assert (await stack.chat(secret, "both", max_tokens=CAP)).status_code == 200
        assert (len(stack.provider.received), len(other.received)) == (3, 2)
        ends = await stack.ledger.endings(5)
        assert sorted(map(charged, ends)) == [0, 0, 0, USAGE_NUSD, USAGE_NUSD]
        await stack.ledger.until_at_rest()
