"""A Responses client with Claude reads its own names, whichever of the two translations refuses."""

from typing import Any

import msgspec
import pytest

from gateway.dialects import DIALECTS
from gateway.errors import InvalidRequest, NotPriced
from gateway.translations import TRANSLATIONS
from gateway.translations.refused import renamed

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
PAIR = TRANSLATIONS[RESPONSES, MESSAGES]
CUSTOM = {"type": "custom", "name": "messages"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "x"}
BAD_CALL = {"type": "function_call", "call_id": "messages", "name": "f", "arguments": "[1"}


def refusal(**fields: Any) -> InvalidRequest:
    """What such a request is told."""
    body = msgspec.json.encode({"model": "m", "store": False, "input": "hello", **fields})
    with pytest.raises(InvalidRequest) as refused:
        PAIR.request(DIALECTS[RESPONSES].parse(body, {}))
    return refused.value


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"text": {"format": {"type": "json_object"}}}, "text", "text.format without"),
        ({"input": [CUSTOM_CALL]}, "input", "a tool call that is no function's"),
        ({"tools": [CUSTOM]}, "tools", "a tool of the type 'custom'"),
        ({"service_tier": "flex"}, "service_tier", "service_tier"),
        ({"truncation": "auto"}, "truncation", "truncation"),
    ],
)
def test_what_has_no_counterpart_is_named_as_the_client_wrote_it(
    fields: dict[str, Any], param: str, words: str
) -> None:
    """With what it can do: it speaks to no other endpoint."""
    error = refusal(**fields)
    assert error.param == param
    assert error.message.startswith(f"{words} ")
    assert "chat completions" not in error.message
    assert error.message.endswith("leave it out, or use a model that is served at /v1/responses")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"input": []}, "input", "input is a list of at least one message"),
        (
            {"input": [BAD_CALL]},
            "input",
            "the arguments of the tool call 'messages' are no JSON object",
        ),
        (
            {"temperature": 1.5},
            "temperature",
            "temperature is at most 1 for this model's provider",
        ),
    ],
)
def test_so_is_what_is_wrong(fields: dict[str, Any], param: str, message: str) -> None:
    """What a client has called something is told as it is."""
    error = refusal(**fields)
    assert (error.param, error.message) == (param, message)


def test_what_has_no_price_is_still_told_as_that() -> None:
    """Its code says what to do."""
    names = {"verbosity": "text.verbosity"}
    error = renamed(NotPriced("verbosity has none", param="verbosity"), names, "stay")
    assert type(error) is NotPriced
    assert (error.param, error.message) == ("text", "text.verbosity has none")
