"""A recorded stream of responses becomes the response itself, also where it was cut, and tools are
found in answers and requests; nothing that a provider wrote makes it raise."""

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recorder.surfaces import ASSEMBLED_CALLS_MAX, RESULTS_MAX, TOOL_CALLS_MAX, surface_of
from recorder.surfaces.contract import Surface
from recorder.surfaces.responses import ResponsesSurface

SURFACE: Surface = ResponsesSurface()
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Delft"}',
    "status": "completed",
}
TEXT = {"type": "output_text", "text": "Hello there", "annotations": []}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [
        {"type": "summary_text", "text": "First. "},
        {"type": "summary_text", "text": "So"},
    ],
}
ITEMS = [REASONING, {**MESSAGE, "content": [TEXT]}, CALL]
WHOLE = {"id": "resp_1", "status": "completed", "model": "m", "output": ITEMS, "usage": {"x": 1}}
BEGUN = {**WHOLE, "status": "in_progress", "output": [], "usage": None}


def event(kind: str, **fields: Any) -> bytes:
    """One event."""
    return b"event: x\ndata: " + json.dumps({"type": kind, **fields}).encode() + b"\n\n"


def piece(kind: str, at: int, delta: str, **fields: Any) -> bytes:
    """A piece of an item."""
    return event(f"response.{kind}.delta", output_index=at, delta=delta, **fields)


def added(at: int, item: dict[str, Any]) -> bytes:
    """The beginning of an item."""
    return event("response.output_item.added", output_index=at, item=item)


PIECES = [
    event("response.created", response=BEGUN),
    added(0, {**REASONING, "summary": []}),
    piece("reasoning_summary_text", 0, "Fir", summary_index=0),
    piece("reasoning_summary_text", 0, "st. ", summary_index=0),
    piece("reasoning_summary_text", 0, "So", summary_index=1),
    added(1, {**MESSAGE, "content": []}),
    piece("output_text", 1, "Hello", content_index=0),
    piece("output_text", 1, " there", content_index=0),
    added(2, {**CALL, "arguments": ""}),
    piece("function_call_arguments", 2, '{"city"'),
    piece("function_call_arguments", 2, ': "Delft"}'),
]
LAST = event("response.completed", response=WHOLE)


def assembled(stream: bytes) -> Any:
    """The answer as an object."""
    return json.loads(SURFACE.assembled(stream))


def test_the_last_event_is_the_answer() -> None:
    """Whole, and without a mark; a body that is no stream is what it was."""
    assert surface_of("/v1/responses") is not None
    assert assembled(b"".join([*PIECES, LAST])) == WHOLE
    body = json.dumps(WHOLE).encode()
    assert SURFACE.assembled(body) == body


def test_a_cut_stream_is_put_together_from_its_pieces() -> None:
    """Reasoning, text and calls are there as far as they came, and the mark says so."""
    cut = assembled(b"".join(PIECES))
    text = {"type": "output_text", "text": "Hello there"}
    assert cut["output"] == [REASONING, {**MESSAGE, "content": [text]}, CALL]
    assert cut["comptroller"] == {"truncated": True}
    assert cut["id"] == "resp_1"


def test_an_item_that_is_done_is_taken_as_it_is() -> None:
    """Its pieces are not added to it once more."""
    done = event("response.output_item.done", output_index=1, item=ITEMS[1])
    assert assembled(b"".join([*PIECES, done]))["output"][1] == ITEMS[1]


def test_torn_at_every_byte_it_is_never_wrong() -> None:
    """However much came, what is assembled is a beginning of the whole."""
    stream = b"".join([*PIECES, LAST])
    for end in range(len(PIECES[0]), len(stream)):
        answer = assembled(stream[:end])
        if "comptroller" not in answer:
            assert answer == WHOLE
            continue
        for item in answer.get("output") or []:
            if item["type"] == "function_call":
                assert CALL["arguments"].startswith(item["arguments"])


