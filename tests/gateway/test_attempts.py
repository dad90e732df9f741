"""A call that fails at one deployment is served by another, and each attempt pays for itself."""

import asyncio
import dataclasses
import json
import secrets

import msgspec
import openai
import pytest

from budgets.keys import Key
from gateway.dialects import CHAT
from gateway.routes import Route
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    answers,
    chunk_event,
    says,
    streams,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.ledger_view import charged
from tests.gateway.messages_provider import OVERLOADED, messages_routes, says_message
from tests.gateway.pairs import BUDGET, RATE_LIMITED, RULES, MakePair, Pair, limited
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import CAP, GREETING, USAGE_NUSD

TOO_LONG = b'{"error": {"message": "too long", "code": "context_length_exceeded"}}'
ANYBODY = Key(id="k", name="k", scope="acme", created_at_ms=0)


def by_turns(*behaviours: Behaviour) -> Behaviour:
    """One after the other, the last for good."""
    left = list(behaviours)

    async def behave(received: Received, reply: Reply) -> None:
        each = left.pop(0) if len(left) > 1 else left[0]
        await each(received, reply)

    return behave


FREE_FAILURES = [
    pytest.param(says(ERROR_BODY, 500), id="500"),
    pytest.param(says(ERROR_BODY, 529), id="529"),
    pytest.param(limited("7"), id="429"),
    pytest.param(says(ERROR_BODY, 401), id="401"),
]
STREAM_ERROR = streams([b'data: {"error": {"message": "no"}}\n\n', DONE])
PAID_FAILURES = [
    pytest.param(says(HTML_BODY, 503, "text/html"), id="503"),
    pytest.param(says(ERROR_BODY, 504), id="504"),
    pytest.param(streams([], end="reset"), id="reset"),
    pytest.param(streams([], end="close"), id="empty"),
]


@pytest.mark.parametrize("failure", FREE_FAILURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cost_nothing_is_tried_elsewhere_at_once(
    pair: Pair, failure: Behaviour, *, stream: bool
) -> None:
    """Two requests, two reservations, two endings: the first books nothing, the second the truth;
    the second names the first, and the answer says how often it was tried."""
    pair.first.behaviour = failure
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, text = await pair.ask(secret, stream=stream)
    assert (status, headers["x-comptroller-attempts"]) == (200, "2")
    assert ("data: [DONE]" if stream else "served-model") in text
    ends = await pair.stack.ledger.endings(2)
    assert [charged(each) for each in ends] == [0, USAGE_NUSD]
    asked, answered = await pair.events("llm_request"), await pair.events("llm_response")
    first_id = asked[0]["request_id"]
    assert [each.get("correlation_id", "") for each in asked] == ["", first_id]
    assert [each.get("correlation_id", "") for each in answered] == ["", first_id]
    assert headers["x-comptroller-request-id"] == asked[1]["request_id"]
    assert (len(pair.first.received), len(pair.other.received)) == (1, 1)
    await pair.stack.ledger.at_rest()


async def test_a_stream_that_is_an_error_before_its_first_byte_falls_back(pair: Pair) -> None:
    """Status 200 and an error in place of output costs nothing, and the caller sees the other
    stream alone; where nobody else is left, the error as it came."""
    pair.first.behaviour = STREAM_ERROR
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, text = await pair.ask(secret, stream=True)
    assert (status, headers["x-comptroller-attempts"]) == (200, "2")
    assert "error" not in text
    assert text.endswith("data: [DONE]\n\n")
    pair.other.behaviour = STREAM_ERROR
    status, _, text = await pair.ask(secret, "spare", stream=True)
    assert (status, text) == (200, 'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n')
    await pair.stack.ledger.until_at_rest()
    assert await pair.stack.ledger.spent_in(1) == USAGE_NUSD


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_stream_that_breaks_after_its_first_byte_ends_with_an_error(
    pair: Pair, end: str
) -> None:
    """Nobody else is asked, and no clean end is made up."""
    pair.first.behaviour = streams([chunk_event({"content": "Hel"})], end=end)
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, text = await pair.ask(secret, stream=True)
    assert status == 200
    assert "x-comptroller-attempts" not in headers
    assert "Hel" in text
    assert "[DONE]" not in text
    assert "upstream_error" in text.rstrip().rsplit("\n", 1)[-1]
    assert not pair.other.received
    await pair.stack.ledger.until_at_rest()


@pytest.mark.parametrize("failure", PAID_FAILURES)
async def test_what_may_have_worked_is_not_tried_again(pair: Pair, failure: Behaviour) -> None:
    """One request is paid, one is sent; the caller gets a status, also of a stream."""
    pair.first.behaviour = failure
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, _ = await pair.ask(secret, stream=True)
    assert status in (502, 503, 504)
    assert "x-comptroller-attempts" not in headers
    assert not pair.other.received
    (ending,) = await pair.stack.ledger.endings(1)
    assert charged(ending) > 0
    await pair.stack.ledger.at_rest()


@pytest.mark.parametrize("failure", PAID_FAILURES)
async def test_where_the_rules_say_so_it_is_and_is_paid_twice(
    make_pair: MakePair, failure: Behaviour
) -> None:
    """retry_unknown; but never for a request that its client has named."""
    pair = await make_pair(dataclasses.replace(RULES, retry_unknown=True))
    pair.first.behaviour = failure
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, _ = await pair.ask(secret, stream=True)
    assert (status, headers["x-comptroller-attempts"]) == (200, "2")
    first, second = await pair.stack.ledger.endings(2)
    assert charged(first) > 0
    assert charged(second) == USAGE_NUSD
    named = await pair.stack.client.post(
        "/v1/chat/completions",
        json={"model": "both", "messages": GREETING, "max_tokens": CAP, "stream": True},
        headers={"authorization": f"Bearer {secret}", "idempotency-key": "once"},
    )
    assert named.status_code in (502, 503, 504)
    assert len(pair.other.received) == 1
    await pair.stack.ledger.until_at_rest()


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
async def test_a_client_s_mistake_is_its_answer(pair: Pair, status: int) -> None:
    """The provider's own words, once."""
    pair.first.behaviour = says(ERROR_BODY, status)
    secret = await pair.stack.key(budget=BUDGET)
    answered, headers, text = await pair.ask(secret)
    assert (answered, text) == (status, ERROR_BODY.decode())
    assert "x-comptroller-attempts" not in headers
    assert not pair.other.received


async def test_a_request_that_is_too_long_goes_to_the_model_that_is_named_for_it(
    pair: Pair,
) -> None:
    """context_window_fallbacks, not the other deployment of the same model."""
    pair.first.behaviour = says(TOO_LONG, 400)
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, _ = await pair.ask(secret)
    assert (status, headers["x-comptroller-attempts"]) == (200, "2")
    (_, second) = await pair.events("llm_request")
    assert second["model_requested"] == "spare"


async def test_a_provider_that_mends_itself_is_tried_again(pair: Pair) -> None:
    """The only deployment of a model without fallbacks, after a wait: twice, as num_retries says.
    The official SDK, which would try again itself, sees one answer."""
    pair.other.behaviour = by_turns(says(ERROR_BODY, 500), limited("0.4"), answers())
    secret = await pair.stack.key(budget=BUDGET)
    async with openai.AsyncOpenAI(
        api_key=secret, base_url=pair.stack.base_url, max_retries=0
    ) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="spare",
            messages=GREETING,  # type: ignore[arg-type]
            max_tokens=CAP,
        )
    assert raw.headers["x-comptroller-attempts"] == "3"
    assert raw.parse().usage is not None
    assert len(pair.other.received) == 3
    ends = await pair.stack.ledger.endings(3)
    assert [charged(each) for each in ends] == [0, 0, USAGE_NUSD]


