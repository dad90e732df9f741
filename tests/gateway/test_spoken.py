"""A client's wire format and its provider's may differ: the official libraries run their loops, the
provider gets its own format with the granted cap, and the money is what the provider says."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest

from gateway.routes import Route
from gateway.translations import TRANSLATIONS
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import answers, calls_tool, says, usage_text
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, fake_route
from tests.gateway.messages_provider import (
    USAGE_NUSD,
    calls_weather,
    messages_routes,
    says_message,
    streams,
)
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CHAT_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
HELLO: Any = [{"role": "user", "content": "hello there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def translated_routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """`claude` for clients of OpenAI's formats; `chatter`, which speaks chat, for the others."""
    claude = messages_routes(origin, upstream)[0]
    chatter = fake_route("chatter", origin, upstream)
    pairs = [
        *((claude, CHAT, MESSAGES), (claude, RESPONSES, MESSAGES)),
        *((chatter, MESSAGES, CHAT), (chatter, RESPONSES, CHAT)),
    ]
    return [
        chatter,
        *(
            replace(route, endpoint=own, translation=TRANSLATIONS[own, target])
            for route, own, target in pairs
        ),
    ]


@pytest.fixture
async def stack(make_stack: MakeStack) -> Stack:
    """A gateway with these."""
    return await make_stack(more_routes=translated_routes)


@pytest.fixture
async def secret(stack: Stack) -> str:
    """A key with money."""
    return await stack.key(budget=[{"usd": "1"}])


@pytest.fixture
async def openai_client(stack: Stack, secret: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's library."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=stack.base_url, api_key=secret, http_client=http
    ) as client:
        yield client


