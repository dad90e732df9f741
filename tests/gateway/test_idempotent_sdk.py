"""`Idempotency-Key` as OpenAI's own client library uses it: it sends the header where the caller
names one, and the same again in each of its own retries."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.behaviours import ERROR_BODY, HTML_BODY, answers, held, says
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import USAGE_NUSD, Stack

CALL: dict[str, Any] = {
    "model": "plain",
    "messages": [{"role": "user", "content": "hello there"}],
    "max_tokens": 50,
    "extra_headers": {"Idempotency-Key": "one and the same"},
}


@pytest.fixture
def sent() -> list[httpx.Request]:
    """What the library has put on the wire."""
    return []


@pytest.fixture
async def client(stack: Stack, sent: list[httpx.Request]) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client, with its default retries and a key with money."""

    async def count(request: httpx.Request) -> None:
        sent.append(request)

    http = openai.DefaultAsyncHttpxClient(trust_env=False, event_hooks={"request": [count]})
    secret = await stack.key(budget=[{"usd": "1"}])
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        yield client


def first(behaviour: Behaviour, then: Behaviour) -> Behaviour:
    """One request is answered so, all others otherwise."""
    waiting = [behaviour]

    async def behave(received: Received, reply: Reply) -> None:
        await (waiting.pop() if waiting else then)(received, reply)

    return behave


async def test_the_same_call_twice_is_one(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """The library parses the replay as the answer that it is, and its cost is there."""
    completion = await client.chat.completions.create(**CALL)
    again = await client.chat.completions.with_raw_response.create(**CALL)
    assert again.headers["x-comptroller-replayed"] == "true"
    assert again.headers["x-comptroller-cost-usd"] == "0.000025"
    assert again.parse().model_dump() == completion.model_dump()
    assert len(stack.provider.received) == 1
    assert await stack.ledger.spent() == USAGE_NUSD


async def test_the_same_stream_twice_is_one(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """A replayed stream is a stream, with the same chunks."""
    streamed = [
        [chunk.model_dump() async for chunk in await client.chat.completions.create(**call)]
        for call in [{**CALL, "stream": True}] * 2
    ]
    assert streamed[0] == streamed[1] != []
    assert len(stack.provider.received) == 1


async def test_other_arguments_are_an_error_of_their_own(
    client: openai.AsyncOpenAI, sent: list[httpx.Request]
) -> None:
    """422 has a class in the library, and is not tried again."""
    await client.chat.completions.create(**CALL)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        await client.chat.completions.create(**{**CALL, "max_tokens": 51})
    assert refused.value.code == "idempotency_conflict"
    assert len(sent) == 2


async def test_a_call_in_flight_is_told_once(
    stack: Stack, client: openai.AsyncOpenAI, sent: list[httpx.Request]
) -> None:
    """The library would try a 409 again; `x-should-retry: false` stops it."""
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    running = asyncio.create_task(client.chat.completions.create(**CALL))
    await stack.provider.arrivals(1)
    with pytest.raises(openai.ConflictError) as refused:
        await client.chat.completions.create(**CALL)
    assert refused.value.code == "idempotency_conflict"
    assert len(sent) == 2
    gate.set()
    assert (await running).choices


async def test_the_librarys_retry_of_a_providers_error_succeeds(
    stack: Stack, client: openai.AsyncOpenAI, sent: list[httpx.Request]
) -> None:
    """The provider's own 500 cost nothing: the retry under the same name is served."""
    stack.provider.behaviour = first(says(ERROR_BODY, 500), answers())
    assert (await client.chat.completions.create(**CALL)).choices
    assert len(sent) == len(stack.provider.received) == 2
    assert await stack.ledger.spent() == USAGE_NUSD
    await stack.ledger.at_rest()


async def test_the_librarys_retry_does_not_pay_twice(
    stack: Stack, client: openai.AsyncOpenAI, sent: list[httpx.Request]
) -> None:
    """After a 502 from between, the library asks again by itself: without a name it would pay a
    second time, with one its user learns what the first cost."""
    stack.provider.behaviour = first(says(HTML_BODY, 502, "text/html"), answers())
    with pytest.raises(openai.ConflictError, match="a new Idempotency-Key"):
        await client.chat.completions.create(**CALL)
    assert [each.headers["idempotency-key"] for each in sent] == ["one and the same"] * 2
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()
