"""What a responses request is priced as: nothing is forwarded that was not looked at, and whatever
could bill more than its bound is refused with a reason."""

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.responses import responses_pieces
from gateway.dialects import RESPONSES
from gateway.dialects.contract import Call
from gateway.dialects.responses import KNOWN_FIELDS, OUTPUT_TOKENS_LEAST, TOOL_CALLS_WRITTEN
from gateway.errors import InvalidRequest, NotPriced
from pricing import ByteMeasure

GOOD: dict[str, Any] = {"model": "plain", "input": "hello there"}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9"


def parsed(**fields: Any) -> Call:
    """The good request with these fields."""
    return RESPONSES.parse(json.dumps({**GOOD, **fields}).encode())


def test_what_codex_sends_by_default_is_seen_to_the_last_word() -> None:
    """Codex's request (openai/codex, `ResponsesApiRequest`) has no unseen content but its search
    tool, which can be turned off."""
    call = parsed(
        instructions="You are a coding agent.",
        input=[
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "fix it"}],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA"},
            {
                "type": "function_call",
                "name": "shell_command",
                "arguments": "{}",
                "call_id": "call_1",
            },
            {"type": "function_call_output", "call_id": "call_1", "output": "done"},
            {
                "type": "custom_tool_call",
                "name": "apply_patch",
                "input": "*** Begin",
                "call_id": "c2",
            },
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        ],
        tools=[
            FUNCTION,
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
            {"type": "namespace", "name": "mcp", "description": "x", "tools": [FUNCTION]},
            {"type": "tool_search", "execution": "client", "parameters": {}},
        ],
        tool_choice="auto",
        parallel_tool_calls=True,
        reasoning={"effort": "medium", "summary": "auto"},
        store=False,
        stream=True,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="thread",
        text={"verbosity": "low"},
        client_metadata={"x": "y"},
    )
    assert not call.unseen_content
    assert call.stream
    assert call.output_cap is None
    assert call.output_tokens_least == OUTPUT_TOKENS_LEAST
    assert (call.input_windows, call.searches_max) == (1, 0)
    assert call.cache_write == "none"


def test_every_text_counts_its_bytes() -> None:
    """Instructions, messages, calls, results, schemas and tools all weigh what they are."""
    plain = parsed().input_tokens_max
    long = "x" * 5_000
    for fields in (
        {"input": long},
        {"instructions": long},
        {"input": [{"role": "user", "content": long}]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": long}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": long}]},
        {"input": [{"type": "function_call", "call_id": "c", "name": "n", "arguments": long}]},
        {"input": [{"type": "reasoning", "encrypted_content": long, "summary": []}]},
        {"input": [{"type": "compaction", "encrypted_content": long}]},
        {"input": [{"type": "shell_call_output", "output": [{"stdout": long, "outcome": {}}]}]},
        {"input": [{"type": "mcp_list_tools", "tools": [{"name": "n", "input_schema": long}]}]},
        {"input": [{"type": "additional_tools", "tools": [{**FUNCTION, "description": long}]}]},
        {"tools": [{**FUNCTION, "description": long}]},
        {"text": {"format": {"type": "json_schema", "schema": {"description": long}}}},
    ):
        call = parsed(**fields)
        assert not call.unseen_content, fields
        assert call.input_tokens_max >= 5_000 + (0 if "input" in fields else plain - 64), fields
        assert RESPONSES.input_tokens_max(call, ByteMeasure()) == call.input_tokens_max


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"input": [{"id": "msg_1"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]},
        {"input": [{"type": "something_new", "text": "x"}]},
        {"input": [{"role": "user", "content": {"type": "input_file", "file_id": "f"}}]},
        {"input": [{"role": "user", "content": "x", "attachments": [{"file_id": "f"}]}]},
        {"input": [{"type": "compaction", "id": "cmp_1"}]},
        {"input": [{"type": "mcp_call", "id": "m1", "server_label": "x"}]},
        {"input": [{"type": "tool_search_output", "id": "m1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"input": [{"role": "user", "content": [{"type": "new_part", "text": "x"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "y": "z"}]}]},
        {"tools": [{"type": "apply_patch"}]},
        {"tools": [{"type": "local_shell"}]},
        {"tools": [{"type": "shell", "environment": {"type": "local"}}]},
        {"tools": [{"type": "computer"}]},
        {"something_new": "x"},
    ],
)
def test_what_nobody_has_seen_counts_as_the_context_window(fields: dict[str, Any]) -> None:
    """Deny by default: what the provider keeps, renders itself, or what is not known here."""
    assert parsed(**fields).unseen_content


@pytest.mark.parametrize(
    ("part", "has_size"),
    [
        ({"type": "input_image", "image_url": PNG, "detail": "auto"}, True),
        ({"type": "input_image", "image_url": "https://example.com/x.png"}, False),
        ({"type": "input_image", "file_id": "file_1", "detail": "high"}, False),
    ],
)
def test_pictures_are_handed_on_with_their_size(part: dict[str, Any], has_size: bool) -> None:
    """In messages, results of functions and of a computer; one in a file has no size here."""
    for item in (
        {"role": "user", "content": [part]},
        {"type": "function_call_output", "call_id": "c", "output": [part]},
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {**part, "type": "computer_screenshot"},
        },
    ):
        call = parsed(input=[item])
        assert not call.unseen_content
        assert len(call.images) == 1
        assert (call.images[0].size is not None) is has_size
        assert call.input_tokens_max < 1_000


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search", "external_web_access": False},
        {"type": "web_search_2025_08_26"},
        {"type": "web_search_preview"},
    ],
)
def test_what_the_provider_runs_has_a_bound_on_its_rounds(tool: dict[str, Any]) -> None:
    """The gateway writes how many calls there may be where the client does not, and what is
    reserved for is what is forwarded. In an item of the input, which the provider may hold for
    responses that say nothing of it, such a tool is refused."""
    for asked, written in ((None, TOOL_CALLS_WRITTEN), (5, 5)):
        call = parsed(max_tool_calls=asked, tools=[tool])
        assert call.unseen_content
        assert call.input_windows == written + 1
        assert call.searches_max == written
        assert json.loads(RESPONSES.encode(call, "m"))["max_tool_calls"] == written
    for kind in ("additional_tools", "tool_search_output"):
        with pytest.raises(NotPriced, match="in an item of the input"):
            parsed(input=[{"type": kind, "role": "developer", "tools": [tool]}])


