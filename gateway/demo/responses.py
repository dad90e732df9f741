"""The demo models behind responses. They keep nothing: `previous_response_id` is only repeated."""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.demo.answer import Answer, Asked, Tool, answer

WORDS_PER_EVENT = 4
_CAP = "max_output_tokens"
_RESULTS = ("function_call_output", "custom_tool_call_output")
# Of a request, what an answer repeats.
_REPEATED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def responses_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body, or the events of the stream."""
    said = answer(_asked(request))
    whole = _whole(request, said)
    if not request.get("stream"):
        return [msgspec.json.encode(whole)]
    return [
        b"event: %b\ndata: %b\n\n"
        % (kind.encode(), msgspec.json.encode({"type": kind, "sequence_number": at, **fields}))
        for at, (kind, fields) in enumerate(_events(whole, said))
    ]


def input_tokens_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body of a count: what an answer to it would say."""
    tokens = answer(_asked(request)).input_tokens
    return [msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})]


def _asked(request: dict[str, Any]) -> Asked:
    items = _items(request)
    last = items[-1] if items else {}
    read = [request.get("instructions"), request.get("input"), request.get("tools")]
    return Asked(
        model=str(request.get("model", "")),
        said=_text(last),
        prompt_bytes=sum(len(msgspec.json.encode(each)) for each in read if each is not None),
        cap=request.get(_CAP),
        tools=_tools(request),
        results=_results(items),
        is_result=last.get("type") in _RESULTS,
        schema=_schema(request),
        question=next((_text(each) for each in reversed(items) if each.get("role") == "user"), ""),
    )


def _items(request: dict[str, Any]) -> list[dict[str, Any]]:
    said = request.get("input")
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    return [_object(each) for each in said] if isinstance(said, list) else []


def _tools(request: dict[str, Any]) -> tuple[Tool, ...]:
    """Those that the client runs; of a custom one the input is a text."""
    if request.get("tool_choice") == "none":
        return ()
    return tuple(
        Tool(str(each.get("name", "")), each.get("parameters"))
        for each in map(_object, request.get("tools") or [])
        if each.get("type") in ("function", "custom")
    )


def _schema(request: dict[str, Any]) -> Any:
    form = _object(_object(request.get("text")).get("format"))
    return form.get("schema") if form.get("type") == "json_schema" else None


def _results(items: list[dict[str, Any]]) -> int:
    count = 0
    for item in reversed(items):
        if item.get("role") == "user":
            break
        count += item.get("type") in _RESULTS
    return count


def _whole(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    repeated = {
        name: default if request.get(name) is None else request[name]
        for name, default in _REPEATED.items()
    }
    return {
        "id": "resp_demo",
        "object": "response",
        "created_at": 0,
        "model": str(request.get("model", "")),
        "status": "completed" if said.is_whole else "incomplete",
        "error": None,
        "incomplete_details": None if said.is_whole else {"reason": _CAP},
        "output": [_output(request, said)],
        "usage": _usage(said),
        **repeated,
    }


def _output(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    if not said.called:
        text = {"type": "output_text", "text": " ".join(said.words), "annotations": []}
        message = {"id": "msg_demo", "type": "message", "role": "assistant", "content": [text]}
        return message | {"status": "completed" if said.is_whole else "incomplete"}
    call = {"call_id": f"call_{len(_items(request))}", "name": said.called, "status": "completed"}
    if _is_custom(request, said.called):
        return {"id": "ctc_demo", "type": "custom_tool_call", "input": said.arguments, **call}
    return {"id": "fc_demo", "type": "function_call", "arguments": said.arguments, **call}


def _is_custom(request: dict[str, Any], name: str) -> bool:
    tools = map(_object, request.get("tools") or [])
    return any(each.get("type") == "custom" and each.get("name") == name for each in tools)


def _usage(said: Answer) -> dict[str, Any]:
    return {
        "input_tokens": said.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": said.output_tokens,
        "output_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
        "total_tokens": said.input_tokens + said.output_tokens,
    }


def _events(whole: dict[str, Any], said: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and fields of each event, in the order of OpenAI's "Streaming events"."""
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    item = whole["output"][0]
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    pieces = _message_events if item["type"] == "message" else _call_events
    yield from pieces(item, said)
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield f"response.{whole['status']}", {"response": whole}


def _message_events(item: dict[str, Any], said: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    part = item["content"][0]
    added = item | {"content": [], "status": "in_progress"}
    yield "response.output_item.added", {"output_index": 0, "item": added}
    at: dict[str, Any] = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield "response.content_part.added", at | {"part": part | {"text": ""}}
    for first in range(0, len(said.words), WORDS_PER_EVENT):
        text = " ".join(said.words[first : first + WORDS_PER_EVENT])
        delta = (" " if first else "") + text
        yield "response.output_text.delta", at | {"delta": delta, "logprobs": []}
    yield "response.output_text.done", at | {"text": part["text"], "logprobs": []}
    yield "response.content_part.done", at | {"part": part}


def _call_events(item: dict[str, Any], said: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    is_custom = item["type"] == "custom_tool_call"
    name = "input" if is_custom else "arguments"
    event = "custom_tool_call_input" if is_custom else "function_call_arguments"
    added = item | {name: "", "status": "in_progress"}
    yield "response.output_item.added", {"output_index": 0, "item": added}
    at: dict[str, Any] = {"item_id": item["id"], "output_index": 0}
    yield f"response.{event}.delta", at | {"delta": said.arguments}
    done = {name: said.arguments} if is_custom else {name: said.arguments, "name": item["name"]}
    yield f"response.{event}.done", at | done


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(item: dict[str, Any]) -> str:
    """Of a message or of a tool's result."""
    said = item.get("output" if item.get("type") in _RESULTS else "content")
    if isinstance(said, list):
        texts = [_object(part).get("text") for part in said]
        return " ".join(each for each in texts if isinstance(each, str)) or "that"
    return said if isinstance(said, str) else "that"
