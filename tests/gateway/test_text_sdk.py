"""OpenAI's own client library at embeddings and legacy completions, as people use it."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
import pytest_asyncio

from tests.gateway.provider_text import TEXTS, completes, embeds
from tests.gateway.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def stack(text_stack: Stack) -> Stack:
    """One that has models for texts."""
    return text_stack


class Library:
    """The asynchronous client with its default retries, and how many requests it has sent."""

    def __init__(self, stack: Stack, secret: str) -> None:
        self.sent = 0
        http = openai.DefaultAsyncHttpxClient(
            trust_env=False, event_hooks={"request": [self._count]}
        )
        self.client = openai.AsyncOpenAI(base_url=stack.base_url, api_key=secret, http_client=http)

    async def _count(self, _request: httpx.Request) -> None:
        self.sent += 1


@pytest_asyncio.fixture(loop_scope="module")
async def library(stack: Stack) -> AsyncIterator[Library]:
    """With a key that has money."""
    made = Library(stack, await stack.key("rich", [{"usd": "1"}]))
    async with made.client:
        yield made


async def test_embeddings_are_vectors(stack: Stack, library: Library) -> None:
    """The library asks for base64 of its own accord and unpacks it; who asks for numbers gets
    numbers."""
    stack.provider.behaviour = embeds()
    answer = await library.client.embeddings.create(model="embed", input=["one", "two"])
    assert stack.provider.last.json["encoding_format"] == "base64"
    assert [each.embedding for each in answer.data] == [[0.25, -0.5, 1.0]] * 2
    assert answer.usage.prompt_tokens == 11
    assert answer.usage.model_extra == {"cost": 0.000011}
    plain = await library.client.embeddings.create(
        model="embed", input=[[1, 2], [3]], encoding_format="float"
    )
    assert plain.data[1].embedding == [0.25, -0.5, 1.0]


async def test_a_batch_of_2048_is_embedded(stack: Stack, library: Library) -> None:
    """In one request."""
    stack.provider.behaviour = embeds()
    answer = await library.client.embeddings.create(model="embed", input=["text"] * 2_048)
    assert len(answer.data) == 2_048
    assert library.sent == 1


async def test_the_demo_embeds_alike_what_is_alike(library: Library) -> None:
    """A search over two documents finds the right one; base64 and numbers agree."""
    texts = ["how do I reset my password", "a password reset in two steps", "opening hours today"]
    answer = await library.client.embeddings.create(model="demo/embedder", input=texts)
    question, near, far = (each.embedding for each in answer.data)

    def likeness(other: list[float]) -> float:
        return sum(a * b for a, b in zip(question, other, strict=True))

    assert likeness(question) == pytest.approx(1, abs=1e-5)
    assert likeness(near) > likeness(far)
    plain = await library.client.embeddings.create(
        model="demo/embedder", input=texts[0], encoding_format="float"
    )
    assert plain.data[0].embedding == pytest.approx(question, abs=1e-6)
    assert answer.usage.model_extra is not None
    assert answer.usage.model_extra["cost"] > 0


async def test_completions_plain_and_streamed(stack: Stack, library: Library) -> None:
    """Text, usage and cost."""
    stack.provider.behaviour = completes()
    plain = await library.client.completions.create(model="complete", prompt="Once")
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert plain.usage.model_extra == {"cost": 0.000025}
    stream = await library.client.completions.create(
        model="complete", prompt="Once", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(each.choices[0].text for each in chunks if each.choices) == "".join(TEXTS)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].usage.model_extra == {"cost": 0.000025}


async def test_the_demo_completes_a_batch(library: Library) -> None:
    """Whole and streamed say the same, at the cap, with the prompt in front."""
    plain = await library.client.completions.create(
        model="demo/small", prompt=["a b", "c d"], n=2, max_tokens=6, echo=True
    )
    texts = [each.text for each in plain.choices]
    assert [text[:3] for text in texts] == ["a b", "a b", "c d", "c d"]
    assert {each.finish_reason for each in plain.choices} == {"length"}
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 2 * 2 * 6
    streamed = [""] * 4
    stream = await library.client.completions.create(
        model="demo/small", prompt=["a b", "c d"], n=2, max_tokens=6, echo=True, stream=True
    )
    async for chunk in stream:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts


async def asked(client: openai.AsyncOpenAI, endpoint: str) -> object:
    """One call there."""
    if endpoint == "embeddings":
        return await client.embeddings.create(model="embed", input="hello")
    return await client.completions.create(
        model="complete", prompt="hello", stream="streamed" in endpoint
    )


@pytest.mark.parametrize("endpoint", ["embeddings", "completions", "completions streamed"])
async def test_a_hard_stop_is_one_request(stack: Stack, endpoint: str) -> None:
    """The library retries what may pass; a budget that is gone costs one request, one error."""
    library = Library(stack, await stack.key("poor", [{"usd": "0.000001"}]))
    forwarded = len(stack.provider.received)
    async with library.client as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await asked(client, endpoint)
    assert refused.value.code == "budget_exceeded"
    assert library.sent == 1
    assert len(stack.provider.received) == forwarded
