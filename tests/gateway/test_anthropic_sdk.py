"""Anthropic's own client library against the gateway, as people will use it."""

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam
from anthropic.types.beta import MessageCountTokensParams as BetaCountParams

from gateway.options import GatewayOptions
from tests.gateway.behaviours import says
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.messages_provider import (
    OVERLOADED,
    USAGE_NUSD,
    calls_weather,
    event,
    messages_routes,
    says_message,
    streams,
    uses_cap,
)
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import Stack

HELLO: list[MessageParam] = [{"role": "user", "content": "hello there"}]
TOOL: ToolParam = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
async def stack(make_stack: MakeStack) -> Stack:
    """A gateway whose provider speaks Messages."""
    stack = await make_stack(more_routes=messages_routes)
    stack.provider.behaviour = says_message()
    return stack


@pytest.fixture
async def secret(stack: Stack) -> str:
    """A key with money."""
    return await stack.key(budget=[{"usd": "1"}])


def client_of(stack: Stack, secret: str) -> anthropic.AsyncAnthropic:
    """With its default retries; its key goes the way that the library chooses."""
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    base = f"http://127.0.0.1:{stack.port}"
    return anthropic.AsyncAnthropic(base_url=base, api_key=secret, http_client=http)


@pytest.fixture
async def client(stack: Stack, secret: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The asynchronous client."""
    async with client_of(stack, secret) as client:
        yield client


def png(width: int, height: int) -> str:
    """A picture of this size, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    picture = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + picture).decode()