@pytest.fixture
async def anthropic_client(stack: Stack, secret: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's."""
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    base = f"http://127.0.0.1:{stack.port}"
    async with anthropic.AsyncAnthropic(base_url=base, api_key=secret, http_client=http) as client:
        yield client


async def test_chat_on_claude(stack: Stack, openai_client: openai.AsyncOpenAI) -> None:
    """Whole: the provider gets Messages, with the cap and its key's header; the client its cost."""
    stack.provider.behaviour = says_message()
    answer = await openai_client.chat.completions.create(
        model="claude", messages=HELLO, max_completion_tokens=50
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 7)
    assert (answer.usage.model_extra or {})["cost"] == USAGE_NUSD / 10**9
    received = stack.provider.last
    assert received.target == "/base/v1/messages"
    assert received.json["max_tokens"] == 50
    assert await stack.ledger.spent() == USAGE_NUSD
    await stack.ledger.at_rest()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_chat_client_s_tool_loop_on_claude(
    stack: Stack, openai_client: openai.AsyncOpenAI, streamed: bool
) -> None:
    """Two steps: a call with its arguments, and an answer from its result."""
    stack.provider.behaviour = calls_weather()
    messages: list[Any] = list(HELLO)

    async def ask() -> Any:
        asked: Any = {"model": "claude", "messages": messages, "tools": [CHAT_TOOL]}
        if not streamed:
            return (await openai_client.chat.completions.create(**asked)).choices[0]
        async with openai_client.chat.completions.stream(**asked) as stream:
            return (await stream.get_final_completion()).choices[0]

    called = await ask()
    assert called.finish_reason == "tool_calls"
    (call,) = called.message.tool_calls
    assert (call.function.name, call.function.arguments.replace(" ", "")) == (
        "weather",
        '{"city":"Delft"}',
    )
    messages += [called.message.model_dump(exclude_none=True, include={"role", "tool_calls"})]
    messages[-1]["tool_calls"] = [
        {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    ]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert (await ask()).finish_reason == "stop"
    await stack.ledger.at_rest()


@pytest.mark.parametrize("streamed", [False, True])
async def test_messages_on_a_chat_server(
    stack: Stack, anthropic_client: anthropic.AsyncAnthropic, streamed: bool
) -> None:
    """Anthropic's library in front of any server that speaks chat completions."""
    stack.provider.behaviour = answers()
    asked: Any = {"model": "chatter", "max_tokens": 60, "messages": HELLO}
    if streamed:
        async with anthropic_client.messages.stream(**asked) as stream:
            message: Any = await stream.get_final_message()
    else:
        message = await anthropic_client.messages.create(**asked)
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)
    if not streamed:  # of a stream, the library keeps the fields that it knows
        assert message.usage.model_extra["cost"] == CHAT_NUSD / 10**9
    received = stack.provider.last
    assert (received.target, received.cap) == ("/base/v1/chat/completions", 60)
    assert await stack.ledger.spent() == CHAT_NUSD
    await stack.ledger.at_rest()


async def weather_called(client: openai.AsyncOpenAI, asked: Any, *, streamed: bool) -> Any:
    """The response, whose only item is a call of the tool."""
    if streamed:
        async with client.responses.stream(**asked) as stream:
            response: Any = await stream.get_final_response()
    else:
        response = await client.responses.create(**asked)
    (call,) = response.output
    assert (call.type, call.name) == ("function_call", "weather")
    return response


@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_on_a_chat_server(
    stack: Stack, openai_client: openai.AsyncOpenAI, streamed: bool
) -> None:
    """And OpenAI's newer API, with a tool's call."""
    stack.provider.behaviour = calls_tool()
    tool: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    asked: Any = {"model": "chatter", "input": "hello", "tools": [tool], "max_output_tokens": 60}
    response = await weather_called(openai_client, asked, streamed=streamed)
    assert response.output[0].arguments.replace(" ", "") == '{"city":"Delft"}'
    assert (response.usage.input_tokens, response.usage.output_tokens) == (30, 9)
    assert stack.provider.last.cap == 60
    await stack.ledger.at_rest()


@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_on_claude(
    stack: Stack, openai_client: openai.AsyncOpenAI, streamed: bool
) -> None:
    """By both pairs, one behind the other; how hard to think is a wish."""
    stack.provider.behaviour = calls_weather()
    tool: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    asked: Any = {
        "model": "claude",
        "input": "hello",
        "tools": [tool],
        "max_output_tokens": 60,
        "reasoning": {"effort": "low"},
    }
    response = await weather_called(openai_client, asked, streamed=streamed)
    assert (response.status, response.usage.output_tokens) == ("completed", 9)
    assert response.usage.model_extra["cost"] > 0
    received = stack.provider.last
    assert (received.target, received.json["max_tokens"]) == ("/base/v1/messages", 60)
    await stack.ledger.at_rest()


async def test_what_is_reserved_is_for_what_is_sent(stack: Stack, secret: str) -> None:
    """The record has the provider's format, whose endpoint its events name; the quote is that of
    the translated request."""
    stack.provider.behaviour = says_message()
    body = {"model": "claude", "messages": HELLO, "max_tokens": 50}
    quoted = (await stack.call(secret, body, "/v1/quote")).json()
    assert (await stack.call(secret, body)).status_code == 200
    (entry,) = await stack.ledger.requests()
    assert int(entry.counters[2]) == quoted["reserved_nusd"]
    _, event = await stack.ledger.ending()
    assert event["endpoint"] == MESSAGES
    sent, received = (await stack.ledger.bodies()).values()
    assert b'"content":[{"type":"text","text":"hello there"}]' in sent
    assert b'"type":"message"' in received


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        (CHAT, {"model": "claude", "messages": HELLO, "seed": 5}, ("error", "param")),
        (
            MESSAGES,
            {"model": "chatter", "messages": HELLO, "max_tokens": 5, "top_k": 5},
            ("error", "type"),
        ),
        (RESPONSES, {"model": "chatter", "input": "x", "truncation": "auto"}, ("error", "param")),
    ],
)
async def test_what_has_no_words_is_refused_in_the_client_s_shape(
    stack: Stack, secret: str, path: str, body: dict[str, Any], shape: tuple[str, str]
) -> None:
    """400, nothing is sent, nothing is reserved."""
    answer = await stack.call(secret, body, path)
    assert answer.status_code == 400
    assert shape[1] in answer.json()[shape[0]]
    assert stack.provider.received == []
    await stack.ledger.at_rest()


