"""A named request keeps its answer where one of its deployments refused it before it was asked:
what comes again is replayed."""

from typing import Any

from tests.gateway.conftest import MakeStack
from tests.gateway.ledger_view import charged
from tests.gateway.stack import CAP, COUNTED, GREETING, USAGE_NUSD
from tests.gateway.two_providers import RULES, deployments, on_claude, second_provider


async def test_a_deployment_without_words_for_it_does_not_hide_the_paid_answer(
    make_stack: MakeStack,
) -> None:
    """The first has no `seed` and takes no name; the second was paid, once."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other, on_claude))
        secret = await stack.key(budget=COUNTED)
        headers = {"authorization": f"Bearer {secret}", "idempotency-key": "once"}
        document = {"model": "both", "messages": GREETING, "max_tokens": CAP, "seed": 5}

        async def ask() -> Any:
            return await stack.client.post("/v1/chat/completions", json=document, headers=headers)

        first, again = await ask(), await ask()
        assert (first.status_code, again.status_code) == (200, 200), again.text
        assert again.headers["x-comptroller-replayed"] == "true"
        assert again.content == first.content
        assert (len(stack.provider.received), len(other.received)) == (0, 1)
        (ending,) = await stack.ledger.endings(1)
        assert charged(ending) == USAGE_NUSD
        await stack.ledger.at_rest()
