"""OpenAI chat completions as the records read them: a stream becomes the answer that it would have
been in one piece, and tools are found in answers and requests.

The shapes are those of OpenAI's API reference ("Chat", "Streaming") with what compatible servers
add: `reasoning_content` (DeepSeek), `reasoning` and `reasoning_details` (OpenRouter), content in
parts (Mistral), tool calls without an index (Gemini).

What an assembled answer lacks is said in its field `comptroller`, which is there only if needed:
`truncated` (no `[DONE]` came), `events_unreadable` (events that are no JSON object),
`choices_left_out` and `tool_calls_left_out` (above the limits below). A provider's own field of
that name is dropped. Of streamed audio the id, transcript and expiry are kept, not the sound.
"""

from collections.abc import Iterator
from typing import Any

from recorder.surfaces.assembling import assembled, marked
from recorder.surfaces.contract import (
    ASSEMBLED_CALLS_MAX,
    RESULTS_MAX,
    TOOL_CALLS_MAX,
    ToolCall,
    ToolResult,
)
from recorder.surfaces.tools import listed, since_asked
from recorder.surfaces.values import (
    decoded,
    field_of,
    may_hold,
    measured,
    name_of,
    objects,
)

CHOICES_MAX = 128  # OpenAI's largest n
_DONE = b"[DONE]"
_WHOLE_STRINGS = frozenset({"id", "type", "role"})  # sent whole, by some servers in every event
_JOINED_LISTS = frozenset({"content", "annotations", "images", "reasoning_details"})


class ChatSurface:
    """See Surface."""

    __slots__ = ()

    def assembled(self, body: bytes) -> bytes:
        """See Surface."""
        return assembled(body, _Answer())

    def finish_reason(self, answer: bytes) -> str:
        """See Surface."""
        choices = objects(field_of(decoded(answer), "choices"))
        return name_of(choices[0].get("finish_reason")) if choices else ""

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:
        """See Surface."""
        if not may_hold(answer, b"tool_calls", b"function_call"):
            return ()
        choices = objects(field_of(decoded(answer), "choices"))
        calls = [call for choice in choices for call in _calls_of(choice.get("message"))]
        return listed(calls, lambda call: ToolCall(*call[:2], *measured(call[2])), TOOL_CALLS_MAX)

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:
        """See Surface."""
        if not may_hold(request, b'"tool"', b'"function"'):
            return ()
        messages = objects(field_of(decoded(request), "messages"))
        asking, newer = since_asked(messages, _calls_of)
        names = {call_id: name for call_id, name, _ in _calls_of(asking) if call_id}
        answers = [each for each in newer if each.get("role") in ("tool", "function")]

        def result(message: dict[str, Any]) -> ToolResult:
            call_id = name_of(message.get("tool_call_id"))
            name = names.get(call_id) or name_of(message.get("name"))
            return ToolResult(call_id, name, *measured(message.get("content")))

        return listed(answers, result, RESULTS_MAX)


class _Pieces(list[str]):
    """A string that is still arriving; joined once, or its growth would be quadratic."""

    __slots__ = ()


class _Fields(dict[str, Any]):
    """An object that is still arriving. Plain dicts inside it are values, and final."""

    __slots__ = ()

    def merge(self, name: str, value: Any) -> None:
        """Strings grow, lists of parts too; of anything else the last one that is not null wins."""
        known = self.get(name)
        if type(value) is str and name not in _WHOLE_STRINGS:
            if type(known) is _Pieces:
                known.append(value)
            elif type(known) is list and name in _JOINED_LISTS:
                known.append({"type": "text", "text": value})
            else:
                self[name] = _Pieces([value])
        elif type(value) is list and name in _JOINED_LISTS:
            if type(known) is list:
                known.extend(value)
            else:
                text = "".join(known) if type(known) is _Pieces else ""
                self[name] = ([{"type": "text", "text": text}] if text else []) + value
        elif name not in self or (value is not None and value != ""):
            self[name] = value

    def child(self, name: str) -> "_Fields":
        """The object in a field, made if there is none."""
        known = self.get(name)
        if type(known) is not _Fields:
            known = self[name] = _Fields()
        return known

    def finished(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: _finished(value) for name, value in self.items()}


class _ToolCalls:
    """The calls of one message, by index; those without one by id, or they go on with the last."""

    __slots__ = ("_at", "_calls", "_ids", "_left_out", "_next")

    def __init__(self) -> None:
        self._calls: dict[int, _Fields] = {}
        self._ids: dict[str, int] = {}
        self._left_out: set[int] = set()
        self._at = self._next = 0

    def take(self, deltas: Any) -> None:
        """The calls, or pieces of them, of one event."""
        for delta in objects(deltas):
            call = self._call(delta)
            if call is None:
                continue
            for name, value in delta.items():
                if name in ("function", "custom") and type(value) is dict:
                    _take_function(call.child(name), value)
                elif name != "index":
                    call.merge(name, value)

    def _call(self, delta: dict[str, Any]) -> _Fields | None:
        index, call_id = delta.get("index"), delta.get("id")
        known_as = call_id if type(call_id) is str else ""
        if type(index) is not int:
            index = self._ids.get(known_as, self._next) if known_as else self._at
        if known_as:
            self._ids.setdefault(known_as, index)
        self._at = index
        self._next = max(self._next, index + 1)
        if index not in self._calls and len(self._calls) >= ASSEMBLED_CALLS_MAX:
            self._left_out.add(index)
            return None
        return self._calls.setdefault(index, _Fields())

    @property
    def left_out(self) -> int:
        """How many calls are above the limit."""
        return len(self._left_out)

    def finished(self) -> list[dict[str, Any]]:
        """As JSON has it, in the order of their indexes."""
        return [self._calls[index].finished() for index in sorted(self._calls)]