@pytest.mark.parametrize(
    "kind",
    [
        *("file_search", "code_interpreter", "image_generation", "programmatic_tool_calling"),
        *("shell", "web_search_4", "something_new", "", None, 5, ["web_search"], {}),
        *("mcp", "tool_search"),  # bounded by nothing that is known to count their calls
    ],
)
def test_tools_without_a_bound_are_refused_wherever_they_stand(kind: object) -> None:
    """Hosted tools that are billed by containers, storage or pictures, and what is not known."""
    tool = {"type": kind, "environment": {"type": "container_auto"}}
    offered: list[dict[str, Any]] = [
        {"tools": [tool]},
        {"input": [{"type": "additional_tools", "tools": [tool]}]},
        {"input": [{"type": "tool_search_output", "tools": [tool]}]},
    ]
    for fields in offered:
        with pytest.raises(NotPriced):
            parsed(**fields)
    with pytest.raises(InvalidRequest):
        parsed(tools=[{"type": "namespace", "name": "n", "tools": [tool]}])


WRONG: dict[str, list[object]] = {
    "background": [True, "yes"],
    "service_tier": ["", 5, ["auto"]],
    "context_management": [[{"type": "compaction"}], "x"],
    "moderation": [{"model": "omni-moderation-latest"}],
    "prompt": [{"id": "pmpt_1"}],
    "reasoning": [{"mode": "pro"}, "x", 1, []],
    "background_options": [{}],
    "api_base": ["http://evil.example"],
    "api_key": ["x"],
    "models": [["dear"]],
    "max_output_tokens": [0, 1, 15, -1, 1.5, "16", True, [], 10**30],
    "max_tool_calls": [0, -1, "1", True, 10**9],
    "model": [None, "", 1, [], "x" * 10_000],
    "input": [
        *(1, {}, True, [1], ["x"], [None], [[]], [{"type": 5, "role": "user"}]),
        *([{"type": "compaction_trigger"}], [{"type": "compaction_trigger", "id": "c"}]),
        *([{"type": "message", "content": "x"}], [{"role": "user", "content": [1]}]),
    ],
    "instructions": [1, [], {}],
    "tools": ["x", 1, {}, [1], ["x"], [None]],
    "stream": ["true", 1, []],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    """Each is a 400 that names its field."""
    with pytest.raises(InvalidRequest) as refused:
        parsed(**{name: value})
    assert refused.value.param == name or name in refused.value.message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt_cache_options": {"mode": "implicit"}}, "5m"),
        ({"prompt_cache_options": {"ttl": "30m"}}, "5m"),
        ({"prompt_cache_options": {"ttl": "12h"}}, "1h"),
        ({"prompt_cache_options": {"ttl": "6h"}}, "1h"),  # dearest where nobody knows
        ({"previous_response_id": "resp_1"}, "1h"),  # may hold marks
        ({"something_new": {}}, "1h"),
        ({"prompt_cache_retention": "24h"}, "none"),
    ],
)
def test_cache_writes_that_are_asked_for_are_in_the_rate(
    fields: dict[str, Any], expected: str
) -> None:
    """By an option of the request, or a mark at a part; however its name is escaped."""
    assert parsed(**fields).cache_write == expected
    part = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = json.dumps({**GOOD, "input": [{"role": "user", "content": [part]}]})
    hidden = body.replace("prompt_cache_break", "prompt_cach\\u0065_break")
    assert RESPONSES.parse(hidden.encode()).cache_write == "5m"
    options = msgspec.json.encode({**GOOD, "prompt_cache_options": {"ttl": "12h"}}).decode()
    call = RESPONSES.parse(options.replace("12h", "12\\u0068").encode())
    assert call.cache_write == "1h"
    assert b'"ttl":"12h"' in RESPONSES.encode(call, "m")
    twice = options.replace('{"ttl":"12h"}', '{"ttl":"12h","ttl":"30m"}')
    assert b"12h" not in RESPONSES.encode(RESPONSES.parse(twice.encode()), "m")


