"""Chat completions on Anthropic's Messages API: the request.

The shapes are those of the two API references (OpenAI, "Create chat completion"; Anthropic, "Create
a Message"). System and developer messages become the system prompt, in their order; results of
tools become blocks of the user's next turn.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gateway.dialects.contract import Call
from gateway.dialects.jsonbody import decoded
from gateway.errors import InvalidRequest
from gateway.translations.refused import NoCounterpart

TEMPERATURE_MAX = 1  # Anthropic's; OpenAI's is 2
_UNCAPPED = 4096  # stands for the cap that the gateway grants, which is what is sent
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL | re.IGNORECASE)
# Read elsewhere, or of no meaning there: they neither change the answer nor cost anything.
_DEALT_WITH = frozenset(
    (
        *("model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "stop"),
        *("user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"),
        *("reasoning_effort", "verbosity"),
    )
)
_SAME = ("temperature", "top_p", "top_k", "cache_control")
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
"""Fields that have no counterpart, and the values that say the same as leaving them out."""


def messages_request(call: Call) -> bytes:
    """See Translation.request."""
    fields = {name: decoded(call.fields, name) for name in call.fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    _refuse(fields)
    turns = _Turns()
    for message in fields["messages"]:
        turns.add(message)
    body: dict[str, Any] = {
        "model": call.model,
        "max_tokens": call.output_cap or _UNCAPPED,
        "messages": turns.messages,
    }
    if turns.system:
        body["system"] = turns.system
    body |= {name: fields[name] for name in _SAME if name in fields}
    body |= _tools(fields)
    if "stop" in fields:
        stop = fields["stop"]
        body["stop_sequences"] = stop if isinstance(stop, list) else [stop]
    user = fields.get("safety_identifier") or fields.get("user")
    if user:
        body["metadata"] = {"user_id": user}
    schema = _schema(fields.get("response_format"))
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if call.stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def _refuse(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name in _DEALT_WITH or name in _SAME or value in _NEUTRAL.get(name, ()):
            continue
        raise _no_counterpart(name, name)
    temperature = fields.get("temperature", 0)
    if isinstance(temperature, int | float) and temperature > TEMPERATURE_MAX:
        raise InvalidRequest(
            f"temperature is at most {TEMPERATURE_MAX} for this model's provider",
            param="temperature",
        )


def _no_counterpart(what: str, param: str) -> NoCounterpart:
    return NoCounterpart(what, param, "provider speaks Anthropic's Messages", "use /v1/messages")


class _Turns:
    """Turns of the conversation, in Anthropic's order and shape."""

    def __init__(self) -> None:
        self.system: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self._add: dict[str, Callable[[dict[str, Any]], None]] = {
            "system": self._add_system,
            "developer": self._add_system,
            "user": self._add_user,
            "assistant": self._add_assistant,
            "tool": self._add_result,
        }

    def add(self, message: dict[str, Any]) -> None:
        """Raises InvalidRequest."""
        role = message["role"]
        if role not in self._add:
            raise _no_counterpart(f"a message of the role {role!r}", "messages")
        self._add[role](message)

    def _add_system(self, message: dict[str, Any]) -> None:
        self.system += _blocks(message.get("content"))

    def _add_user(self, message: dict[str, Any]) -> None:
        self._append("user", _blocks(message.get("content")))

    def _add_assistant(self, message: dict[str, Any]) -> None:
        for name in ("function_call", "audio"):
            if message.get(name) is not None:
                raise _no_counterpart(f"{name} of an assistant's message", "messages")
        blocks = _blocks(message.get("content") or message.get("refusal"))
        calls = message.get("tool_calls")
        blocks += [_tool_use(call) for call in calls] if isinstance(calls, list) else []
        self._append("assistant", blocks)

    def _add_result(self, message: dict[str, Any]) -> None:
        block: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": str(message.get("tool_call_id", "")),
            "content": _blocks(message.get("content")),
        }
        self._append("user", [block])

    def _append(self, role: str, blocks: list[dict[str, Any]]) -> None:
        """Results of one answer's tools have to stand in one turn, before what the user says."""
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Empty text is left out: Anthropic refuses it."""
    if content is None:
        return []
    parts = content if isinstance(content, list) else [content]
    return [block for part in parts for block in _block(part)]


def _block(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        block: dict[str, Any] = {"type": "text", "text": part[kind]}
        if not block["text"]:
            return
    elif kind == "image_url":
        block = {"type": "image", "source": _source(part.get("image_url"))}
    else:
        raise _no_counterpart(f"a part of the type {kind!r}", "messages")
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    yield block


def _source(image: Any) -> dict[str, Any]:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise InvalidRequest("image_url has a url", param="messages")
    data = _DATA_URL.fullmatch(url)
    if data is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": data[1].lower(), "data": data[2]}


def _tool_use(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise _no_counterpart("a tool call that is no function's", "messages")
    try:
        arguments = msgspec.json.decode(str(function.get("arguments") or "{}"))
    except (msgspec.DecodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(
            f"the arguments of the tool call {call.get('id')!r} are no JSON object",
            param="messages",
        )
    return {
        "type": "tool_use",
        "id": str(call.get("id", "")),
        "name": str(function.get("name", "")),
        "input": arguments,
    }


def _tools(fields: dict[str, Any]) -> dict[str, Any]:
    """`tools` and `tool_choice`."""
    body: dict[str, Any] = {}
    if fields.get("tools"):
        body["tools"] = [_tool(each) for each in fields["tools"]]
    choice = _choice(fields.get("tool_choice"))
    if fields.get("parallel_tool_calls") is False and body and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None and body:
        body["tool_choice"] = choice
    return body


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise _no_counterpart(f"a tool of the type {tool.get('type')!r}", "tools")
    known: dict[str, Any] = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            known[name] = function[name]
    if tool.get("cache_control") is not None:
        known["cache_control"] = tool["cache_control"]
    return known


def _choice(choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    named = {"auto": "auto", "none": "none", "required": "any"}
    if isinstance(choice, str) and choice in named:
        return {"type": named[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or choice.get("type") != "function":
        raise _no_counterpart("this tool_choice", "tool_choice")
    return {"type": "tool", "name": function.get("name")}


def _schema(wanted: Any) -> Any:
    """The schema that the answer has to follow; None where it may be any text."""
    if wanted is None or wanted == {"type": "text"}:
        return None
    schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise _no_counterpart("response_format without a json_schema", "response_format")
    return schema.get("schema")
