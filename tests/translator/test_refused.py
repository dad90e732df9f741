"""Nothing leaves but what was reserved: one request, its cap in the provider's own field, no more
text, pictures or answers than were asked for. What LiteLLM does wrong is refused before it is sent,
told as such, and logged."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.translator import buggy, wires
from tests.translator.standing import NEEDS_LITELLM, SECRET, Translator, provider_at

pytestmark = NEEDS_LITELLM


def says(text: str) -> list[dict[str, Any]]:
    """A conversation that awakens a bug."""
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("bug", "told"),
    [
        (buggy.DROPS_CAP, "not the cap that was reserved"),
        (buggy.RAISES_CAP, "not the cap that was reserved"),
        (buggy.MORE_ANSWERS, "not the cap that was reserved"),
        (buggy.ADDS_TEXT, "more text than was reserved"),
        (buggy.ADDS_PICTURE, "more text than was reserved"),
        (buggy.OTHER_SHAPE, "of a form that is not known"),
        (buggy.CALLS_HOME, "beside the provider"),
        (buggy.AIOHTTP, "beside the provider"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_of_litellm_is_refused(
    translator: Translator, bug: str, told: str, stream: bool
) -> None:
    """400 that no client repeats, the provider has seen nothing, and the operator is told."""
    before = len(translator.log)
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        answer = await translator.ask("gemini", messages=says(bug), stream=stream)
        assert provider.received == []
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    error = answer.json()["error"]
    assert (told in error["message"], error["code"]) == (True, "not_translated"), error
    assert told in translator.log[before:]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["gemini", "bare"])
async def test_a_request_to_another_server_does_not_leave(
    translator: Translator, model: str, stream: bool
) -> None:
    """Well formed, and with the key: to the server that the entry names, or to LiteLLM's own, and
    nobody else. Which one it was, the log says."""
    before = len(translator.log)
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        bug = says(f"{buggy.OTHER_SERVER}{translator.port}")
        answer = await translator.ask(model, messages=bug, stream=stream)
        assert provider.received == []
    assert answer.status_code == 400, answer.text
    assert "another server than its entry's" in answer.json()["error"]["message"]
    assert f"(http://localhost:{translator.port}); it was not sent" in translator.log[before:]


async def test_the_same_request_without_the_bug_is_sent(translator: Translator) -> None:
    """What the tests above refuse is the bug."""
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        answer = await translator.ask("gemini", messages=says("no bug at all, just a text"))
        assert (answer.status_code, len(provider.received)) == (200, 1)


async def test_a_second_request_for_one_call_does_not_leave(translator: Translator) -> None:
    """The first has: what it did is not known to whoever asked, and it is booked whole."""
    before = len(translator.log)
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        answer = await translator.ask("gemini", messages=says(buggy.TWICE))
        assert len(provider.received) == 1
    assert answer.status_code == 502
    assert "a second request for one call" in translator.log[before:]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"api_base": "http://evil.example"}, "api_base"),
        ({"mock_response": "free"}, "mock_response"),
        ({"num_retries": 9}, "num_retries"),
        ({"fallbacks": ["gemini/other"]}, "fallbacks"),
        ({"callbacks": ["langfuse"]}, "callbacks"),
        ({"extra_body": {"generationConfig": {}}}, "extra_body"),
        ({"aws_secret_access_key": "x"}, "aws_secret_access_key"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"drop_params": True}, "drop_params"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"googleSearch": {}}]}, "tools"),
        ({"tools": 5}, "tools"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": []}, "messages"),
    ],
)
async def test_litellms_own_settings_are_not_the_callers(
    translator: Translator, fields: dict[str, Any], param: str
) -> None:
    """Nor tools that the provider runs and bills, nor content that nobody has seen."""
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        answer = await translator.ask("gemini", **fields)
        assert provider.received == []
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "gs://bucket/a.png", "file:///etc/passwd", "data:,x"]
)
async def test_no_picture_is_fetched(translator: Translator, url: str) -> None:
    """It would be a request of the caller's choice, which nobody has reserved for."""
    content = [{"type": "image_url", "image_url": {"url": url}}]
    answer = await translator.ask("gemini", messages=[{"role": "user", "content": content}])
    assert answer.status_code == 400
    assert "data URLs" in answer.json()["error"]["message"]


async def test_a_stream_of_several_answers_does_not_leave(translator: Translator) -> None:
    """The end of the first one would pass for that of all, and its usage for the whole. Without a
    stream they are one document."""
    async with provider_at(translator.port, wires.speaks(wires.gemini())) as provider:
        refused = await translator.ask("gemini", n=2, stream=True)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
        assert "leave stream out" in refused.json()["error"]["message"]
        assert provider.received == []
        assert (await translator.ask("gemini", n=2)).status_code == 200
        assert provider.last.json["generationConfig"]["candidate_count"] == 2


async def test_what_litellm_cannot_translate_is_said(translator: Translator) -> None:
    """Its own complaint, as far as it is none about keys."""
    async with provider_at(translator.port, wires.speaks(wires.converse())) as provider:
        answer = await translator.ask("converse", logit_bias={"1": 1})
        assert provider.received == []
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "logit_bias" in message
    assert SECRET not in message


def bodies() -> Iterator[bytes]:
    """What is no request."""
    yield from (b"", b"[]", b"null", b'{"messages": ', b"\xff", b"[" * 100_000)
    yield from (b'{"messages": [{}], "max_tokens": 0}', b'{"messages": [{}], "max_tokens": "5"}')
    yield b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "n": 0}'


async def test_hostile_bodies(translator: Translator) -> None:
    """None of them is an error of ours."""
    headers = {"x-comptroller-deployment": translator.deployments["gemini"]}
    async with translator.client() as client:
        for body in bodies():
            answer = await client.post("/v1/chat/completions", content=body, headers=headers)
            assert answer.status_code == 400, (body[:50], answer.text)


async def test_an_unknown_deployment_is_refused(translator: Translator) -> None:
    """A process that has read another file."""
    async with translator.client() as client:
        for headers in ({}, {"x-comptroller-deployment": "0" * 32}):
            answer = await client.post("/v1/chat/completions", json={}, headers=headers)
            assert answer.status_code == 400
            assert "restart it" in answer.json()["error"]["message"]
