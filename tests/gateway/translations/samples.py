"""Calls and chat completions for the suites of translations."""

from typing import Any

import msgspec

from gateway.dialects.contract import Call

USAGE = {
    "prompt_tokens": 16,
    "completion_tokens": 5,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 4},
    "cost": 0.25,
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice], **more}


def piece(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    """A piece of a tool's call."""
    call: dict[str, Any] = {"function": {"arguments": arguments, **more.pop("function", {})}}
    if index is not None:
        call["index"] = index
    return {"tool_calls": [call | more]}


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hello "}),
    chunk({"content": "there"}),
    chunk(piece(0, "", id="c1", function={"name": "f"})),
    chunk(piece(0, '{"a"')),
    chunk(piece(0, ":[1]}")),
    chunk(piece(1, "{}", id="c2", function={"name": "g"})),
    chunk({}, "tool_calls"),
    {"id": "chatcmpl-1", "model": "gpt-x", "choices": [], "usage": USAGE},
]


def written(chunks: list[dict[str, Any]]) -> bytes:
    """As a provider sends them."""
    events = [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in chunks]
    return b"".join(events) + b"data: [DONE]\n\n"


STREAM = written(CHUNKS)


def parsed(fields: dict[str, Any]) -> Call:
    """A call with these fields, as a dialect would have read it."""
    return Call(
        model="gpt",
        stream=bool(fields.get("stream")),
        wants_usage=True,
        n=1,
        output_cap=fields.get("max_tokens"),
        fields={name: msgspec.Raw(msgspec.json.encode(each)) for name, each in fields.items()},
        input_tokens_max=1,
        unseen_content=False,
        has_tools=False,
        cache_write="none",
        audio_input=False,
        audio_output=False,
    )