async def test_the_last_word_of_the_model_that_was_asked_for_is_the_answer(pair: Pair) -> None:
    """When nothing helps, its own error and headers, and not what became of the fallback."""
    pair.first.behaviour, pair.other.behaviour = limited("70"), says(ERROR_BODY, 500)
    secret = await pair.stack.key(budget=BUDGET)
    status, headers, text = await pair.ask(secret, "fragile")
    assert (status, text) == (429, RATE_LIMITED.decode())
    assert headers["retry-after"] == "70"
    assert int(headers["x-comptroller-attempts"]) == 4  # one, and three at the fallback
    await pair.stack.ledger.until_at_rest()
    assert await pair.stack.ledger.spent_in(1) == 0


async def test_a_pause_that_one_worker_was_asked_for_is_kept_by_the_other(
    make_pair: MakePair,
) -> None:
    """Two gateways on one ledger, each with providers of its own: what the first one was told, the
    second knows without having asked. While all rest the answer is 429 with what is left of it,
    and nothing is sent."""
    rules = dataclasses.replace(RULES, cooldown_ms=60_000)
    first, second = await make_pair(rules), await make_pair(rules)
    first.first.behaviour = limited("50")
    assert (await first.ask(await first.stack.key(budget=BUDGET)))[0] == 200
    route = second.stack.parts.routes.find(ANYBODY, "both", CHAT.endpoint).deployments[0]
    async with asyncio.timeout(20):
        while second.stack.parts.cooldowns.rest_of(route) is None:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.02)
    secret = await second.stack.key(budget=BUDGET)
    assert (await second.ask(secret))[0] == 200
    assert not second.first.received
    second.other.behaviour = limited("70")  # longer than is waited for
    status, _, text = await second.ask(secret)
    assert (status, text) == (429, RATE_LIMITED.decode())
    before = len(second.other.received)
    status, headers, text = await second.ask(secret)
    assert status == 429
    assert json.loads(text)["error"]["reason"] == "cooling_down"
    assert 40 <= int(headers["retry-after"]) <= 50
    assert len(second.other.received) == before
    assert not second.first.received


async def test_anthropic_s_error_in_place_of_a_message_falls_back(make_stack: MakeStack) -> None:
    """Its only event is its last one: it is a failure all the same, and the caller sees the other
    deployment's stream alone."""

    def routes(origin: Origin, upstream: Upstream) -> list[Route]:
        claude = messages_routes(origin, upstream)[0]
        unique = secrets.token_hex(4)
        return [
            dataclasses.replace(claude, order=order, deployment=f"claude {order} {unique}")
            for order in (0, 1)
        ]

    good = says_message()

    async def fails_first(received: Received, reply: Reply) -> None:
        if len(stack.provider.received) > 1:
            await good(received, reply)
            return
        reply.begin()
        reply.chunk(b"event: error\ndata: " + msgspec.json.encode(OVERLOADED) + b"\n\n")
        reply.end()

    stack = await make_stack(rules=RULES, more_routes=routes)
    stack.provider.behaviour = fails_first
    secret = await stack.key(budget=BUDGET)
    body = {"model": "claude", "max_tokens": 20, "stream": True, "messages": GREETING}
    answer = await stack.call(secret, body, "/v1/messages")
    assert (answer.status_code, answer.headers["x-comptroller-attempts"]) == (200, "2")
    assert "message_stop" in answer.text
    assert "Overloaded" not in answer.text
    await stack.ledger.until_at_rest()
