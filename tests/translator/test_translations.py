"""A request is translated to each provider's format with its cap in it, once, and its answer back
with what the provider itself says was used: streamed and not, text and tools."""

import json
from typing import Any

import pytest

from tests.gateway.provider import Received, Reply
from tests.translator import wires
from tests.translator.standing import (
    AWS_SECRET,
    NEEDS_LITELLM,
    SECRET,
    Translator,
    events_of,
    provider_at,
)

pytestmark = NEEDS_LITELLM
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "what the weather is",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "a city"}},
                "required": ["city"],
            },
        },
    }
]
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw"
    "AAAABJRU5ErkJggg=="
)
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call00001",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
]
SPOKEN = {
    "gemini": wires.gemini,
    "converse": wires.converse,
    "mistral": wires.mistral,
    "cohere": wires.cohere,
    "azure": wires.azure,
    "claude": wires.anthropic,
}
CAPS: dict[str, Any] = {
    "gemini": lambda body: body["generationConfig"]["max_output_tokens"],
    "converse": lambda body: body["inferenceConfig"]["maxTokens"],
    "mistral": lambda body: body["max_tokens"],
    "cohere": lambda body: body["max_tokens"],
    "azure": lambda body: body["max_tokens"],
    "claude": lambda body: body["max_tokens"],
}
ALL = pytest.mark.parametrize("model", SPOKEN)


def input_and_output(usage: dict[str, Any]) -> tuple[int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"]


@ALL
async def test_a_whole_answer(translator: Translator, model: str) -> None:
    """Its text to the letter, the provider's counters, the cap in the provider's own field; the key
    where that provider wants it, and nothing compressed, which nobody here could read along."""
    async with provider_at(translator.port, wires.speaks(SPOKEN[model]())) as provider:
        answer = await translator.ask(model)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["choices"][0]["message"]["content"] == wires.TEXT
        assert document["choices"][0]["finish_reason"] == "stop"
        assert input_and_output(document["usage"]) == (11, 12)
        (received,) = provider.received
        assert CAPS[model](received.json) == 50
        assert received.headers["accept-encoding"] == "identity"


@ALL
async def test_a_stream(translator: Translator, model: str) -> None:
    """The same, in pieces, with the usage in the last event but one; torn between any two bytes it
    is no other stream."""
    behaviour = wires.speaks(SPOKEN[model](), torn=True)
    async with provider_at(translator.port, behaviour) as provider:
        answer = await translator.ask(model, stream=True)
        assert answer.status_code == 200, answer.text
        *chunks, last, end = events_of(answer.content)
        texts = [each["choices"][0]["delta"].get("content") or "" for each in chunks]
        assert "".join(texts) == wires.TEXT
        assert [each for each in chunks if "usage" in each] == []
        assert (last["choices"], end) == ([], None)
        assert input_and_output(last["usage"]) == (11, 12)
        (received,) = provider.received
        assert CAPS[model](received.json) == 50


@ALL
@pytest.mark.parametrize("stream", [False, True])
async def test_tools(translator: Translator, model: str, stream: bool) -> None:
    """Tools, calls and their results go out within what was reserved for them; a call comes back
    whole."""
    behaviour = wires.speaks(SPOKEN[model](tool=True))
    talk = [each for each in CONVERSATION if not isinstance(each["content"], list)]
    talk.insert(1, {"role": "user", "content": "how is the weather?"})
    async with provider_at(translator.port, behaviour) as provider:
        answer = await translator.ask(model, messages=talk, tools=TOOLS, stream=stream)
        assert answer.status_code == 200, answer.text
        if stream:
            chunks = [each for each in events_of(answer.content) if each and each["choices"]]
            calls = [
                call
                for each in chunks
                for call in each["choices"][0]["delta"].get("tool_calls") or ()
            ]
            reason = chunks[-1]["choices"][0]["finish_reason"]
        else:
            choice = answer.json()["choices"][0]
            calls, reason = choice["message"]["tool_calls"], choice["finish_reason"]
        assert reason == "tool_calls"
        assert calls[0]["function"]["name"] == "weather"
        arguments = "".join(call["function"].get("arguments") or "" for call in calls)
        assert json.loads(arguments) == wires.TOOL_ARGUMENTS
        assert len(provider.received) == 1


@pytest.mark.parametrize("model", ["gemini", "converse", "mistral", "azure", "claude"])
async def test_pictures(translator: Translator, model: str) -> None:
    """A picture goes out as it came in, and is no text."""
    async with provider_at(translator.port, wires.speaks(SPOKEN[model]())) as provider:
        answer = await translator.ask(model, messages=CONVERSATION, tools=TOOLS)
        assert answer.status_code == 200, answer.text
        assert provider.last.body.count(PNG.encode()) == 1


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@ALL
@pytest.mark.parametrize("response_format", [{"type": "json_object"}, SCHEMA])
async def test_formats_of_answers(
    translator: Translator, model: str, response_format: dict[str, Any]
) -> None:
    """Are translated within what was reserved, or refused before anything is sent."""
    async with provider_at(translator.port, wires.speaks(SPOKEN[model]())) as provider:
        answer = await translator.ask(model, response_format=response_format)
        assert (answer.status_code, len(provider.received)) in ((200, 1), (400, 0)), answer.text


async def test_thoughts_and_the_cache_are_counted_as_google_does(translator: Translator) -> None:
    """Thoughts are beside the candidates' tokens, what came from the cache is in the prompt's."""
    async with provider_at(translator.port, wires.speaks(wires.gemini())):
        usage = (await translator.ask("gemini")).json()["usage"]
        assert usage["prompt_tokens_details"] == {"cached_tokens": 3}
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 5}


async def test_nothing_said_is_nothing_guessed(translator: Translator) -> None:
    """Where a provider does not say what was used, nobody does: the gateway books all it has
    reserved. LiteLLM would count by itself."""
    async with provider_at(translator.port, wires.speaks(wires.gemini(usage={}))):
        answer = await translator.ask("gemini")
        assert answer.status_code == 502 or "usage" not in answer.json()
        events = events_of((await translator.ask("gemini", stream=True)).content)
        assert events[-1] is None
        assert not any("usage" in each for each in events[:-1])


async def test_nothing_of_a_request_is_logged(translator: Translator) -> None:
    """No key, and nothing that was asked or answered, whatever went wrong."""

    async def repeats(received: Received, reply: Reply) -> None:
        reply.whole(400, json.dumps({"error": {"message": str(received.headers)}}).encode())

    for behaviour in (
        wires.speaks(wires.gemini()),
        wires.speaks(wires.gemini(tool=True, usage={})),
        repeats,
    ):
        async with provider_at(translator.port, behaviour):
            await translator.ask("gemini")
            await translator.ask("gemini", stream=True)
            await translator.ask("converse", seed="not a number")
            await translator.ask("absent")
    for text in (SECRET, AWS_SECRET, "hello there", wires.WORDS[2], "Oslo", "not a number"):
        assert text not in translator.log, text