def test_an_error_event_is_in_the_answer() -> None:
    """With what was there before; a field of the mark's name is the provider's, and is dropped."""
    begun = event("response.created", response={**BEGUN, "comptroller": "x"})
    for error in (
        event("error", code="x", message="no", param=None),
        event("error", error={"code": "x", "message": "no", "param": None}),
    ):
        answer = assembled(begun + error)
        assert answer["status"] == "failed"
        assert answer["error"] == {"code": "x", "message": "no", "param": None}
        assert "comptroller" not in answer


def test_unreadable_events_and_too_many_items_are_counted() -> None:
    """The mark says what is missing."""
    many = b"".join(added(at, CALL) for at in range(ASSEMBLED_CALLS_MAX + 3))
    answer = assembled(PIECES[0] + b"data: nope\n\n" + many)
    assert len(answer["output"]) == ASSEMBLED_CALLS_MAX
    assert answer["comptroller"]["items_left_out"] == 3
    assert answer["comptroller"]["events_unreadable"] == 1


def test_why_an_answer_ended() -> None:
    """The reason of what is incomplete, else its status."""
    incomplete = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert SURFACE.finish_reason(json.dumps(incomplete).encode()) == "max_output_tokens"
    assert SURFACE.finish_reason(json.dumps(WHOLE).encode()) == "completed"
    assert SURFACE.finish_reason(b"nope") == ""


def test_calls_of_functions_and_custom_tools_are_found() -> None:
    """With the hash of what the model wrote; too many are counted."""
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"}
    calls = SURFACE.tool_calls(json.dumps({**WHOLE, "output": [*ITEMS, custom]}).encode())
    assert [(call.id, call.name) for call in calls] == [("call_1", "weather"), ("c2", "patch")]
    assert calls[0].arguments_bytes == len(CALL["arguments"])
    assert calls[1].arguments_sha256 == hashlib.sha256(b"*** Begin").hexdigest()
    many = SURFACE.tool_calls(json.dumps({"output": [CALL] * (TOOL_CALLS_MAX + 5)}).encode())
    assert len(many) == TOOL_CALLS_MAX
    assert many[-1].left_out == 5


def test_only_results_that_are_new_are_found() -> None:
    """Those after the model's last output, with the name of their call where that is in sight."""
    old = {"type": "function_call_output", "call_id": "call_0", "output": "old"}
    new = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    items = [{**CALL, "call_id": "call_0"}, old, CALL, new]
    found = SURFACE.tool_results(json.dumps({"input": items}).encode())
    assert [(each.call_id, each.name) for each in found] == [("call_1", "weather")]
    assert found[0].result_sha256 == hashlib.sha256(b"sunny").hexdigest()
    stored = {"previous_response_id": "resp_1", "input": [new] * (RESULTS_MAX + 2)}
    many = SURFACE.tool_results(json.dumps(stored).encode())
    assert len(many) == RESULTS_MAX
    assert (many[-1].left_out, many[0].name) == (2, "")
    answered = [*items, {"type": "message", "role": "assistant", "content": "done"}]
    assert SURFACE.tool_results(json.dumps({"input": answered}).encode()) == ()
    assert SURFACE.tool_results(b'{"input": "function_call_output"}') == ()


_WORDS = st.sampled_from(
    [
        *("type", "response", "item", "delta", "output_index", "content_index", "output", "input"),
        *(
            "response.output_text.delta",
            "response.output_item.added",
            "response.completed",
            "error",
        ),
        *("function_call", "function_call_output", "call_id", "name", "arguments", "content"),
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | _WORDS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(_JSON, min_size=1, max_size=6), _JSON)
def test_nothing_raises(values: list[Any], answer: Any) -> None:
    """Whatever JSON it is."""
    stream = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in values)
    once = SURFACE.assembled(stream)
    assert once == SURFACE.assembled(stream)
    for body in (once, json.dumps(answer).encode(), json.dumps({"output": answer}).encode()):
        SURFACE.finish_reason(body)
        SURFACE.tool_calls(body)
    SURFACE.tool_results(json.dumps({"input": answer}).encode())
