"""OpenAI's own client library at the responses endpoint, as people will use it."""

import json
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai.types.responses import CustomToolParam, FunctionToolParam, ResponseInputParam
from pydantic import BaseModel

from gateway.options import GatewayOptions
from tests.gateway.behaviours import streams
from tests.gateway.conftest import MakeStack
from tests.gateway.provider_responses import (
    TEXT,
    call_item,
    first_events,
    responds,
    word_events,
)
from tests.gateway.stack import Stack

TOOL: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


class Place(BaseModel):
    """What the demo model fills in."""

    city: str
    inhabitants: int
    is_capital: bool


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client, with its default retries, of a key with money."""
    stack.provider.behaviour = responds()
    secret = await stack.key(budget=[{"usd": "1"}])
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        yield client


@pytest.mark.parametrize("model", ["plain", "demo/small"])
async def test_a_response_is_parsed_with_its_cost(
    stack: Stack, client: openai.AsyncOpenAI, model: str
) -> None:
    """Text and cost, from the provider and from the demo models."""
    response = await client.responses.create(model=model, input="hello there")
    assert response.status == "completed"
    assert response.output_text
    assert response.usage is not None
    assert response.usage.model_extra is not None
    assert response.usage.model_extra["cost"] > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("model", ["plain", "demo/small"])
async def test_a_stream_is_parsed_to_its_last_event(
    stack: Stack, client: openai.AsyncOpenAI, model: str
) -> None:
    """The pieces make up the text of the last event, which has usage and cost."""
    stream = await client.responses.create(model=model, input="hello there", stream=True)
    events = [event async for event in stream]
    assert events[0].type == "response.created"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text
    assert model != "plain" or text == TEXT
    assert last.response.usage is not None
    assert last.response.usage.model_extra is not None
    assert last.response.usage.model_extra["cost"] > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("model", ["plain", "demo/small"])
async def test_the_librarys_own_stream_puts_a_call_together(
    stack: Stack, client: openai.AsyncOpenAI, model: str
) -> None:
    """`responses.stream` follows every event of a call."""
    stack.provider.behaviour = responds([call_item()])
    async with client.responses.stream(model=model, input='of "Delft"', tools=[TOOL]) as stream:
        final = await stream.get_final_response()
    call = final.output[0]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Delft"}
    await stack.ledger.at_rest()


async def test_a_tool_loop_comes_to_its_end(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """The demo model calls the tool, takes its result, and answers."""
    items: ResponseInputParam = [{"role": "user", "content": "hello there"}]
    asked = await client.responses.create(model="demo/small", input=items, tools=[TOOL])
    call = asked.output[0]
    assert call.type == "function_call"
    items += [
        {
            "type": "function_call",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        },
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    answered = await client.responses.create(model="demo/small", input=items, tools=[TOOL])
    assert "sunny" in answered.output_text
    await stack.ledger.at_rest()


async def test_a_custom_tool_is_called_with_a_text(
    stack: Stack, client: openai.AsyncOpenAI
) -> None:
    """As Codex's apply_patch is."""
    tool: CustomToolParam = {"type": "custom", "name": "apply_patch"}
    stream = await client.responses.create(
        model="demo/small",
        input="hello",
        tools=[tool],
        stream=True,
    )
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    assert last.response.output[0].type == "custom_tool_call"
    await stack.ledger.at_rest()


async def test_a_pydantic_model_is_parsed(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """`responses.parse` sends a schema and gets its object."""
    response = await client.responses.parse(
        model="demo/small", input='in "Delft" live 105000', text_format=Place
    )
    assert response.output_parsed == Place(city="Delft", inhabitants=105000, is_capital=True)
    await stack.ledger.at_rest()


async def test_a_cap_cuts_the_answer(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """It is incomplete, and says why."""
    response = await client.responses.create(
        model="demo/small", input="hello", max_output_tokens=16
    )
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    await stack.ledger.at_rest()


async def test_the_input_is_counted(client: openai.AsyncOpenAI) -> None:
    """`responses.input_tokens.count`."""
    counted = await client.responses.input_tokens.count(model="demo/small", input="hello there")
    assert counted.input_tokens > 0


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("status", [402, 400])
async def test_an_exhausted_budget_is_asked_once(
    make_stack: MakeStack, status: int, streamed: bool
) -> None:
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
            await client.responses.create(model="plain", input="hello", stream=streamed)
    assert refused.value.status_code == status
    assert refused.value.code == "budget_exceeded"
    assert len(sent) == 1
    assert stack.provider.received == []


async def test_a_stream_that_breaks_off_is_an_error_to_the_library(
    stack: Stack, client: openai.AsyncOpenAI
) -> None:
    """A broken stream never looks like a whole answer."""
    stack.provider.behaviour = streams([*first_events(), *word_events()])
    stream = await client.responses.create(model="plain", input="hello", stream=True)
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass
    await stack.ledger.at_rest()


async def test_a_stored_response_is_not_found_and_asked_once(client: openai.AsyncOpenAI) -> None:
    """What is not served is a 404 that says why."""
    with pytest.raises(openai.NotFoundError, match="any key could read"):
        await client.responses.retrieve("resp_1")