def test_what_is_forwarded_is_what_was_priced() -> None:
    """A key that is there twice inside a field is one thing to a parser and another to the next:
    only what was read goes on, once, with model and cap as they were granted."""
    body = b'{"model":"plain","input":[{"role":"user","content":"a","content":"bb"}],'
    body += b'"max_output_tokens":500,"metadata":{"k":1},"unheard":[1]}'
    call = RESPONSES.parse(body)
    sent = RESPONSES.with_cap(RESPONSES.encode(call, "upstream"), "max_output_tokens", 40)
    assert sent.count(b'"content"') == 1
    assert sent.count(b"max_output_tokens") == 1
    assert json.loads(sent) == {
        "model": "upstream",
        "input": [{"role": "user", "content": "bb"}],
        "metadata": {"k": 1},
        "unheard": [1],
        "max_output_tokens": 40,
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "output", "tools", "text", "id", "x"])
            | st.text(max_size=4),
            inner
            | st.sampled_from(
                [
                    "message",
                    "input_text",
                    "function",
                    "mcp",
                    "reasoning",
                    "input_image",
                    "namespace",
                ]
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(KNOWN_FIELDS)), _JSON, max_size=6))
def test_no_value_of_any_field_is_a_failure(fields: dict[str, Any]) -> None:
    """Hostile JSON in every field is refused or priced: it never raises anything else, and what is
    priced is forwarded with the bytes that were bounded."""
    try:
        call = RESPONSES.parse(msgspec.json.encode({**GOOD, **fields}))
    except InvalidRequest:
        return
    sent = json.loads(RESPONSES.encode(call, "m"))
    assert sent["model"] == "m"
    assert responses_pieces({**sent, "max_output_tokens": 20})
    again = RESPONSES.parse(msgspec.json.encode({**sent, "model": "plain"}))
    assert again.input_tokens_max == call.input_tokens_max
    assert again.unseen_content == call.unseen_content
    assert again.input_windows == call.input_windows


def test_no_depth_is_too_deep_for_a_clear_answer() -> None:
    """What could just be read is written anew where it is counted, with less of Python's stack
    left: the answer was the parser's error, at two depths."""
    limit = sys.getrecursionlimit()
    body = b'{"model":"m","input":[{"type":"function_call_output","output":%b}]}'
    said = set()
    for depth in range(limit - 150, limit):
        try:
            RESPONSES.parse(body % (b'{"a":' * depth + b"0" + b"}" * depth))
        except InvalidRequest as error:
            said.add(str(error))
        else:
            said.add("")
    assert said == {"", "input is nested too deeply", "the body is nested too deeply"}
