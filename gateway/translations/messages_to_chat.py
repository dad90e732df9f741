"""Anthropic's Messages on chat completions: the request.

The shapes are those of the two API references (Anthropic, "Create a Message"; OpenAI, "Create chat
completion"). Left out, because they change what the provider may do better and not what is asked:
cache marks, thinking and its effort, edits of a long context, thoughts of an earlier answer (which
only the model that had them can read), and who the user is.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.dialects.jsonbody import decoded
from gateway.errors import InvalidRequest
from gateway.translations.refused import NoCounterpart

STOPS_MAX = 4  # OpenAI's
SCHEMA_NAME = "answer"
_DEALT_WITH = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream"),
        *("stop_sequences", "output_config", "metadata", "thinking", "context_management"),
        *("cache_control",),
    )
)
_SAME = ("temperature", "top_p")
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
    "mcp_servers": ([],),
    "betas": ([],),
}
"""Fields that have no counterpart, and the values that say the same as leaving them out."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_request(call: Call) -> bytes:
    """See Translation.request."""
    fields = {name: decoded(call.fields, name) for name in call.fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if name not in _DEALT_WITH and name not in _SAME and value not in _NEUTRAL.get(name, ()):
            raise _no_counterpart(name, name)
    body: dict[str, Any] = {"model": call.model, "messages": list(_messages(fields))}
    if call.output_cap is not None:
        body["max_tokens"] = call.output_cap
    body |= {name: fields[name] for name in _SAME if name in fields}
    body |= _tools(fields)
    stops = fields.get("stop_sequences")
    if stops:
        if not isinstance(stops, list) or len(stops) > STOPS_MAX:
            raise _no_counterpart(f"more than {STOPS_MAX} stop_sequences", "stop_sequences")
        body["stop"] = stops
    schema = _schema(fields.get("output_config"))
    if schema is not None:
        named = {"name": SCHEMA_NAME, "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def _no_counterpart(what: str, param: str) -> NoCounterpart:
    return NoCounterpart(
        what, param, "provider speaks chat completions", "use a model of Anthropic"
    )


def _messages(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    system = fields.get("system")
    if system:
        yield {"role": "system", "content": _text(system, "system")}
    turns = fields.get("messages")
    if not isinstance(turns, list) or not all(isinstance(each, dict) for each in turns):
        raise InvalidRequest("messages is a list of messages", param="messages")
    for turn in turns:
        blocks = _blocks(turn.get("content"))
        match turn.get("role"):
            case "user":
                yield from _user(blocks)
            case "assistant":
                yield _assistant(blocks)
            case "system":
                yield {"role": "system", "content": _text(blocks, "messages")}
            case role:
                raise _no_counterpart(f"a message of the role {role!r}", "messages")


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise InvalidRequest("content is text, or a list of blocks", param="messages")
    return content


def _text(content: Any, param: str) -> str:
    """Blocks of text in one: many servers take nothing else here."""
    texts = [each.get("text") for each in _blocks(content) if each.get("type") == "text"]
    if len(texts) < len(_blocks(content)) or not all(isinstance(each, str) for each in texts):
        raise _no_counterpart("anything but text here", param)
    return "\n\n".join(str(each) for each in texts)


def _user(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Results of tools come first: they have to stand right behind the calls. Pictures in them
    follow as the user's, because a tool's message has no place for them."""
    results = [each for each in blocks if each.get("type") == "tool_result"]
    parts: list[dict[str, Any]] = []
    for result in results:
        inner = _blocks(result.get("content") or "")
        pictures = [each for each in inner if each.get("type") == "image"]
        text = _text([each for each in inner if each.get("type") != "image"], "messages")
        if result.get("is_error"):
            text = f"Error: {text}"
        yield {"role": "tool", "tool_call_id": str(result.get("tool_use_id", "")), "content": text}
        parts += map(_picture, pictures)
    parts += [_part(each) for each in blocks if each.get("type") != "tool_result"]
    if len(parts) == 1 and parts[0]["type"] == "text":
        yield {"role": "user", "content": parts[0]["text"]}
    elif parts or not results:
        yield {"role": "user", "content": parts}


def _part(block: dict[str, Any]) -> dict[str, Any]:
    kind, source = block.get("type"), block.get("source")
    if kind == "text" and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    if kind == "image":
        return _picture(block)
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        title = f"{block['title']}\n\n" if isinstance(block.get("title"), str) else ""
        return {"type": "text", "text": f"{title}{source.get('data', '')}"}
    raise _no_counterpart(f"a block of the type {kind!r}", "messages")


def _picture(block: dict[str, Any]) -> dict[str, Any]:
    source = block.get("source")
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            url = f"data:{media_type};base64,{data}"
        case {"type": "url", "url": str(url)}:
            pass
        case _:
            raise _no_counterpart("an image of this source", "messages")
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                arguments = msgspec.json.encode(block.get("input") or {}).decode()
                function = {"name": name, "arguments": arguments}
                calls.append({"id": id_, "type": "function", "function": function})
            case {"type": "thinking" | "redacted_thinking"}:
                pass
            case _:
                raise _no_counterpart(f"a block of the type {block.get('type')!r}", "messages")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls`."""
    tools = fields.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidRequest("tools is a list of tools", param="tools")
    body: dict[str, Any] = {"tools": [_tool(each) for each in tools]}
    choice = fields.get("tool_choice")
    if choice is None:
        return body
    if not isinstance(choice, dict):
        raise InvalidRequest("tool_choice is an object", param="tool_choice")
    kind = choice.get("type")
    if kind == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        body["tool_choice"] = _CHOICES[kind]
    else:
        raise _no_counterpart("this tool_choice", "tool_choice")
    if choice.get("disable_parallel_tool_use"):
        body["parallel_tool_calls"] = False
    return body


def _tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type", "custom") not in ("custom", None):
        raise _no_counterpart("a tool that the provider runs itself", "tools")
    function: dict[str, Any] = {
        "name": tool.get("name"),
        "parameters": tool.get("input_schema") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function}


def _schema(config: Any) -> Any:
    """The schema that the answer has to follow; None where it may be any text."""
    form = config.get("format") if isinstance(config, dict) else None
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise _no_counterpart("this output_config", "output_config")
    return form.get("schema")
