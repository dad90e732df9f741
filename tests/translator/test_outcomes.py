"""How a call ends that does not end well: the gateway is told what the network has seen, not what
LiteLLM makes of it, because that is what money is booked by."""

import asyncio
import json

import httpx
import pytest

from tests.gateway.provider import Received, Reply
from tests.translator import buggy, wires
from tests.translator.standing import NEEDS_LITELLM, SECRET, Translator, provider_at

pytestmark = NEEDS_LITELLM
ERROR = {"error": {"code": 429, "message": f"quota of {SECRET} is spent", "status": "EXHAUSTED"}}


async def test_a_provider_that_cannot_be_reached(translator: Translator) -> None:
    """Provably nothing was sent: the gateway releases the reservation."""
    for stream in (False, True):
        answer = await translator.ask("absent", stream=stream)
        assert answer.status_code == 502
        assert answer.headers["x-comptroller-not-reached"] == "true"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_the_providers_own_error(translator: Translator, status: int, stream: bool) -> None:
    """Its status and its words, without the key that they repeat; one request, whatever LiteLLM
    would like to try again."""

    async def refuse(_received: Received, reply: Reply) -> None:
        reply.whole(status, json.dumps(ERROR).encode(), ("retry-after", "7"))

    async with provider_at(translator.port, refuse) as provider:
        answer = await translator.ask("gemini", stream=stream)
        assert len(provider.received) == 1
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "quota of [redacted] is spent"
    assert answer.headers["retry-after"] == "7"
    assert "x-comptroller-not-reached" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_stands_between_answers(translator: Translator, stream: bool) -> None:
    """HTML says nothing about what the provider did."""

    async def between(_received: Received, reply: Reply) -> None:
        reply.whole(500, b"<html>oops</html>", ("content-type", "text/html"))

    async with provider_at(translator.port, between):
        answer = await translator.ask("gemini", stream=stream)
    assert answer.status_code == 502
    assert "x-comptroller-not-reached" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_breaks_after_the_request(
    translator: Translator, stream: bool
) -> None:
    """The provider may have worked. LiteLLM would send it again."""

    async def reset(_received: Received, reply: Reply) -> None:
        reply.reset()

    async with provider_at(translator.port, reset) as provider:
        answer = await translator.ask("gemini", stream=stream)
        assert len(provider.received) == 1
    assert answer.status_code == 502
    assert "x-comptroller-not-reached" not in answer.headers


async def test_a_redirect_is_not_followed(translator: Translator) -> None:
    """To a server that nobody has configured, with the request and its key."""

    async def elsewhere(_received: Received, reply: Reply) -> None:
        reply.whole(307, b"", ("location", f"http://127.0.0.1:{translator.port}/models/x:y"))

    async with provider_at(translator.port, elsewhere) as provider:
        answer = await translator.ask("gemini")
        assert len(provider.received) == 1
    assert answer.status_code == 502


SPOKEN = {
    "gemini": wires.gemini(),
    "converse": wires.converse(),
    "mistral": wires.mistral(),
    "cohere": wires.cohere(),
    "claude": wires.anthropic(),
}
CUT = {"gemini": 1, "converse": 1, "mistral": 2, "cohere": 1, "claude": 2}


@pytest.mark.parametrize("model", SPOKEN)
async def test_a_stream_without_its_end_is_broken_off(translator: Translator, model: str) -> None:
    """Also where the connection ends in good order: LiteLLM would end it as if it were whole, with
    tokens that it has counted itself."""
    behaviour = wires.speaks(SPOKEN[model], cut=CUT[model])
    async with provider_at(translator.port, behaviour):
        with pytest.raises(httpx.RemoteProtocolError):
            await translator.ask(model, stream=True)


async def test_a_stream_that_breaks_in_the_middle(translator: Translator) -> None:
    """Is broken off, too."""

    async def breaks(received: Received, reply: Reply) -> None:
        reply.begin()
        reply.chunk(wires.gemini()(True)[0])
        await asyncio.sleep(0)
        reply.close()

    async with provider_at(translator.port, breaks):
        with pytest.raises(httpx.RemoteProtocolError):
            await translator.ask("gemini", stream=True)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"candidates": 5}', b'{"candidates": [' * 5_000, b"\xff"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_makes_no_sense(
    translator: Translator, body: bytes, stream: bool
) -> None:
    """Is nobody's completion, and the process lives on."""

    async def nonsense(_received: Received, reply: Reply) -> None:
        if stream:
            reply.begin()
            reply.chunk(b"data: " + body + b"\n\n")
            reply.end()
        else:
            reply.whole(200, body)

    async with provider_at(translator.port, nonsense):
        try:
            answer = await translator.ask("gemini", stream=stream)
        except httpx.RemoteProtocolError:
            assert stream
        else:
            assert answer.status_code == 502, answer.text
    async with provider_at(translator.port, wires.speaks(wires.gemini())):
        assert (await translator.ask("gemini")).status_code == 200


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": -1, "candidatesTokenCount": 1, "totalTokenCount": 0},
        {"promptTokenCount": 10**12, "candidatesTokenCount": 1, "totalTokenCount": 10**12 + 1},
        {"promptTokenCount": 3, "cachedContentTokenCount": 9, "candidatesTokenCount": 1},
    ],
)
async def test_usage_that_cannot_be_is_none(translator: Translator, usage: dict[str, int]) -> None:
    """The gateway books all that it has reserved."""
    async with provider_at(translator.port, wires.speaks(wires.gemini(usage=usage))):
        answer = await translator.ask("gemini")
        assert answer.status_code == 502 or "usage" not in answer.json()


async def test_an_exception_of_litellms_after_the_answer(translator: Translator) -> None:
    """The provider has done its work: what it did is not known to whoever asked."""
    messages = [{"role": "user", "content": buggy.CRASHES}]
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        answer = await translator.ask("gemini", messages=messages)
        assert len(provider.received) == 1
    assert answer.status_code == 502
    assert "x-comptroller-not-reached" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gateway_that_hangs_up_cancels_the_request(
    translator: Translator, stream: bool
) -> None:
    """The provider sees it, as if the gateway had been connected to it."""
    arrived = asyncio.Event()

    async def hangs(received: Received, reply: Reply) -> None:
        if stream:
            reply.begin()
            reply.chunk(wires.gemini()(True)[0])
        arrived.set()
        await received.gone.wait()

    async with provider_at(translator.port, hangs) as provider:
        asking = asyncio.create_task(translator.ask("gemini", stream=stream))
        await arrived.wait()
        asking.cancel()
        async with asyncio.timeout(20):
            await provider.last.gone.wait()
