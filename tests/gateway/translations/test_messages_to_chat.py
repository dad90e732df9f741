"""Anthropic's request becomes a chat request that asks for the same, or a 400 that names what has
no counterpart there."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import ChatDialect
from gateway.errors import GatewayError, InvalidRequest
from gateway.translations.messages_to_chat import chat_request
from tests.gateway.translations.samples import parsed

HELLO = [{"role": "user", "content": "Hello"}]
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}


def translated(**fields: Any) -> dict[str, Any]:
    """The request that is sent, which chat completions take."""
    document = {"model": "gpt", "max_tokens": 50, "messages": HELLO, **fields}
    body = chat_request(parsed(document))
    ChatDialect().parse(body)
    sent: dict[str, Any] = msgspec.json.decode(body)
    return sent


def test_the_least_request() -> None:
    """Model, cap, messages, and nothing else."""
    assert translated() == {"model": "gpt", "max_tokens": 50, "messages": HELLO}


def test_a_system_prompt_is_the_first_message() -> None:
    """Blocks in one text."""
    blocks = [
        {"type": "text", "text": "one"},
        {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}},
    ]
    for system, text in (("one", "one"), (blocks, "one\n\ntwo")):
        assert translated(system=system)["messages"][0] == {"role": "system", "content": text}


def test_a_tool_loop() -> None:
    """Calls carry their arguments as text, results stand right behind them, then what the user
    says; thoughts stay behind."""
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "one"}
    bad = {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [IMAGE]}
    body = translated(
        messages=[
            *HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "Let me see."},
                    USE,
                    {**USE, "id": "t2"},
                ],
            },
            {"role": "user", "content": [{"type": "text", "text": "and now?"}, result, bad]},
        ],
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    user, assistant, one, two, last = body["messages"]
    assert (user["role"], assistant["content"]) == ("user", "Let me see.")
    assert [each["id"] for each in assistant["tool_calls"]] == ["t1", "t2"]
    assert assistant["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert one == {"role": "tool", "tool_call_id": "t1", "content": "one"}
    assert two == {"role": "tool", "tool_call_id": "t2", "content": "Error: "}
    assert [each["type"] for each in last["content"]] == ["image_url", "text"]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices_of_tools(choice: object, wanted: object) -> None:
    """Each has its counterpart."""
    assert translated(tools=[TOOL], tool_choice=choice)["tool_choice"] == wanted


def test_pictures_and_documents() -> None:
    """Pictures with their data or address; documents that are text as text."""
    document = {"type": "document", "title": "T", "source": {"type": "text", "data": "body"}}
    at_url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    body = translated(messages=[{"role": "user", "content": [IMAGE, at_url, document]}])
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "text", "text": "T\n\nbody"},
    ]


def test_the_rest_of_what_has_a_counterpart() -> None:
    """Sampling, stops, streams, schemas."""
    form = {"type": "json_schema", "schema": {"type": "object"}}
    body = translated(
        temperature=0.5, stop_sequences=["END"], stream=True, output_config={"format": form}
    )
    assert (body["temperature"], body["stop"], body["stream"]) == (0.5, ["END"], True)
    assert body["stream_options"] == {"include_usage": True}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_wishes_are_left_out() -> None:
    """What changes how well the provider does it, and not what is asked."""
    wishes = {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "u"},
        "context_management": {"edits": []},
        "service_tier": "auto",
    }
    assert translated(**wishes) == translated()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_k": 5}, "top_k"),
        ({"speed": "fast"}, "speed"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, "stop_sequences"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "new"}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "source": {"type": "base64"}}],
                    }
                ]
            },
            "messages",
        ),
        ({"messages": [{"role": "assistant", "content": [{"type": "new"}]}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": ["x"]}, "messages"),
        ({"system": [IMAGE]}, "system"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config"),
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
                    *("type", "text", "content", "role", "source", "input", "name", "id"),
                    *("tool_use_id", "format", "schema", "title", "data", "is_error"),
                )
            ),
            inner | st.sampled_from(["text", "image", "tool_result", "tool_use", "user", "auto"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    (
        *("messages", "tools", "tool_choice", "output_config", "stop_sequences", "system"),
        *("temperature", "thinking", "stream"),
    )
)


@given(st.dictionaries(FIELDS, JSON, max_size=4), JSON)
def test_no_request_fails_otherwise(fields: dict[str, Any], content: Any) -> None:
    """Whatever a client sends, it is translated or refused."""
    document = {"messages": [{"role": "user", "content": content}], **fields}
    try:
        body = translated(**document)
    except GatewayError:
        return
    assert {"model", "messages"} <= body.keys()
