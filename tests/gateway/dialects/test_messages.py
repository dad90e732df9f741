"""Requests of the Messages API alone: what is bounded, what is refused, what is forwarded."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from gateway.dialects import MESSAGES
from gateway.dialects.contract import Call
from gateway.errors import InvalidRequest, NotPriced
from tests.gateway.dialects.test_chat_input import picture

HELLO = [{"role": "user", "content": "hello there"}]
GOOD: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": HELLO}
NOTHING = object()


def body_of(**fields: object) -> bytes:
    """A good body with other fields; NOTHING takes one away."""
    document = {name: each for name, each in {**GOOD, **fields}.items() if each is not NOTHING}
    return json.dumps(document, separators=(",", ":")).encode()


def parsed(headers: Mapping[bytes, bytes] | None = None, /, **fields: object) -> Call:
    """The call."""
    return MESSAGES.parse(body_of(**fields), headers or {})


def asked(*blocks: object) -> Call:
    """A call whose one message has these blocks."""
    return parsed(messages=[{"role": "user", "content": list(blocks)}])


def sent(call: Call) -> dict[str, Any]:
    """What the provider gets."""
    encoded = MESSAGES.with_cap(MESSAGES.encode(call, "claude-sonnet-4-5"), "max_tokens", 7)
    document: dict[str, Any] = json.loads(encoded)
    return document


def test_the_cap_is_required_as_the_api_says_it() -> None:
    """Without max_tokens there is no bound: the refusal is Anthropic's own."""
    for missing in (NOTHING, None):
        with pytest.raises(InvalidRequest, match="max_tokens: Field required"):
            parsed(max_tokens=missing)
    assert parsed(max_tokens=0).output_cap == 0
    assert parsed().output_cap == 100


def test_what_is_forwarded_is_what_was_priced() -> None:
    """Every field as it came, but for the name of the model and the granted cap."""
    fields = {"system": "be brief", "temperature": 0.5, "stop_sequences": ["x"], "top_k": 3}
    call = parsed(**fields, stream=True, metadata={"user_id": "u"})
    assert sent(call) == {
        **GOOD,
        **fields,
        "stream": True,
        "metadata": {"user_id": "u"},
        "model": "claude-sonnet-4-5",
        "max_tokens": 7,
    }


def test_a_key_that_is_there_twice_inside_is_one_thing_to_everybody() -> None:
    """Of what the provider puts into the prompt nothing is forwarded but what was counted."""
    long = "x" * 5_000
    twice = (
        body_of()[:-1] + b',"system":[{"type":"text","text":"%b","text":"short"}]}' % long.encode()
    )
    call = MESSAGES.parse(twice, {})
    assert call.input_tokens_max < 5_000
    assert sent(call)["system"] == [{"type": "text", "text": "short"}]


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_all_that_the_model_reads_is_counted(system: str, said: str, told: str) -> None:
    """The bound is never below the bytes of all texts, wherever they stand."""
    call = parsed(
        system=[{"type": "text", "text": system}],
        messages=[
            {"role": "user", "content": said},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": told}]},
        ],
        tools=[{"name": "f", "description": told, "input_schema": {"type": "object"}}],
    )
    texts = (system, said, told, told)
    assert call.input_tokens_max >= sum(
        len(each.encode("utf-8", "surrogatepass")) for each in texts
    )
    assert not call.unseen_content
    assert call.has_tools


def test_pictures_are_handed_on_with_their_size() -> None:
    """Base64 is looked into; what is elsewhere, or no picture, has no size."""
    data = picture(300, 200).partition(",")[2]
    sources = [
        {"type": "base64", "media_type": "image/png", "data": data},
        {"type": "base64", "media_type": "image/png", "data": "no picture"},
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "file", "file_id": "file_1"},
        "odd",
    ]
    call = asked(*({"type": "image", "source": each} for each in sources))
    assert [each.size for each in call.images] == [(300, 200), None, None, None, None]
    assert not call.unseen_content
    assert call.input_tokens_max < 1_000  # the picture's base64 is not text


TEXT_DOCUMENT = {"type": "document", "source": {"type": "text", "data": "words " * 50}}
BLOCK_DOCUMENT = {
    "type": "document",
    "title": "a title",
    "source": {"type": "content", "content": [{"type": "text", "text": "words " * 50}]},
}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "t",
    "content": [{"type": "text", "text": "words " * 50}, BLOCK_DOCUMENT],
}


