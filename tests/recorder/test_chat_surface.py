"""Chat completions in the records: streams put together, tools found, nothing ever raised."""

import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.demo import DemoUpstream
from gateway.upstream import NO_HEADERS, Origin, Timeouts, UpstreamRequest
from recorder.surfaces import (
    ASSEMBLED_CALLS_MAX,
    RESULTS_MAX,
    SURFACES,
    TOOL_CALLS_MAX,
    ToolCall,
    surface_of,
)
from recorder.surfaces.chat import CHOICES_MAX, ChatSurface
from recorder.surfaces.values import DEPTH_MAX, MARK

CHAT = ChatSurface()
TOOL = {"name": "look", "parameters": {"properties": {"where": {"type": "string"}}}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
# Objects with the names that the code looks at, and anything as their values.
READ = """choices delta message tool_calls function function_call custom name arguments id index
role content refusal logprobs audio usage error object messages tool_call_id
finish_reason comptroller text"""
NAMES = st.sampled_from(READ.split())
HOSTILE = st.recursive(
    JSON | st.sampled_from(["assistant", "tool", 10**9, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


def stream(*chunks: Any, done: bool = True) -> bytes:
    said = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return b"".join(said) + (b"data: [DONE]\n\n" if done else b"")


def deltas(*each: dict[str, Any], done: bool = True) -> bytes:
    return stream(*({"choices": [{"index": 0, "delta": delta}]} for delta in each), done=done)


def assembled(body: bytes) -> Any:
    return json.loads(CHAT.assembled(body))


def message(body: bytes) -> Any:
    return assembled(body)["choices"][0]["message"]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def demo(**asked: Any) -> bytes:
    request = {"model": "demo/reasoner", "messages": [{"role": "user", "content": "Why?"}]} | asked
    origin, body = Origin("http", "demo", 80), json.dumps(request).encode()
    answer = await DemoUpstream(0).send(
        UpstreamRequest(
            origin, "POST", b"/v1/chat/completions", NO_HEADERS, body, Timeouts(1, 1, 1)
        )
    )
    return await answer.read_all(1 << 20)


@pytest.mark.parametrize("more", [{}, {"tools": [{"type": "function", "function": TOOL}]}])
async def test_a_stream_becomes_the_answer_in_one_piece(more: dict[str, Any]) -> None:
    """The demo provider's stream, put together, is its answer without streaming."""
    whole = json.loads(await demo(**more))
    for choice in whole["choices"]:
        del choice["logprobs"]  # its streams have none
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    body = await demo(**more, **asked)
    assert assembled(body) == whole
    assert assembled(body.replace(b"\n", b"\r\n")) == whole
    calls = CHAT.tool_calls(CHAT.assembled(body))
    assert calls == CHAT.tool_calls(json.dumps(whole).encode())
    assert bool(calls) is ("tools" in more)


def test_the_table_knows_its_endpoints() -> None:
    """An endpoint has its surface, an unknown one has none."""
    assert surface_of("/v1/chat/completions") is SURFACES["/v1/chat/completions"]
    assert surface_of("/v1/unknown") is None


def test_strings_grow_and_other_values_are_replaced() -> None:
    """Known and unknown strings of a delta are joined, null changes nothing, the last of others
    wins, and keys stay in the order in which they came."""
    body = deltas(
        {"role": "assistant", "content": "", "refusal": None, "new": "a", "odd": 1},
        {"content": "Hel", "reasoning_content": "hm", "new": "b", "odd": {"x": 1}},
        {"role": "assistant", "content": "lo", "reasoning_content": "m", "odd": None},
    )
    assert CHAT.assembled(body) == (
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,'
        b'"new":"ab","odd":{"x":1},"reasoning_content":"hmm"},"finish_reason":null}]}'
    )


def test_choices_do_not_mix() -> None:
    """Choices that arrive by turns come out whole, in the order of their indexes."""
    said = [(1, "a", None), (0, "b", "stop"), (1, "c", "length"), (0, "", None)]
    chunks = (
        {"choices": [{"index": at, "delta": {"content": text}, "finish_reason": finish}]}
        for at, text, finish in said
    )
    found = assembled(stream(*chunks))["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in found] == [
        (0, "b", "stop"),
        (1, "ac", "length"),
    ]


def test_tool_calls_are_merged_by_index() -> None:
    """Pieces of calls go to their index in any order; the result is sorted and has no index."""
    body = deltas(
        {"content": "", "tool_calls": [{"index": 1, "id": "b", "type": "function"}]},
        {"tool_calls": [{"index": 1, "function": {"name": "two", "arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "one", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "two", "arguments": ":1}"}}]},
    )
    assert message(body)["content"] is None
    assert message(body)["tool_calls"] == [
        {"id": "a", "function": {"name": "one", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "two", "arguments": '{"x":1}'}},
    ]
    assert CHAT.tool_calls(CHAT.assembled(body)) == (
        ToolCall("a", "one", 2, sha256("{}")),
        ToolCall("b", "two", 7, sha256('{"x":1}')),
    )


def test_calls_without_an_index_are_told_apart_by_id() -> None:
    """Servers that send no index: a new id is a new call, a piece without id goes on with it."""
    body = deltas(
        {"tool_calls": [{"id": "a", "function": {"name": "one", "arguments": "1"}}]},
        {"tool_calls": [{"id": "b", "function": {"name": "two", "arguments": "2"}}]},
        {"tool_calls": [{"function": {"arguments": "3"}}]},
    )
    found = CHAT.tool_calls(CHAT.assembled(body))
    assert [(c.id, c.name, c.arguments_sha256) for c in found] == [
        ("a", "one", sha256("1")),
        ("b", "two", sha256("23")),
    ]


def test_older_and_other_calls_are_found() -> None:
    """`function_call`, custom tools and arguments that are no string are calls too."""
    body = deltas(
        {"function_call": {"name": "old", "arguments": "{"}}, {"function_call": {"arguments": "}"}}
    )
    assert CHAT.tool_calls(CHAT.assembled(body)) == (ToolCall("", "old", 2, sha256("{}")),)
    calls = [
        {"id": "c", "type": "custom", "custom": {"name": "free", "input": "é"}},
        {"id": "d", "function": {"name": "object", "arguments": {"a": [1]}}},
    ]
    whole = json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
    assert CHAT.tool_calls(whole) == (
        ToolCall("c", "free", 2, sha256("é")),
        ToolCall("d", "object", 9, sha256('{"a":[1]}')),
    )


def test_logprobs_are_joined_and_sound_is_left_out() -> None:
    """Lists of log probabilities grow; of audio the transcript is kept and the sound is not."""

    def said(token: str) -> dict[str, Any]:
        audio = {"id": "audio_1", "data": "UklGRg==", "transcript": token}
        logprobs = {"content": [{"token": token}], "refusal": None}
        return {"choices": [{"index": 0, "delta": {"audio": audio}, "logprobs": logprobs}]}

    choice = assembled(stream(said("a"), said("b")))["choices"][0]
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}
    assert choice["message"]["audio"] == {"id": "audio_1", "transcript": "ab"}


def test_content_in_parts_stays_in_parts() -> None:
    """Lists of content parts are joined, and text between them becomes a part."""
    thinking = {"type": "thinking", "thinking": []}
    body = deltas({"content": "a"}, {"content": [thinking]}, {"content": "b"})
    parts = [{"type": "text", "text": "a"}, thinking, {"type": "text", "text": "b"}]
    assert message(body)["content"] == parts


def test_what_is_said_about_the_whole_answer_is_kept() -> None:
    """Usage, fingerprint and errors of any event are the answer's; an empty value replaces none."""
    first: dict[str, Any] = {"id": "", "object": "", "model": "", "choices": [], "usage": None}
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {}}]}
    error = {"error": {"message": "gone"}, "id": "", MARK: {"truncated": False}}
    found = assembled(stream(first, chunk, {"choices": [], "usage": {"total_tokens": 3}}, error))
    assert found["id"] == "x"
    assert found["object"] == "chat.completion"
    assert found["usage"] == {"total_tokens": 3}
    assert found["error"] == {"message": "gone"}
    assert MARK not in found


def test_an_emoji_in_two_halves_is_one() -> None:
    """A surrogate pair that was split over two events is put together; a lone half is replaced."""
    body = deltas({"content": "\ud83d"}, {"content": "\ude00"}, {"content": "\ud83d."})
    assert message(body)["content"] == "\U0001f600\ufffd."


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"choices": []}', b"<html>", b"\xff", b": ping\n\n"]
)
def test_what_is_no_stream_is_left_alone(body: bytes) -> None:
    """A body that is no event stream, or has no event in it, comes back as it is."""
    assert CHAT.assembled(body) == body


def test_every_cut_is_marked_and_keeps_what_came() -> None:
    """Cut anywhere, the answer is a prefix of the whole one and says that it is cut."""
    body = deltas({"content": "Hé"}, {"content": "llo"}, {"content": " you"})
    end = body.index(b"[DONE]") + len(b"[DONE]")
    for line_end in (b"\n", b"\r\n"):
        sent = body.replace(b"\n", line_end)
        end = sent.index(b"[DONE]") + len(b"[DONE]")
        for at in range(len(b"data: {"), len(sent)):
            found = assembled(sent[:at])
            assert found.get(MARK) == (None if at >= end else {"truncated": True})
            for choice in found.get("choices", []):
                assert "Héllo you".startswith(choice["message"]["content"])


def test_unreadable_events_are_counted() -> None:
    """Events that are no JSON object are counted and hide none of the others."""
    body = b'data: {"choices\n\ndata: [1]\n\ndata: oops\n\n' + deltas({"content": "x"})
    assert assembled(body)[MARK] == {"events_unreadable": 3}
    assert message(body)["content"] == "x"


def test_numbers_and_bytes_that_json_cannot_hold_do_not_lose_the_event() -> None:
    """NaN and infinite numbers become null, bytes that are no UTF-8 the replacement character."""
    body = b'data: {"a": NaN, "b": 1e999, "c": "\xff", "d": 1.5}\n\ndata: [DONE]\n\n'
    assert assembled(body) == {"a": None, "b": None, "c": "\ufffd", "d": 1.5}


def test_depth_is_bounded_by_a_number_not_by_the_caller() -> None:
    """What is readable is a matter of depth alone: it does not change with the caller's stack."""

    def nested(depth: int) -> bytes:
        return b'data: {"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}\n\ndata: [DONE]\n\n"

    def deeper(calls: int, body: bytes) -> bytes:
        return deeper(calls - 1, body) if calls else CHAT.assembled(body)

    assert MARK not in assembled(nested(DEPTH_MAX))
    for depth in (DEPTH_MAX, DEPTH_MAX + 1, 5000):
        assert deeper(300, nested(depth)) == CHAT.assembled(nested(depth))
    assert assembled(nested(DEPTH_MAX + 1)) == {MARK: {"events_unreadable": 1}}
    assert assembled(nested(1 << 20)) == {MARK: {"events_unreadable": 1}}


def test_counts_are_bounded_and_the_rest_is_counted() -> None:
    """Thousands of calls or choices: as many as the limit are kept, the others are counted."""
    calls = (
        {"tool_calls": [{"index": n * 10**9, "function": {}}]}
        for n in range(ASSEMBLED_CALLS_MAX + 9)
    )
    found = assembled(deltas(*calls))
    assert found[MARK] == {"tool_calls_left_out": 9}
    assert len(found["choices"][0]["message"]["tool_calls"]) == ASSEMBLED_CALLS_MAX
    choices = ({"choices": [{"index": -n, "delta": {}}]} for n in range(CHOICES_MAX + 7))
    found = assembled(stream(*choices))
    assert found[MARK] == {"choices_left_out": 7}
    assert [choice["index"] for choice in found["choices"]] == list(range(1 - CHOICES_MAX, 1))


def test_long_lists_of_calls_and_results_are_bounded() -> None:
    """The last one that is listed says how many are not."""
    calls = [{"id": str(n), "function": {"name": "f"}} for n in range(TOOL_CALLS_MAX + 5)]
    asking = {"role": "assistant", "tool_calls": calls}
    found = CHAT.tool_calls(json.dumps({"choices": [{"message": asking}]}).encode())
    assert [call.left_out for call in found] == [0] * (TOOL_CALLS_MAX - 1) + [5]
    answers = [{"role": "tool", "tool_call_id": str(n)} for n in range(RESULTS_MAX + 3)]
    results = CHAT.tool_results(json.dumps({"messages": [asking, *answers]}).encode())
    assert [result.left_out for result in results] == [0] * (RESULTS_MAX - 1) + [3]


def request(*roles: str) -> bytes:
    """Messages by their first letters: c calls tools 1 and 2, t and f answer, a u s say x."""
    said: dict[str, dict[str, Any]] = {
        "c": {
            "role": "assistant",
            "tool_calls": [{"id": f"{n}", "function": {"name": f"tool {n}"}} for n in (1, 2)],
        },
        "t1": {"role": "tool", "tool_call_id": "1", "content": "one"},
        "t2": {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "é"}]},
        "t?": {"role": "tool", "tool_call_id": "9", "content": None},
        "f": {"role": "function", "name": "old", "content": "three"},
        "a": {"role": "assistant", "content": "x"},
        "u": {"role": "user", "content": "x"},
    }
    return json.dumps({"messages": [said[role] for role in roles]}).encode()