class _Answer:
    """One answer, taken in event by event."""

    __slots__ = ("_choices", "_choices_left_out", "_fields", "_unreadable", "done")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Fields] = {}
        self._choices_left_out: set[int] = set()
        self._unreadable = 0
        self.done = False

    def take(self, data: bytes, *, whole: bool) -> None:
        """One event. Half a JSON text at the end of a cut stream is what the cut cost, no fault."""
        if data.strip() == _DONE:
            self.done = True
            return
        chunk = decoded(data)
        if type(chunk) is not dict:
            self._unreadable += whole
            return
        for name, value in chunk.items():
            if name == "choices":
                self._take_choices(value)
            elif name == "object" and value == "chat.completion.chunk":
                self._fields[name] = "chat.completion"
            elif name not in self._fields or (value is not None and value != ""):
                self._fields[name] = value

    def _take_choices(self, deltas: Any) -> None:
        if type(deltas) is not list:
            return
        self._fields.setdefault("choices", None)  # its place among the fields
        for place, delta in enumerate(deltas):
            if type(delta) is not dict:
                continue
            index = delta.get("index")
            if type(index) is not int:
                index = place
            choice = self._choices.get(index)
            if choice is None:
                if len(self._choices) >= CHOICES_MAX:
                    self._choices_left_out.add(index)
                    continue
                choice = self._choices[index] = _Fields(index=index)
            _take_choice(choice, delta)

    def finished(self) -> dict[str, Any]:
        """The whole answer."""
        calls_left_out, answer = 0, self._fields
        if "choices" in answer:
            for choice in self._choices.values():
                if not _is_text(choice):
                    calls = choice.child("message").get("tool_calls")
                    calls_left_out += calls.left_out if type(calls) is _ToolCalls else 0
            answer["choices"] = [_whole(self._choices[index]) for index in sorted(self._choices)]
        lacks = {
            "truncated": not self.done,
            "events_unreadable": self._unreadable,
            "choices_left_out": len(self._choices_left_out),
            "tool_calls_left_out": calls_left_out,
        }
        return marked(answer, lacks)


def _take_choice(choice: _Fields, delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "delta":
            if type(value) is dict:
                _take_delta(choice.child("message"), value)
        elif name == "message":
            if type(value) is dict:  # some servers repeat the answer as a whole at the end
                choice["message"] = _Fields()
                _take_delta(choice.child("message"), value)
        elif name == "logprobs":
            _take_logprobs(choice, value)
        elif name == "text":
            choice.merge(name, value)
        elif name != "index" and (name not in choice or value is not None):
            choice[name] = value


def _take_delta(message: _Fields, delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls" and type(value) is list:
            calls = message.get(name)
            if type(calls) is not _ToolCalls:
                calls = message[name] = _ToolCalls()
            calls.take(value)
        elif name == "function_call" and type(value) is dict:
            _take_function(message.child(name), value)
        elif name == "audio" and type(value) is dict:
            for part in ("id", "transcript", "expires_at"):
                if part in value:
                    message.child(name).merge(part, value[part])
        elif value is None or name not in ("tool_calls", "function_call", "audio"):
            message.merge(name, value)


def _take_function(function: _Fields, delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        known = function.get(name)
        if name == "name" and type(known) is _Pieces and known == [value]:
            continue  # some servers send the whole name in every event
        function.merge(name, value)


def _take_logprobs(choice: _Fields, value: Any) -> None:
    if type(value) is not dict:
        choice.setdefault("logprobs", None)
        return
    logprobs = choice.child("logprobs")
    for name, part in value.items():
        known = logprobs.get(name)
        if type(known) is list and type(part) is list:
            known.extend(part)
        elif name not in logprobs or part is not None:
            logprobs[name] = part


def _whole(choice: _Fields) -> dict[str, Any]:
    """A choice with the fields that a whole answer always has."""
    whole = choice.finished()
    whole.setdefault("finish_reason", None)
    if _is_text(choice):
        return whole
    message = {"role": "assistant", **whole["message"]}
    message.setdefault("content", None)
    if message["content"] == "" and message.get("tool_calls"):
        message["content"] = None  # an answer in one piece has no empty text beside its calls
    whole["message"] = message
    return whole


def _is_text(choice: _Fields) -> bool:
    """Whether it is one of the legacy completions, which say a text and no message."""
    return "text" in choice and "message" not in choice


def _finished(value: Any) -> Any:
    if type(value) is _Pieces:
        return "".join(value)
    if type(value) is _Fields or type(value) is _ToolCalls:
        return value.finished()
    return value


def _calls_of(message: Any) -> Iterator[tuple[str, str, Any]]:
    """Id, name and arguments of each call of a message, the older `function_call` too."""
    for call in objects(field_of(message, "tool_calls")):
        function, custom = call.get("function"), call.get("custom")
        if type(function) is dict:
            yield name_of(call.get("id")), name_of(function.get("name")), function.get("arguments")
        elif type(custom) is dict:
            yield name_of(call.get("id")), name_of(custom.get("name")), custom.get("input")
    older = field_of(message, "function_call")
    if type(older) is dict:
        yield "", name_of(older.get("name")), older.get("arguments")
