"""Where nothing was sent, a budget's no is what the caller reads."""

from tests.gateway.behaviours import ERROR_BODY, says
from tests.gateway.conftest import MakeStack
from tests.gateway.stack import CAP
from tests.gateway.two_providers import RULES, deployments, on_claude, second_provider

POOR = [{"usd": "0.000001"}]


async def test_a_budget_s_no_says_more_than_what_one_deployment_has_no_words_for(
    make_stack: MakeStack,
) -> None:
    """The first has no `seed`, for the second there is no room: 402, which more money mends, and
    not the 400 that would send the caller to mend its request."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other, on_claude))
        secret = await stack.key(budget=POOR)
        answer = await stack.chat(secret, "both", max_tokens=CAP, seed=5)
        assert answer.status_code == 402, answer.text
        assert answer.json()["error"]["reason"] == "request_too_large"
        assert answer.headers["x-comptroller-attempts"] == "2"
        assert (len(stack.provider.received), len(other.received)) == (0, 0)
        await stack.ledger.at_rest()


async def test_a_provider_s_error_says_more_than_either(make_stack: MakeStack) -> None:
    """Who has money and no words at the first reads what the second said."""
    async with second_provider() as other:
        other.behaviour = says(ERROR_BODY, 400)
        stack = await make_stack(rules=RULES, more_routes=deployments(other, on_claude))
        secret = await stack.key(budget=[{"usd": "1"}])
        answer = await stack.chat(secret, "both", max_tokens=CAP, seed=5)
        assert (answer.status_code, answer.content) == (400, ERROR_BODY)
        await stack.ledger.until_at_rest()