@pytest.mark.parametrize("block", [TEXT_DOCUMENT, BLOCK_DOCUMENT, RESULT])
def test_text_in_documents_and_results_is_seen(block: dict[str, Any]) -> None:
    """It counts its bytes."""
    call = asked(block)
    assert not call.unseen_content
    assert 300 <= call.input_tokens_max < 1_000


UNSEEN = [
    {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "x"},
    },
    {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    {"type": "document", "source": {"type": "text", "data": 5}},
    {"type": "document", "source": 5},
    {**TEXT_DOCUMENT, "citations": {"enabled": True}},
    {**TEXT_DOCUMENT, "other": 1},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "web_search_tool_result", "tool_use_id": "t", "content": []},
    {"type": "compaction", "content": "x"},
    {"type": "image", "source": {}, "transformations": {}},
    {"type": "text", "text": 5},
    {"type": "text", "text": "x", "other": "y"},
    {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "n"}, "other": 1},
    {"type": ["text"]},
    {"text": "no type"},
    {"type": "tool_result", "content": [{"type": "tool_result", "content": [RESULT]}]},
]


@pytest.mark.parametrize("block", UNSEEN)
def test_what_nobody_has_seen_is_the_whole_window(block: dict[str, Any]) -> None:
    """PDFs, URLs, files, results of the provider's tools, and whatever is not known here."""
    assert asked(block).unseen_content


def test_unknown_fields_and_held_conversations_are_unseen() -> None:
    """They may bring content; they are passed on."""
    budget = {"task_budget": {"type": "tokens", "total": 20_000}}
    for fields in ({"thread": {"type": "continue"}}, {"new_field": 1}, {"output_config": budget}):
        call = parsed(**fields)
        assert call.unseen_content
        assert fields.items() <= sent(call).items()
        assert call.cache_write == "1h"  # what it holds may be marked
    assert parsed(messages=[{**HELLO[0], "clear_at": 1}]).unseen_content
    assert not parsed(output_config={"effort": "high"}).unseen_content


def test_thinking_keeps_its_budget_below_the_cap() -> None:
    """The cap is not lowered to where the provider would refuse the request; adaptive thinking has
    no such place. What is not above its budget by itself is not lowered at all."""
    enabled = {"type": "enabled", "budget_tokens": 2_000}
    assert parsed(thinking=enabled, max_tokens=8_000).output_tokens_least == 2_001
    assert parsed(thinking=enabled, max_tokens=1_500).output_tokens_least == 1_500
    for kind in ("adaptive", "disabled", "between_tools"):
        assert parsed(thinking={"type": kind}).output_tokens_least == 0
    for odd in (5, "on", {"type": "huge"}, {"type": "enabled", "budget_tokens": "2000"}):
        with pytest.raises(InvalidRequest, match="thinking"):
            parsed(thinking=odd)


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ({"type": "ephemeral"}, "5m"),
        ({"type": "ephemeral", "ttl": "5m"}, "5m"),
        ({"type": "ephemeral", "ttl": "1h"}, "1h"),
    ],
)
def test_cache_writes_are_found_wherever_they_are_asked_for(mark: object, expected: str) -> None:
    """On a block, in the system prompt, on a tool, deep in a result, or beside the messages."""
    text = {"type": "text", "text": "x", "cache_control": mark}
    deep = {"type": "tool_result", "tool_use_id": "t", "content": [text]}
    tool = {"name": "f", "input_schema": {}, "cache_control": mark}
    assert asked(text).cache_write == expected
    assert asked(deep).cache_write == expected
    assert parsed(system=[text]).cache_write == expected
    assert parsed(tools=[tool]).cache_write == expected
    assert parsed(cache_control=mark).cache_write == expected
    assert parsed().cache_write == "none"


