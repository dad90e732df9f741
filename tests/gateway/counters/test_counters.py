"""Providers' counters, as pure requests and answers: each asks where and what its reference says,
sends nothing that is not part of the prompt, and takes no answer for a count that is none."""

import json

import pytest
from msgspec import Raw

from gateway.counters import COUNTERS, CountUnusable

MODEL = "some/model-1"
TEXTS = ["You are terse.", 'Say "ok" \u2603', "{\n}"]

TARGETS = [
    ("openai", b"/v1", b"/v1/responses/input_tokens"),
    ("anthropic", b"/v1", b"/v1/messages/count_tokens"),
    ("anthropic", b"", b"/v1/messages/count_tokens"),
    ("anthropic", b"/proxy", b"/proxy/v1/messages/count_tokens"),
    ("google", b"/v1beta", b"/v1beta/models/some%2Fmodel-1:countTokens"),
    ("google", b"/v1beta/openai", b"/v1beta/models/some%2Fmodel-1:countTokens"),
]
HEADERS = {
    "openai": [(b"authorization", b"Bearer sk-1")],
    "anthropic": [(b"anthropic-version", b"2023-06-01"), (b"x-api-key", b"sk-1")],
    "google": [(b"x-goog-api-key", b"sk-1")],
}
ANSWERS = {
    "openai": b'{"object": "response.input_tokens", "input_tokens": 11}',
    "anthropic": b'{"input_tokens": 11}',
    "google": b'{"totalTokens": 11, "promptTokensDetails": [{"modality": "TEXT"}]}',
}


@pytest.mark.parametrize(("name", "base_path", "target"), TARGETS)
def test_it_stands_beside_what_the_provider_serves(
    name: str, base_path: bytes, target: bytes
) -> None:
    """Found from the base URL that the route has, with or without its version."""
    assert COUNTERS[name].target(base_path, MODEL) == target


def test_a_model_is_named_once_in_google_s_address() -> None:
    """Also where its name has the resource's prefix."""
    target = COUNTERS["google"].target(b"/v1beta", "models/gemini-3-pro")
    assert target == b"/v1beta/models/gemini-3-pro:countTokens"


@pytest.mark.parametrize("name", COUNTERS)
def test_the_key_is_sent_as_the_provider_wants_it(name: str) -> None:
    """And nothing of it where there is none."""
    counter = COUNTERS[name]
    assert sorted(counter.headers("sk-1")) == HEADERS[name]
    assert all(b"version" in header for header, _ in counter.headers(""))


@pytest.mark.parametrize("name", COUNTERS)
def test_texts_are_asked_for_whole(name: str) -> None:
    """Every text is in one message, in a line of its own, as it is."""
    body = COUNTERS[name].of_texts(MODEL, TEXTS).decode()
    document = json.loads(body)
    if name != "google":  # it has the model in its address
        assert document["model"] == MODEL
    assert json.dumps("\n".join(TEXTS), ensure_ascii=False) in body


def test_a_request_is_asked_for_without_what_is_no_prompt() -> None:
    """Fields of the prompt go as they are; caps, streams and settings do not."""
    fields = {name: Raw(b"[1,  2]") for name in ("messages", "tools", "input", "contents")}
    fields |= {name: Raw(b"3") for name in ("max_tokens", "stream", "temperature", "metadata")}
    asked = {name: counter.of_request(MODEL, fields) for name, counter in COUNTERS.items()}
    assert {name: body.count(b"[1,  2]") for name, body in asked.items()} == {
        "openai": 2,
        "anthropic": 2,
        "google": 2,
    }
    assert json.loads(asked["openai"]) == {"model": MODEL, "input": [1, 2], "tools": [1, 2]}
    assert json.loads(asked["anthropic"]) == {"model": MODEL, "messages": [1, 2], "tools": [1, 2]}
    assert json.loads(asked["google"]) == {
        "generateContentRequest": {
            "model": f"models/{MODEL}",
            "contents": [1, 2],
            "tools": [1, 2],
        }
    }


@pytest.mark.parametrize("name", COUNTERS)
def test_the_number_is_read(name: str) -> None:
    """Whatever stands beside it."""
    assert COUNTERS[name].tokens(ANSWERS[name]) == 11


@pytest.mark.parametrize("name", COUNTERS)
@pytest.mark.parametrize("said", [b"-1", b"true", b'"11"', b"1.5", b"null", b"[]"])
def test_what_is_no_number_of_tokens_is_no_count(name: str, said: bytes) -> None:
    """A proxy's page, an error with status 200, a negative number: not a bound."""
    with pytest.raises(CountUnusable):
        COUNTERS[name].tokens(ANSWERS[name].replace(b"11", said))
    for answer in (b"", b"{}", b"<html>", b"[" * 100_000, b'{"error": {}}', b"\xff"):
        with pytest.raises(CountUnusable):
            COUNTERS[name].tokens(answer)
