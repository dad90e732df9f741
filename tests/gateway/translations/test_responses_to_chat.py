"""A Responses request becomes a chat request that asks for the same, or a 400 that names what has
no counterpart there."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import ChatDialect
from gateway.errors import GatewayError, InvalidRequest
from gateway.translations.responses_to_chat import chat_request
from tests.gateway.translations.samples import parsed

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
CUSTOM = {
    "type": "custom",
    "name": "patch",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}


def translated(**fields: Any) -> dict[str, Any]:
    """The request that is sent, which chat completions take."""
    document = {"model": "gpt", "input": "Hello", **fields}
    body = chat_request(parsed(document))
    ChatDialect().parse(body)
    sent: dict[str, Any] = msgspec.json.decode(body)
    return sent


def test_the_least_request() -> None:
    """Model, messages, and nothing else."""
    assert translated() == {"model": "gpt", "messages": [{"role": "user", "content": "Hello"}]}


def test_a_tool_loop() -> None:
    """Items become messages: calls stand with the text before them, outputs behind; reasoning
    stays behind."""
    body = translated(
        instructions="Be short.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "x"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me see."}],
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {
                "type": "custom_tool_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "two"}],
            },
        ],
        tools=[FUNCTION, CUSTOM],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=True,
    )
    system, user, assistant, one, two = body["messages"]
    assert system == {"role": "system", "content": "Be short."}
    assert user == {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    assert assistant["content"] == "Let me see."
    assert [each["type"] for each in assistant["tool_calls"]] == ["function", "custom"]
    assert assistant["tool_calls"][1]["custom"] == {"name": "patch", "input": "x"}
    assert [each["content"] for each in (one, two)] == ["one", "two"]
    function, custom = body["tools"]
    assert function["function"] == {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object"},
    }
    assert custom["custom"]["format"]["grammar"] == {"syntax": "lark", "definition": "start: x"}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["parallel_tool_calls"] is True


def test_the_rest_of_what_has_a_counterpart() -> None:
    """Caps, sampling, reasoning, schemas, streams."""
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    body = translated(
        max_output_tokens=64,
        temperature=0.5,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": form, "verbosity": "low"},
        stream=True,
    )
    assert (body["temperature"], body["reasoning_effort"], body["verbosity"]) == (0.5, "low", "low")
    assert body["response_format"]["json_schema"] == {
        "name": "n",
        "schema": {"type": "object"},
        "strict": True,
    }
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_pictures() -> None:
    """With how closely they are looked at."""
    part = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}
    body = translated(input=[{"role": "user", "content": [part]}])
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    ]


def test_what_says_nothing_is_left_out() -> None:
    """What clients always send, and what is about keeping and showing."""
    said = {"store": True, "metadata": {}, "include": ["reasoning.encrypted_content"]}
    assert translated(**said, background=False, truncation="disabled") == translated()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input"),
        ({"input": 5}, "input"),
        ({"text": {"format": {"type": "grammar"}}}, "text"),
    ],
)
def test_what_has_no_counterpart_is_named(fields: dict[str, Any], param: str) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(InvalidRequest) as refused:
        translated(**fields)
    assert refused.value.param == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("type", "text", "content", "role", "output", "name", "call_id"),
                    *("format", "arguments", "effort", "image_url", "refusal"),
                )
            ),
            inner | st.sampled_from(["message", "function_call", "function", "user", "refusal"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    (
        *("input", "tools", "tool_choice", "text", "reasoning", "instructions"),
        *("temperature", "stream", "parallel_tool_calls", "truncation"),
    )
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_request_fails_otherwise(fields: dict[str, Any]) -> None:
    """Whatever a client sends, it is translated or refused."""
    try:
        body = translated(**fields)
    except GatewayError:
        return
    assert {"model", "messages"} <= body.keys()
