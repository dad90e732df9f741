"""OpenAI's own client library against the gateway, as people will use it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from gateway.options import GatewayOptions
from tests.gateway.behaviours import calls_tool, says
from tests.gateway.conftest import MakeStack
from tests.gateway.stack import Stack

MESSAGE = "hello there"
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
async def secret(stack: Stack) -> str:
    """A key with money."""
    return await stack.key(budget=[{"usd": "1"}])


@pytest.fixture
async def client(stack: Stack, secret: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client, with its default retries."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        yield client


@pytest.fixture
def blocking(stack: Stack, secret: str) -> Iterator[openai.OpenAI]:
    """The synchronous client; its calls go through a thread, as the gateway is in this loop."""
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=stack.base_url, api_key=secret, http_client=http) as client:
        yield client


async def test_async_plain(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """A completion is parsed, and its cost is in its usage."""
    completion = await client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": MESSAGE}]
    )
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.model_extra is not None
    assert completion.usage.model_extra["cost"] == 0.000025
    await stack.ledger.at_rest()


async def test_async_streamed(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """A stream is parsed to its end; with `include_usage` its last chunk has usage and cost."""
    stream = await client.chat.completions.create(
        model="plain",
        messages=[{"role": "user", "content": MESSAGE}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("Hello there")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].usage.model_extra is not None
    assert chunks[-1].usage.model_extra["cost"] == 0.000025
    await stack.ledger.at_rest()


async def test_sync_plain_and_streamed(stack: Stack, blocking: openai.OpenAI) -> None:
    """The synchronous client works as the asynchronous one."""

    def calls() -> tuple[str, str]:
        plain = blocking.chat.completions.create(
            model="plain", messages=[{"role": "user", "content": MESSAGE}]
        )
        stream = blocking.chat.completions.create(
            model="plain", messages=[{"role": "user", "content": MESSAGE}], stream=True
        )
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        return plain.choices[0].message.content or "", text

    plain, streamed = await asyncio.to_thread(calls)
    assert plain.startswith("caf")
    assert streamed.startswith("Hello there")
    await stack.ledger.at_rest()


async def test_tools_plain_and_streamed(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """Tool calls are parsed, also from the pieces of a stream."""
    stack.provider.behaviour = calls_tool()
    plain = await client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": MESSAGE}], tools=[TOOL]
    )
    assert plain.choices[0].message.tool_calls is not None
    call = plain.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert call.function.arguments == '{"city": "Delft"}'
    async with client.chat.completions.stream(
        model="plain", messages=[{"role": "user", "content": MESSAGE}], tools=[TOOL]
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Delft"}'
    await stack.ledger.at_rest()


async def test_the_demo_provider_plays_a_whole_tool_loop(
    stack: Stack, client: openai.AsyncOpenAI
) -> None:
    """The built-in model calls the tool, takes its result, and answers, at its price."""
    asked = await client.chat.completions.create(
        model="demo/small", messages=[{"role": "user", "content": MESSAGE}], tools=[TOOL]
    )
    assert asked.choices[0].message.tool_calls is not None
    call = asked.choices[0].message.tool_calls[0]
    assert call.type == "function"
    answered = await client.chat.completions.create(
        model="demo/small",
        messages=[
            {"role": "user", "content": MESSAGE},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": "weather", "arguments": call.function.arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
        tools=[TOOL],
    )
    assert "sunny" in (answered.choices[0].message.content or "")
    await stack.ledger.at_rest()


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    """The library's list of models is the gateway's."""
    names = [model.id async for model in client.models.list()]
    assert "plain" in names
    assert "demo/small" in names


@pytest.mark.parametrize("status", [402, 400])
async def test_an_exhausted_budget_is_asked_once(make_stack: MakeStack, status: int) -> None:
    """The library retries what may pass; a budget that is gone costs one request, one error."""
    stack = await make_stack(GatewayOptions(refusal_status=status))
    secret = await stack.key(budget=[{"usd": "0.000001"}])
    sent: list[httpx.Request] = []

    async def count(request: httpx.Request) -> None:
        sent.append(request)

    http = openai.DefaultAsyncHttpxClient(trust_env=False, event_hooks={"request": [count]})
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(
                model="plain", messages=[{"role": "user", "content": MESSAGE}]
            )
    assert refused.value.status_code == status
    assert refused.value.code == "budget_exceeded"
    assert len(sent) == 1
    assert stack.provider.received == []


async def test_a_bad_key_is_an_authentication_error(stack: Stack) -> None:
    """The library names the error for what it is."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key="ck-nobody", http_client=http
    ) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_a_stream_that_breaks_off_is_an_error_to_the_library(
    stack: Stack, client: openai.AsyncOpenAI
) -> None:
    """A broken stream never looks like a whole answer."""
    stack.provider.behaviour = says(b"data: {}", content_type="text/event-stream")
    stream = await client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": MESSAGE}], stream=True
    )
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass
    await stack.ledger.at_rest()