def test_results_have_the_name_of_their_call() -> None:
    """A result is named by the call with its id, or by itself; what is no string counts as JSON."""
    found = CHAT.tool_results(request("u", "c", "t2", "t?", "f", "t1"))
    assert [(r.call_id, r.name) for r in found] == [
        ("2", "tool 2"),
        ("9", ""),
        ("", "old"),
        ("1", "tool 1"),
    ]
    parts = '[{"type":"text","text":"é"}]'
    texts = [parts, "", "three", "one"]
    assert [r.result_sha256 for r in found] == [sha256(text) for text in texts]
    assert [r.result_bytes for r in found] == [len(text.encode()) for text in texts]


@pytest.mark.parametrize(
    ("roles", "ids"),
    [
        ("u c t1 t2", "1 2"),
        ("u c t1 u", "1"),  # what the user adds does not make the result old
        ("u c t1 c t2", "2"),
        ("u c t1 a", "1"),  # an answer that is begun for the model
        ("u c t1 a u", ""),  # the model has answered: an earlier request brought it
        ("u c", ""),
        ("t1 u", ""),
        ("u", ""),
        ("a", ""),
    ],
)
def test_only_new_results_are_found(roles: str, ids: str) -> None:
    """A result is reported with the first request that brings it, and with no later one."""
    found = CHAT.tool_results(request(*roles.split()))
    assert [result.call_id for result in found] == ids.split()


