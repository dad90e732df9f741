"""An answer in one piece that is the provider's error, said with status 200, is a failure like any
other: tried elsewhere, free of charge, and told with its words."""

import json
from dataclasses import replace

import pytest

from gateway.dialects import CHAT, MESSAGES
from gateway.routes import Route
from gateway.translations import TRANSLATIONS
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import ERROR_BODY, says
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import fake_route
from tests.gateway.ledger_view import charged
from tests.gateway.messages_provider import OVERLOADED
from tests.gateway.stack import CAP, COUNTED, GREETING, USAGE_NUSD
from tests.gateway.two_providers import RULES, deployments, on_claude, second_provider

OVERLOADED_BODY = json.dumps(OVERLOADED).encode()


async def test_it_is_tried_elsewhere(make_stack: MakeStack) -> None:
    """The caller sees the second one's answer alone; the first cost nothing, and rests when it has
    failed too often."""
    async with second_provider() as other:
        rules = replace(RULES, allowed_fails=0, cooldown_ms=60_000)
        stack = await make_stack(rules=rules, more_routes=deployments(other))
        stack.provider.behaviour = says(ERROR_BODY)
        secret = await stack.key(budget=COUNTED)
        for attempts in ("2", None):
            answer = await stack.chat(secret, "both", max_tokens=CAP)
            assert (answer.status_code, "error" in answer.json()) == (200, False)
            assert answer.headers.get("x-comptroller-attempts") == attempts
        assert (len(stack.provider.received), len(other.received)) == (1, 2)
        ends = await stack.ledger.endings(3)
        assert [charged(each) for each in ends] == [0, USAGE_NUSD, USAGE_NUSD]
        await stack.ledger.at_rest()


async def test_where_nobody_else_is_it_is_passed_on_as_it_came(make_stack: MakeStack) -> None:
    """With the headers of its request, and how often it was asked."""
    async with second_provider() as other:
        stack = await make_stack(rules=RULES, more_routes=deployments(other))
        stack.provider.behaviour = other.behaviour = says(ERROR_BODY)
        secret = await stack.key(budget=COUNTED)
        answer = await stack.chat(secret, "both", max_tokens=CAP)
        assert (answer.status_code, answer.content) == (200, ERROR_BODY)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-comptroller-attempts"] == "2"
        asked = [json.loads(each.event)["request_id"] for each in await stack.ledger.requests()]
        assert answer.headers["x-comptroller-request-id"] in asked
        assert await stack.ledger.spent_in(1) == 0
        await stack.ledger.until_at_rest()


def on_chat(origin: Origin, upstream: Upstream) -> list[Route]:
    """`claude` for a client of chat completions, `chatter` for one of Messages."""
    chatter = replace(fake_route("chatter", origin, upstream), endpoint=MESSAGES.endpoint)
    translation = TRANSLATIONS[MESSAGES.endpoint, CHAT.endpoint]
    return [
        on_claude(fake_route("claude", origin, upstream)),
        replace(chatter, translation=translation),
    ]


@pytest.mark.parametrize(
    ("model", "path", "body", "words"),
    [
        ("claude", CHAT.endpoint, OVERLOADED_BODY, "Overloaded"),
        ("chatter", MESSAGES.endpoint, ERROR_BODY, "the provider says no"),
    ],
)
async def test_a_client_of_another_format_reads_its_words(
    make_stack: MakeStack, model: str, path: str, body: bytes, words: str
) -> None:
    """502 in the client's shape, and not that the answer could not be read."""
    stack = await make_stack(more_routes=on_chat)
    stack.provider.behaviour = says(body)
    secret = await stack.key(budget=COUNTED)
    asked = {"model": model, "messages": GREETING, "max_tokens": CAP}
    answer = await stack.call(secret, asked, path)
    assert answer.status_code == 502, answer.text
    assert words in answer.json()["error"]["message"]
    assert await stack.ledger.spent_in(1) == 0
    await stack.ledger.at_rest()
