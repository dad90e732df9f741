"""A stream that is the provider's error before any output: read to its end, but not for ever."""

import asyncio
from dataclasses import replace

import pytest

from gateway.dialects import CHAT, MESSAGES
from gateway.relay import ERROR_BODY_BYTES_MAX
from gateway.routes import Route
from gateway.translations import TRANSLATIONS
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import streams
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import fake_route
from tests.gateway.stack import CAP, COUNTED, GREETING

ERROR_EVENT = b'data: {"error": {"message": "overloaded"}}\n\n'
COMMENT = b": " + b"a" * 60_000 + b"\n\n"
WHOLE_S_MAX = 20  # the route's own timeouts are a minute


def chatter(origin: Origin, upstream: Upstream) -> list[Route]:
    """Speaks chat completions to a client of Messages."""
    route = replace(fake_route("chatter", origin, upstream), endpoint=MESSAGES.endpoint)
    return [replace(route, translation=TRANSLATIONS[MESSAGES.endpoint, CHAT.endpoint])]


@pytest.mark.parametrize(
    ("model", "path"), [("plain", CHAT.endpoint), ("chatter", MESSAGES.endpoint)]
)
async def test_an_error_that_does_not_end_is_left(
    make_stack: MakeStack, model: str, path: str
) -> None:
    """Also where the client's format passes nothing on behind the error. It costs nothing."""
    stack = await make_stack(more_routes=chatter)
    noise = [COMMENT] * (ERROR_BODY_BYTES_MAX // len(COMMENT) + 1)
    stack.provider.behaviour = streams([ERROR_EVENT, *noise], end="silence")
    secret = await stack.key(budget=COUNTED)
    body = {"model": model, "messages": GREETING, "max_tokens": CAP, "stream": True}
    async with asyncio.timeout(WHOLE_S_MAX):
        answer = await stack.call(secret, body, path)
    assert (answer.status_code, b"overloaded" in answer.content) == (200, True)
    assert len(answer.content) <= ERROR_BODY_BYTES_MAX
    assert await stack.ledger.spent_in(1) == 0
    await stack.ledger.until_at_rest()
