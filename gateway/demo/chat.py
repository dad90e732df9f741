"""The demo models behind chat completions."""

from typing import Any

import msgspec

from gateway.demo.answer import Answer, Asked, Tool, answer

WORDS_PER_CHUNK = 4
_CAPS = ("max_tokens", "max_completion_tokens")


def chat_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body, or the events of the stream."""
    said = answer(_asked(request))
    if not request.get("stream"):
        return [msgspec.json.encode(_whole(request, said))]
    chunks = _chunks(request, said)
    return [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in chunks] + [
        b"data: [DONE]\n\n"
    ]


def _asked(request: dict[str, Any]) -> Asked:
    messages = request["messages"]
    return Asked(
        model=str(request.get("model", "")),
        said=_text(messages[-1]),
        prompt_bytes=len(msgspec.json.encode(messages)),
        cap=min((request[name] for name in _CAPS if name in request), default=None),
        tools=_tools(request),
        results=_results(request),
        is_result=messages[-1].get("role") == "tool",
        question=next((_text(each) for each in reversed(messages) if each["role"] == "user"), ""),
    )


def _tools(request: dict[str, Any]) -> tuple[Tool, ...]:
    if request.get("tool_choice") == "none":
        return ()
    functions = [_object(tool.get("function")) for tool in request.get("tools") or []]
    return tuple(Tool(str(each.get("name", "")), each.get("parameters")) for each in functions)


def _results(request: dict[str, Any]) -> int:
    """How many tools were called since the newest question. Some clients write down calls and
    results as texts; where a tool has to be called, each earlier turn was a call, all the same."""
    messages: list[dict[str, Any]] = request["messages"]
    roles = [message.get("role") for message in messages]
    if request.get("tool_choice") == "required" and "tool" not in roles:
        return roles.count("assistant")
    count = 0
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        count += message.get("role") == "tool"
    return count


def _call(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    function = {"name": said.called, "arguments": said.arguments}
    return {"id": f"call_{len(request['messages'])}", "type": "function", "function": function}


def _usage(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    n: int = request.get("n") or 1
    completion = said.output_tokens * n
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": completion,
        "total_tokens": said.input_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens * n},
    }


def _head(request: dict[str, Any], kind: str) -> dict[str, Any]:
    model = str(request.get("model", ""))
    return {"id": "chatcmpl-demo", "object": kind, "created": 0, "model": model}


def _finish(said: Answer) -> str:
    if said.called:
        return "tool_calls"
    return "stop" if said.is_whole else "length"


def _whole(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": " ".join(said.words)}
    if said.called:
        message = {"role": "assistant", "content": None, "tool_calls": [_call(request, said)]}
    choices = [
        {"index": n, "message": message, "finish_reason": _finish(said), "logprobs": None}
        for n in range(request.get("n") or 1)
    ]
    usage = _usage(request, said)
    return _head(request, "chat.completion") | {"choices": choices, "usage": usage}


def _chunks(request: dict[str, Any], said: Answer) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if said.called:
        deltas.append({"tool_calls": [{"index": 0, **_call(request, said)}]})
    else:
        for at in range(0, len(said.words), WORDS_PER_CHUNK):
            text = " ".join(said.words[at : at + WORDS_PER_CHUNK])
            deltas.append({"content": (" " if at else "") + text})
    head = _head(request, "chat.completion.chunk")
    chunks = [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    last = {"index": 0, "delta": {}, "finish_reason": _finish(said)}
    chunks.append(head | {"choices": [last]})
    if (request.get("stream_options") or {}).get("include_usage"):
        chunks.append(head | {"choices": [], "usage": _usage(request, said)})
    return chunks


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        texts = [_object(part).get("text") for part in content]
        return " ".join(each for each in texts if isinstance(each, str)) or "that"
    return content if isinstance(content, str) else "that"
