"""A chat request becomes Anthropic's request that asks for the same, or a 400 that names what has
no counterpart there."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import ChatDialect
from gateway.errors import GatewayError, InvalidRequest
from gateway.translations.chat_to_messages import messages_request

HELLO = [{"role": "user", "content": "Hello"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
}


def translated(**fields: Any) -> dict[str, Any]:
    """The request that is sent."""
    document = {"model": "claude", "messages": HELLO, **fields}
    call = ChatDialect().parse(msgspec.json.encode(document))
    body: dict[str, Any] = msgspec.json.decode(messages_request(call))
    return body


def test_the_least_request() -> None:
    """Model, a cap (the gateway's stands in its place later), messages, and nothing else."""
    assert translated() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


def test_system_messages_are_the_system_prompt() -> None:
    """In their order, wherever they stand."""
    body = translated(
        messages=[
            {"role": "system", "content": "one"},
            *HELLO,
            {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        ]
    )
    assert [each["text"] for each in body["system"]] == ["one", "two"]
    assert [each["role"] for each in body["messages"]] == ["user"]


def test_a_tool_loop() -> None:
    """Calls become tool_use with their arguments as an object; the results of one answer stand in
    one turn, with what the user says behind them."""
    body = translated(
        messages=[
            *HELLO,
            {"role": "assistant", "content": "", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "and now?"},
        ],
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]
    used = body["messages"][1]["content"]
    assert used[0] == {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
    kinds = [each["type"] for each in body["messages"][2]["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]
    assert body["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object"}},
    ]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_choices_of_tools(choice: object, wanted: dict[str, Any]) -> None:
    """Each has its counterpart."""
    assert translated(tools=[TOOL], tool_choice=choice)["tool_choice"] == wanted


def test_pictures() -> None:
    """Those in the request with their type, those at an address by it."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (PNG, "https://x/y.png")]
    body = translated(messages=[{"role": "user", "content": parts}])
    assert [each["source"] for each in body["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        {"type": "url", "url": "https://x/y.png"},
    ]


def test_the_rest_of_what_has_a_counterpart() -> None:
    """Caps, sampling, stops, users, streams, schemas."""
    body = translated(
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0.9,
        stop="END",
        user="ada",
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}},
    )
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 0.9)
    assert (body["stop_sequences"], body["stream"]) == (["END"], True)
    assert body["metadata"] == {"user_id": "ada"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"a": 1}}}


def test_what_says_nothing_is_left_out() -> None:
    """Values that many clients always send, and that change nothing."""
    said = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False}
    assert translated(**said, store=False, seed=None, service_tier="auto") == translated()
    assert translated(reasoning_effort="high", verbosity="low") == translated()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 7}, "seed"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL | {"function": None}]}]},
            "messages",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(fields: dict[str, Any], param: str) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(InvalidRequest) as refused:
        translated(**fields)
    assert refused.value.param == param


def test_arguments_that_are_no_object_are_refused() -> None:
    """The provider would not take them either."""
    function = {"name": "f", "arguments": "[1"}
    with pytest.raises(InvalidRequest, match="no JSON object"):
        translated(messages=[{"role": "assistant", "tool_calls": [{**CALL, "function": function}]}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("type", "text", "content", "role", "tool_calls", "function", "name"),
                    *("arguments", "image_url", "url", "id", "json_schema", "schema"),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    (
        *("messages", "tools", "tool_choice", "response_format", "stop", "user", "n", "seed"),
        *("temperature", "parallel_tool_calls", "stream", "max_tokens", "logit_bias"),
    )
)


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.lists(JSON, max_size=3))
def test_no_request_fails_otherwise(fields: dict[str, Any], content: list[Any]) -> None:
    """Whatever a client sends, it is translated or refused."""
    document = {"messages": [{"role": "assistant", "content": content}], **fields}
    try:
        body = translated(**document)
    except GatewayError:
        return
    assert {"model", "max_tokens", "messages"} <= body.keys()
