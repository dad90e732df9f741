"""Requests with an `Idempotency-Key`, and what their repetitions may get."""

from typing import Any

from tests.gateway.stack import CAP, GREETING, Stack
from tests.gateway.wire import Answer, post

NAME = "5a1f9a2e-6f0b-4b53-9a51-0c6d1f2e3a4b"
BUDGET = [{"usd": "1"}]
USAGE_USD = "0.000025"


def document(*, model: str = "plain", stream: bool = False, **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": GREETING, "stream": stream, "max_tokens": CAP, **more}


async def named(stack: Stack, secret: str, body: object, name: str = NAME) -> Answer:
    """One call with an Idempotency-Key, on a connection of its own."""
    return await post(stack.port, secret, body, f"idempotency-key: {name}")


def conflict(answer: Answer, reason: str, status: int = 409) -> str:
    """The id of the request that has the name, from an answer that no SDK tries again."""
    assert answer.status == status, answer.body
    error = answer.error
    assert (error["code"], error["reason"]) == ("idempotency_conflict", reason)
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    id_ = answer.headers["x-comptroller-request-id"]
    assert id_ in error["message"]
    return id_


def replayed(answer: Answer, first: Answer) -> None:
    """The same answer again, byte for byte, which says that it is one."""
    assert answer.status == 200, answer.body
    assert answer.body == first.body
    assert answer.headers["x-comptroller-replayed"] == "true"
    assert "x-comptroller-replayed" not in first.headers
    for name in ("content-type", "x-comptroller-request-id", "x-comptroller-reserved-usd"):
        assert answer.headers[name] == first.headers[name]
    assert answer.headers["x-comptroller-cost-usd"] == USAGE_USD
    then = ("x-ratelimit-", "x-comptroller-remaining-", "x-comptroller-scope")
    assert not [each for each in answer.headers if each.startswith(then)]