async def test_the_provider_s_own_error_is_told_in_the_client_s_shape(
    stack: Stack, secret: str
) -> None:
    """With its words and its status; it costs nothing."""
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    stack.provider.behaviour = says(error, 529)
    answer = await stack.call(secret, {"model": "claude", "messages": HELLO})
    assert answer.status_code == 529
    assert "Overloaded" in answer.json()["error"]["message"]
    assert await stack.ledger.spent() == 0
    await stack.ledger.at_rest()


async def test_an_error_instead_of_a_stream(stack: Stack, secret: str) -> None:
    """Said with status 200, before any output: in the client's shape, and it costs nothing."""
    error = (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"Overloaded"}}\n\n'
    )
    stack.provider.behaviour = streams([error])
    body = {"model": "claude", "messages": HELLO, "stream": True}
    answer = await stack.call(secret, body)
    (event,) = [each for each in answer.text.split("\n\n") if each]
    assert event.startswith('data: {"error":')
    assert "Overloaded" in event
    assert await stack.ledger.spent() == 0
    await stack.ledger.at_rest()


async def test_a_stream_that_breaks_off_ends_with_an_error(stack: Stack, secret: str) -> None:
    """Not with a clean end; the input and what was streamed are booked."""

    async def breaks(_received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n')
        reply.close()

    stack.provider.behaviour = breaks
    cap = 9
    body = {"model": "chatter", "messages": HELLO, "stream": True, "max_tokens": cap}
    text = (await stack.call(secret, body, MESSAGES)).text
    assert "Hel" in text
    assert "message_stop" not in text
    assert text.rstrip().rsplit("\n\n", 1)[1].startswith("event: error\n")
    _, event = await stack.ledger.ending()
    assert event["usage_source"] == "counted"
    unused = cap - len("Hel")  # a letter is a token at the most
    assert event["reserved_nusd"] - event["charged_nusd"] == unused * OUTPUT_NUSD
    assert await stack.ledger.spent() == event["charged_nusd"]
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (b"[]", "reserved"),
        (b'{"choices": []}', "reserved"),
        (b'{"choices": [], "usage": %b}' % usage_text(11, 7), "provider"),
    ],
)
async def test_an_answer_that_nobody_can_read(
    stack: Stack, secret: str, body: bytes, source: str
) -> None:
    """502 in the client's shape. What it cost is what it says; where it says nothing that is not
    known, and all of it is booked."""
    stack.provider.behaviour = says(body)
    asked = {"model": "chatter", "messages": HELLO, "max_tokens": 9}
    answer = await stack.call(secret, asked, MESSAGES)
    assert (answer.status_code, answer.json()["type"]) == (502, "error")
    _, event = await stack.ledger.ending()
    assert event["usage_source"] == source
    charged_nusd = CHAT_NUSD if source == "provider" else event["reserved_nusd"]
    assert await stack.ledger.spent() == event["charged_nusd"] == charged_nusd
    await stack.ledger.at_rest()


async def test_nobody_counts_for_a_chat_server(stack: Stack, secret: str) -> None:
    """Endpoints that count tokens are for models whose provider has them."""
    for path in ("/v1/messages/count_tokens", "/v1/responses/input_tokens"):
        body = {"model": "chatter", "messages": HELLO}
        if path.startswith(RESPONSES):
            body = {"model": "chatter", "input": "x"}
        answer = await stack.call(secret, body, path)
        assert answer.status_code == 404
        assert "does not count tokens" in answer.text
