"""In every format that is known the cap is found where the provider obeys it, and nowhere else; a
format that is not known has none."""

from typing import Any

import pytest

from pricing.usage import APIS
from translator.shapes import SHAPES, shape_of

MESSAGES: dict[str, Any] = {"messages": []}
BEDROCK = "/model/x/converse"
GOOGLE = "/v1beta/models/x:generateContent"
ANTHROPIC = {"anthropic_version": "bedrock-2023-05-31", **MESSAGES}


@pytest.mark.parametrize(
    ("path", "body", "cap"),
    [
        (GOOGLE, {"contents": [], "generationConfig": {"maxOutputTokens": 5}}, 5),
        (GOOGLE, {"contents": [], "generation_config": {"max_output_tokens": 5}}, 5),
        (GOOGLE, {"contents": [], "maxOutputTokens": 5}, 0),
        (GOOGLE, {"contents": [], "generationConfig": None}, 0),
        (
            GOOGLE,
            {"contents": [], "generationConfig": {"maxOutputTokens": 5, "max_output_tokens": 9}},
            0,
        ),
        (BEDROCK, {**MESSAGES, "inferenceConfig": {"maxTokens": 5}}, 5),
        (BEDROCK, {**MESSAGES, "inferenceConfig": {}}, 0),
        (
            BEDROCK,
            {
                **MESSAGES,
                "inferenceConfig": {"maxTokens": 5},
                "additionalModelRequestFields": {"max_tokens": 9},
            },
            0,
        ),
        ("/v1/chat/completions", {**MESSAGES, "max_tokens": 5}, 5),
        ("/v1/chat/completions", {**MESSAGES, "max_completion_tokens": 5}, 5),
        ("/v1/chat/completions", {**MESSAGES, "max_tokens": 5, "max_completion_tokens": 9}, 0),
        ("/v1/chat/completions", {**MESSAGES, "max_tokens": True}, 0),
        ("/v1/chat/completions", {**MESSAGES, "max_tokens": "5"}, 0),
        ("/v1/chat/completions", {**MESSAGES, "max_tokens": -5}, 0),
        ("/anthropic/v1/messages", {**MESSAGES, "max_tokens": 5}, 5),
        ("/model/x/invoke", {**ANTHROPIC, "max_tokens": 5}, 5),
        ("/v2/chat", {**MESSAGES, "max_tokens": 5}, 5),
    ],
)
def test_the_cap(path: str, body: dict[str, Any], cap: int) -> None:
    """0 for none, for one that is none, and for two that differ."""
    shape = shape_of(path, body)
    assert shape is not None
    assert shape.cap(body) == cap


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", {**MESSAGES, "max_tokens": 5}),
        ("/api/chat", {**MESSAGES, "options": {"num_predict": 5}}),
        ("/model/x/invoke", {"prompt": "x", "max_gen_len": 5}),
        ("/v1/completions", {"prompt": "x", "max_tokens": 5}),
        (GOOGLE, {"instances": []}),
        ("/v1beta/models/x:countTokens", {"contents": []}),
    ],
)
def test_an_unknown_format(path: str, body: dict[str, Any]) -> None:
    """Has no shape, so that it does not leave."""
    assert shape_of(path, body) is None


@pytest.mark.parametrize(
    ("path", "body", "choices"),
    [
        (GOOGLE, {"contents": [], "generationConfig": {"candidateCount": 3}}, 3),
        (GOOGLE, {"contents": [], "generationConfig": {"candidate_count": 3}}, 3),
        (GOOGLE, {"contents": []}, 1),
        ("/chat/completions", {**MESSAGES, "n": 3}, 3),
        (BEDROCK, MESSAGES, 1),
    ],
)
def test_how_many_answers(path: str, body: dict[str, Any], choices: int) -> None:
    """Each may be as long as the cap."""
    shape = shape_of(path, body)
    assert shape is not None
    assert shape.choices(body) == choices


def test_every_format_says_what_was_used_in_a_way_that_is_known() -> None:
    """Its api is one of pricing's."""
    assert {each.api for each in SHAPES} <= APIS.keys()