async def test_a_message_is_parsed_and_its_cost_is_in_its_usage(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """`messages.create`, plain: the answer as the provider gave it, and what it cost."""
    message = await client.messages.create(model="claude", max_tokens=100, messages=HELLO)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 7
    assert message.usage.model_extra is not None
    assert message.usage.model_extra["cost"] == USAGE_NUSD / 10**9
    assert stack.provider.last.json["model"] == "claude-sonnet-4-5"
    assert await stack.ledger.spent() == USAGE_NUSD
    await stack.ledger.at_rest()


async def test_a_stream_is_followed_to_its_end(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """`messages.stream`: the text arrives in pieces, and the final message has usage and cost."""
    async with client.messages.stream(model="claude", max_tokens=100, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == 'Hello there, café ☃ "usage": {" message_stop!'
    assert (final.usage.input_tokens, final.usage.output_tokens) == (11, 7)
    assert await stack.ledger.spent() == USAGE_NUSD
    await stack.ledger.at_rest()


@pytest.mark.parametrize("model", ["claude", "demo/small"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_answered(
    stack: Stack, client: anthropic.AsyncAnthropic, model: str, streamed: bool
) -> None:
    """The loop that every agent runs, with the fake provider and with the built-in model."""
    stack.provider.behaviour = calls_weather()
    messages: list[Any] = list(HELLO)

    async def ask() -> Any:
        asked: Any = {"model": model, "max_tokens": 100, "messages": messages, "tools": [TOOL]}
        if not streamed:
            return await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            return await stream.get_final_message()

    called = await ask()
    assert called.stop_reason == "tool_use"
    (use,) = [each for each in called.content if each.type == "tool_use"]
    assert (use.name, list(use.input)) == ("weather", ["city"])
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    messages += [{"role": "assistant", "content": called.content}]
    messages += [{"role": "user", "content": [result]}]
    answered = await ask()
    assert answered.stop_reason == "end_turn"
    assert answered.content[0].type == "text"
    await stack.ledger.at_rest()


async def test_a_picture_is_bounded_by_its_size(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """A small picture reserves what Anthropic's rule says, far from the context window."""
    image: Any = {"type": "base64", "media_type": "image/png", "data": png(280, 280)}
    content: Any = [{"type": "image", "source": image}, {"type": "text", "text": "what is it?"}]
    answer = await client.messages.with_raw_response.create(
        model="claude", max_tokens=10, messages=[{"role": "user", "content": content}]
    )
    reserved_nusd = float(answer.headers["x-comptroller-reserved-usd"]) * 10**9
    assert 100 * INPUT_NUSD < reserved_nusd < 400 * INPUT_NUSD
    await stack.ledger.at_rest()


async def test_tokens_are_counted_for_nothing(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """`messages.count_tokens` reaches the provider of the model and books nothing."""

    async def counts(_received: Received, reply: Reply) -> None:
        reply.whole(200, b'{"input_tokens": 14}')

    stack.provider.behaviour = counts
    before = await stack.ledger.state()
    counted = await client.messages.count_tokens(model="claude", messages=HELLO, tools=[TOOL])
    assert counted.input_tokens == 14
    assert stack.provider.last.target == "/base/v1/messages/count_tokens"
    assert stack.provider.last.json["model"] == "claude-sonnet-4-5"
    demo = await client.messages.count_tokens(model="demo/small", messages=HELLO)
    assert demo.input_tokens > 1
    assert await stack.ledger.state() == before


async def test_whatever_the_library_counts_reaches_the_provider(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """Each of its fields, also those of betas; what it sends in headers is not in the body."""
    stack.provider.behaviour = says(b'{"input_tokens": 14}')
    said: dict[str, Any] = {"model": "claude", "messages": HELLO, "tools": [TOOL], "speed": "fast"}
    for name in ("billing_policy", "cache_control", "compaction", "context_management"):
        said[name] = {"type": "x"}
    said |= {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}, "system": "x"}
    said |= {"mcp_servers": [{"type": "url"}], "tool_choice": {"type": "auto"}}
    in_headers = {"betas", "user_profile_id", "workspace_id"}
    assert said.keys() == BetaCountParams.__annotations__.keys() - in_headers
    await client.beta.messages.count_tokens(**said, betas=["compact-2026-01-12"])
    assert stack.provider.last.json == {**said, "model": "claude-sonnet-4-5"}
    assert stack.provider.last.headers["anthropic-beta"].startswith("compact-2026-01-12")


async def test_models_are_listed_in_its_shape(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """The library's pages and single models are the gateway's, of those that speak Messages."""
    names = [model.id async for model in client.models.list()]
    assert {"claude", "demo/small"} <= set(names)
    assert "plain" not in names
    assert (await client.models.retrieve("demo/small")).display_name == "demo/small"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("claude-9")


@pytest.mark.parametrize("status", [402, 400])
async def test_a_hard_stop_is_asked_once(make_stack: MakeStack, status: int) -> None:
    """The library retries what may pass; a budget that is gone costs one request, one error."""
    stack = await make_stack(GatewayOptions(refusal_status=status), more_routes=messages_routes)
    sent: list[object] = []

    async def count(request: object) -> None:
        sent.append(request)

    secret = await stack.key(budget=[{"usd": "0.000001"}])
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False, event_hooks={"request": [count]})
    base = f"http://127.0.0.1:{stack.port}"
    async with anthropic.AsyncAnthropic(base_url=base, api_key=secret, http_client=http) as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            await client.messages.create(model="claude", max_tokens=100, messages=HELLO)
    assert refused.value.status_code == status
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "billing_error"
    assert "comptroller budget" in body["error"]["message"]
    assert len(sent) == 1
    assert stack.provider.received == []


async def test_fifty_at_once_never_cross_a_small_budget(stack: Stack) -> None:
    """Each uses all that it was granted; together they stay below the limit, and some are told."""
    stack.provider.behaviour = uses_cap(20)
    secret = await stack.key(budget=[{"usd": "0.003"}])
    async with client_of(stack, secret).with_options(max_retries=0) as client:
        calls = (
            client.messages.create(model="claude", max_tokens=100, messages=HELLO)
            for _ in range(50)
        )
        ended = await asyncio.gather(*calls, return_exceptions=True)
    good = [each for each in ended if not isinstance(each, BaseException)]
    assert 0 < len(good) < 50
    assert all(isinstance(each, anthropic.APIStatusError) for each in ended if each not in good)
    billed = [each.billed for each in stack.provider.received]
    nusd = sum(tokens * INPUT_NUSD + out * OUTPUT_NUSD for tokens, out in billed)
    assert await stack.ledger.spent() == nusd <= 3_000_000
    await stack.ledger.at_rest()


async def test_an_error_before_any_output_costs_nothing(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """`event: error` in a stream of status 200 is the provider's error, and is passed on."""
    stack.provider.behaviour = streams([event(OVERLOADED)])
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with client.messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
            await stream.get_final_message()
    assert await stack.ledger.spent() == 0
    await stack.ledger.at_rest()


async def test_a_stream_that_breaks_off_is_an_error_to_the_library(
    stack: Stack, client: anthropic.AsyncAnthropic
) -> None:
    """A broken stream never looks like a whole message."""
    stack.provider.behaviour = streams([b'event: ping\ndata: {"type": "ping"}\n\n'])
    with pytest.raises(anthropic.APIError):
        async with client.messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
            await stream.get_final_message()
    await stack.ledger.at_rest()


async def test_a_bad_key_is_an_authentication_error(stack: Stack) -> None:
    """The library names the error for what it is."""
    async with client_of(stack, "ck-nobody") as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="claude", max_tokens=9, messages=HELLO)
