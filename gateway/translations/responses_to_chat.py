"""OpenAI's Responses on chat completions: the request.

The shapes are those of the API reference ("Create a model response", "Create chat completion"). A
chat server keeps nothing, so what refers to an earlier response has no counterpart. Left out,
because it changes what is kept or shown and not what is asked: `store`, `metadata`, `include`,
summaries of reasoning, and reasoning of earlier answers (which only the model that had it can
read).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.dialects.jsonbody import decoded
from gateway.errors import InvalidRequest
from gateway.translations.refused import NoCounterpart
from gateway.translations.shapes import as_object

INSTEAD = "use a model that is served at /v1/responses"
NAMES: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Fields of chat completions, and where they were in the Responses request."""
_DEALT_WITH = frozenset(
    (
        *("model", "input", "instructions", "max_output_tokens", "stream", "stream_options"),
        *("tools", "tool_choice", "parallel_tool_calls", "text", "reasoning"),
        *("store", "metadata", "include", "max_tool_calls"),
    )
)
_SAME = (
    *("temperature", "top_p", "user", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "service_tier"),
)
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "background": (False,),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
}
"""Fields that have no counterpart, and the values that say the same as leaving them out."""
_TEXTS = ("input_text", "output_text", "text", "refusal")
_ROLES = ("user", "assistant", "system", "developer")


def chat_request(call: Call) -> bytes:
    """See Translation.request."""
    fields = {name: decoded(call.fields, name) for name in call.fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if name not in _DEALT_WITH and name not in _SAME and value not in _NEUTRAL.get(name, ()):
            raise _no_counterpart(name, name)
    body: dict[str, Any] = {"model": call.model, "messages": _messages(fields)}
    if call.output_cap is not None:
        body["max_tokens"] = call.output_cap
    body |= {name: fields[name] for name in _SAME if name in fields}
    body |= _tools(fields) | _text(as_object(fields.get("text")))
    effort = as_object(fields.get("reasoning")).get("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def _no_counterpart(what: str, param: str) -> NoCounterpart:
    return NoCounterpart(what, param, "provider does not speak Responses", INSTEAD)


def _messages(fields: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if fields.get("instructions"):
        messages.append({"role": "system", "content": fields["instructions"]})
    items = fields.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise InvalidRequest("input is a text, or a list of items", param="input")
    for item in items:
        _add(messages, item)
    return messages


def _add(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    match item.get("type", "message"):
        case "message":
            messages.append(_message(item))
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            _add_call(messages, {"type": "function", "function": function}, item)
        case "custom_tool_call":
            custom = {"name": item.get("name"), "input": item.get("input")}
            _add_call(messages, {"type": "custom", "custom": custom}, item)
        case "function_call_output" | "custom_tool_call_output":
            content = "\n\n".join(_plain_texts(item.get("output")))
            call_id = str(item.get("call_id", ""))
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        case "reasoning":
            pass
        case kind:
            raise _no_counterpart(f"an item of the type {kind!r}", "input")


def _add_call(messages: list[dict[str, Any]], call: dict[str, Any], item: dict[str, Any]) -> None:
    """Calls of one answer stand in one message, with the text that came before them."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls = messages[-1].setdefault("tool_calls", [])
    calls.append({"id": str(item.get("call_id", "")), **call})


def _message(item: dict[str, Any]) -> dict[str, Any]:
    role = item.get("role")
    if role not in _ROLES:
        raise _no_counterpart(f"a message of the role {role!r}", "input")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if role != "user":
        return {"role": role, "content": "".join(_plain_texts(content))}
    return {"role": role, "content": list(_parts(content))}


def _plain_texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in _objects(content):
        kind = part.get("type")
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind not in _TEXTS or not isinstance(text, str):
            raise _no_counterpart(f"a part of the type {kind!r} here", "input")
        yield text


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    for part in _objects(content):
        match part:
            case {"type": "input_text" | "text", "text": str(text)}:
                yield {"type": "text", "text": text}
            case {"type": "input_image", "image_url": str(url)}:
                image = {"url": url, "detail": part.get("detail") or "auto"}
                yield {"type": "image_url", "image_url": image}
            case _:
                raise _no_counterpart(f"a part of the type {part.get('type')!r}", "input")


def _objects(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise InvalidRequest("content is a text, or a list of parts", param="input")
    return content


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls`."""
    tools = fields.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidRequest("tools is a list of tools", param="tools")
    body: dict[str, Any] = {"tools": [_tool(as_object(each)) for each in tools]}
    choice = fields.get("tool_choice")
    if isinstance(choice, str):
        body["tool_choice"] = choice
    elif choice is not None:
        kind = as_object(choice).get("type")
        if kind not in ("function", "custom"):
            raise _no_counterpart("this tool_choice", "tool_choice")
        body["tool_choice"] = {"type": kind, kind: {"name": as_object(choice).get("name")}}
    if "parallel_tool_calls" in fields:
        body["parallel_tool_calls"] = fields["parallel_tool_calls"]
    return body


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    kind = tool.get("type")
    wanted = {
        "function": ("name", "description", "parameters", "strict"),
        "custom": ("name", "description"),
    }
    if not isinstance(kind, str) or kind not in wanted:
        raise _no_counterpart(f"a tool of the type {kind!r}", "tools")
    inner = {name: tool[name] for name in wanted[kind] if tool.get(name) is not None}
    form = as_object(tool.get("format"))
    if kind == "custom" and form.get("type") == "grammar":
        grammar = {name: form.get(name) for name in ("definition", "syntax")}
        inner["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": kind, kind: inner}


def _text(text: dict[str, Any]) -> dict[str, Any]:
    """`response_format` and `verbosity`."""
    body: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        body["verbosity"] = text["verbosity"]
    form = as_object(text.get("format"))
    match form.get("type", "text"):
        case "text":
            pass
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            names = ("name", "description", "schema", "strict")
            schema = {name: form[name] for name in names if form.get(name) is not None}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        case kind:
            raise _no_counterpart(f"text.format of the type {kind!r}", "text")
    return body