REFUSED: list[tuple[str, object]] = [
    ("container", "cont_1"),
    ("mcp_servers", [{"type": "url", "url": "https://example.com"}]),
    ("compaction", {"type": "x"}),
    ("fallbacks", "default"),
    ("fallbacks", [{"model": "y"}]),
    ("fallback_credit_token", "t"),
    ("billing_policy", {"bill_to": "user_profile"}),
    ("service_tier", "priority"),
    ("service_tier", 5),
    ("speed", "fast"),
    ("speed", []),
    ("inference_geo", "us"),
    ("inference_geo", {}),
    ("context_management", {"edits": [{"type": "compact_20260112"}]}),
    ("context_management", {"edits": [5]}),
    *(
        ("tools", [{"type": kind, "name": "x"}])
        for kind in ("web_search_20250305", "web_fetch_20250910", "code_execution_20250825")
    ),
    *(
        ("tools", [{"type": kind, "name": "x"}])
        for kind in ("advisor_20260301", "tool_search_tool_bm25_20251119", "mcp_toolset", "newer_1")
    ),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_has_no_price_is_refused_with_a_reason(name: str, value: object) -> None:
    """Other bills, other models, and tools that the provider runs in a loop of its own."""
    with pytest.raises(NotPriced, match=r".{20}"):
        parsed(**{name: value})


def test_what_costs_no_more_is_let_through() -> None:
    """The same fields where they say what is the case anyway, and edits that only take away."""
    call = parsed(
        container=None,
        mcp_servers=[],
        service_tier="standard_only",
        speed="standard",
        inference_geo="global",
        diagnostics={"previous_message_id": None},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    )
    assert not call.unseen_content


def test_tools_with_a_schema_of_their_own_count_it() -> None:
    """What the model knows of bash, editors and screens is not in the request; of newer ones nobody
    says how much it is."""
    bash = parsed(tools=[{"type": "bash_20250124", "name": "bash"}])
    custom = parsed(tools=[{"type": "custom", "name": "bash"}])
    assert bash.input_tokens_max - custom.input_tokens_max >= 325
    assert parsed(tools=[{"type": "memory_20250818", "name": "memory"}]).unseen_content
    assert parsed(output_config={"format": {"type": "json_schema", "schema": {}}}).has_tools


WRONG: list[object] = [
    None,
    5,
    -1,
    1.5,
    True,
    "x",
    "",
    [],
    [5],
    ["x"],
    [None],
    {},
    {"type": 5},
    [[]],
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        *("model", "messages", "system", "tools", "max_tokens", "stream", "thinking", "metadata"),
        *("tool_choice", "output_config", "output_format", "context_management", "cache_control"),
        *("service_tier", "speed", "inference_geo", "container", "stop_sequences", "betas"),
    ],
)
def test_any_value_anywhere_is_priced_or_refused(name: str, value: object) -> None:
    """Never anything but a call or an error that the caller reads."""
    call = None
    with contextlib.suppress(InvalidRequest):  # NotPriced is one
        call = parsed(**{name: value})
    if call is not None:
        assert MESSAGES.input_tokens_max(call, _Measured()) <= call.input_tokens_max


class _Measured:
    """A measure that counts nothing: what is left is what stands beside the texts."""

    def text(self, _text: str) -> int:
        return 0

    def json(self, _text: str) -> int:
        return 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "data", "citations", "title"]),
            inner | st.sampled_from(["text", "image", "document", "tool_result", "content"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_content_is_priced_or_refused(content: object) -> None:
    """Hostile blocks of any nesting."""
    try:
        call = parsed(messages=[{"role": "user", "content": content}])
    except InvalidRequest:
        return
    assert sent(call)["messages"] == [{"role": "user", "content": content}]


def test_nesting_is_bounded_by_a_number_not_by_the_caller() -> None:
    """Blocks inside blocks beyond what the API has are unseen content, at any depth that the
    parser takes."""
    for depth in (2, 5, 300):
        block: dict[str, Any] = {"type": "text", "text": "x"}
        for _ in range(depth):
            block = {"type": "tool_result", "content": [block]}
        assert asked(block).unseen_content is (depth > 3)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        MESSAGES.parse(b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {})


@pytest.mark.parametrize(
    ("body", "is_error", "tokens"),
    [
        (b'{"type":"message","usage":{"input_tokens":3,"output_tokens":4}}', False, 7),
        (b'{"type":"error","error":{"type":"api_error","message":"x"}}', True, None),
        (b'{"type":"message","usage":{"input_tokens":-3,"output_tokens":4}}', False, None),
        (b'{"type":"message","usage":[]}', False, None),
        (b'{"type":"message"}', False, None),
        (b'{"type":5}', False, None),
        (b"<html>", False, None),
        (b"\xff", False, None),
        (b"[" * 10_000, False, None),
    ],
)
def test_the_usage_of_a_whole_answer(body: bytes, is_error: bool, tokens: int | None) -> None:
    """Read where it is believable; an error is told apart from an answer without one."""
    usage, raw = MESSAGES.usage(body, "anthropic")
    assert usage.is_error is is_error
    assert (usage.meters.total_tokens if usage.meters else None) == tokens
    if tokens:
        priced = MESSAGES.told(body, raw, "0.5")
        assert msgspec.json.decode(priced)["usage"]["cost"] == 0.5
