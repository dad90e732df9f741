"""The demo models behind Anthropic's Messages, and the counting of their input."""

from typing import Any

import msgspec

from gateway.demo.answer import Answer, Asked, Tool, answer

WORDS_PER_EVENT = 4
_PING = {"type": "ping"}


def messages_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body, or the events of the stream."""
    said = answer(_asked(request))
    if not request.get("stream"):
        return [msgspec.json.encode(_whole(request, said))]
    return [
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), msgspec.json.encode(each))
        for each in _events(request, said)
    ]


def count_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body of an answer to `count_tokens`."""
    return [msgspec.json.encode({"input_tokens": answer(_asked(request)).input_tokens})]


def _asked(request: dict[str, Any]) -> Asked:
    messages = _said(request["messages"])
    cap = request.get("max_tokens")
    results = _results_of(messages[-1])
    return Asked(
        model=str(request.get("model", "")),
        said=_text(results[-1] if results else messages[-1]),
        prompt_bytes=sum(_bytes(request.get(name)) for name in ("system", "messages", "tools")),
        cap=cap,
        tools=() if cap == 0 else _tools(request),
        results=_results(messages),
        is_result=bool(results),
        question=_question(messages),
    )


def _said(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the operator puts between them ("Mid-conversation system messages")."""
    return [each for each in messages if each.get("role") != "system"] or messages


def _tools(request: dict[str, Any]) -> tuple[Tool, ...]:
    """Those that the model sees: of deferred ones it sees what a search finds (Anthropic, guide
    Tool search tool)."""
    if _object(request.get("tool_choice")).get("type") == "none":
        return ()
    tools = [each for each in request.get("tools") or [] if not each.get("defer_loading")]
    return tuple(Tool(str(each.get("name", "")), each.get("input_schema")) for each in tools)


def _results_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return [each for each in blocks if each.get("type") == "tool_result"]


def _question(messages: list[dict[str, Any]]) -> str:
    asked = (m for m in reversed(messages) if m.get("role") == "user" and not _results_of(m))
    return next(map(_text, asked), "")


def _results(messages: list[dict[str, Any]]) -> int:
    """Of tools that were called since the newest question."""
    count = 0
    for message in reversed(messages):
        results = _results_of(message)
        if message.get("role") == "user" and not results:
            break
        count += len(results)
    return count


def _text(block: dict[str, Any]) -> str:
    """What a message or a tool's result says in words."""
    content = block.get("content")
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [each["text"] for each in blocks if isinstance(each.get("text"), str)]
    return texts[-1] if texts else "that"


def _bytes(value: Any) -> int:
    """Of the texts that are read as words: pictures and documents are not."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_bytes(each) for each in value)
    if isinstance(value, dict):
        return sum(_bytes(each) for name, each in value.items() if name != "source")
    return 0


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _usage(said: Answer, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": said.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _end_usage(said: Answer) -> dict[str, Any]:
    details = {"thinking_tokens": said.reasoning_tokens}
    return _usage(said, said.output_tokens) | {"output_tokens_details": details}


def _head(request: dict[str, Any]) -> dict[str, Any]:
    model = str(request.get("model", ""))
    return {"id": "msg_demo", "type": "message", "role": "assistant", "model": model}


def _end(said: Answer) -> dict[str, Any]:
    reason = "end_turn" if said.is_whole else "max_tokens"
    return {"stop_reason": "tool_use" if said.called else reason, "stop_sequence": None}


def _call(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    called = f"toolu_{len(request['messages'])}"
    return {"type": "tool_use", "id": called, "name": said.called}


def _whole(request: dict[str, Any], said: Answer) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": " ".join(said.words)}
    if said.called:
        block = _call(request, said) | {"input": msgspec.json.decode(said.arguments)}
    return _head(request) | {"content": [block], **_end(said), "usage": _end_usage(said)}


def _events(request: dict[str, Any], said: Answer) -> list[dict[str, Any]]:
    block: dict[str, Any] = {"type": "text", "text": ""}
    if said.called:
        block = _call(request, said) | {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": said.arguments}]
    else:
        deltas = [
            {"type": "text_delta", "text": (" " if at else "") + " ".join(words)}
            for at in range(0, len(said.words), WORDS_PER_EVENT)
            if (words := said.words[at : at + WORDS_PER_EVENT])
        ]
    begun: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(said, 1),
    }
    return [
        {"type": "message_start", "message": _head(request) | begun},
        {"type": "content_block_start", "index": 0, "content_block": block},
        _PING,
        *({"type": "content_block_delta", "index": 0, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": _end(said), "usage": _end_usage(said)},
        {"type": "message_stop"},
    ]