@settings(deadline=None, max_examples=300)
@given(chunks=st.lists(HOSTILE, max_size=6), done=st.booleans())
def test_nothing_raises_and_the_same_bytes_give_the_same(chunks: list[Any], done: bool) -> None:
    """Any JSON in any place, as stream, answer and request: bytes come out, JSON and repeatable."""
    body = stream({}, *chunks, done=done)
    found = CHAT.assembled(body)
    assert type(json.loads(found)) is dict
    assert CHAT.assembled(body) == found
    assert CHAT.assembled(found) == found
    for each in (found, *(json.dumps(chunk).encode() for chunk in chunks)):
        assert CHAT.tool_calls(each) == CHAT.tool_calls(each)
        assert CHAT.tool_results(each) == CHAT.tool_results(each)


@settings(deadline=None)
@given(
    body=st.binary(max_size=200), prefix=st.sampled_from([b"", b"data: ", b'data: {"choices":['])
)
def test_any_bytes_are_taken(body: bytes, prefix: bytes) -> None:
    """Bytes of any kind raise nothing."""
    found = CHAT.assembled(prefix + body)
    CHAT.tool_calls(found)
    CHAT.tool_results(prefix + body)


SLOW_STREAMS = [
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f"}}]}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\ud83d"},"logprobs":{"content":[1]}}]}\n\n',
    b'data: {"a\n\n',
    b"data: [\n",
    b"\n",
]


@pytest.mark.parametrize("event", SLOW_STREAMS)
def test_time_is_linear(event: bytes) -> None:
    """Eight times the stream takes about eight times as long."""

    def seconds(size_bytes: int) -> float:
        body = b"data: {}\n\n" + event * (size_bytes // len(event))
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            CHAT.assembled(body)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(1 << 20) < 8 * 3 * seconds(1 << 17) + 0.001
