"""OpenAI responses as the records read them: a stream becomes the response that it would have been
in one piece, and tools are found in answers and requests.

The shapes are those of OpenAI's API reference, "The response object" and "Streaming events". The
last event of a stream carries the whole response; where it never came, the response of the first
event is completed from the items and their pieces. What an assembled answer lacks is said in its
field `comptroller`, which is there only if needed: `truncated` (no last event came),
`events_unreadable` (events that are no JSON object), `items_left_out` (above the limit below). A
provider's own field of that name is dropped.
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
from recorder.surfaces.tools import listed
from recorder.surfaces.values import (
    decoded,
    field_of,
    may_hold,
    measured,
    name_of,
    objects,
)

_LAST = frozenset(("response.completed", "response.incomplete", "response.failed"))
_CALLS = frozenset(("function_call", "custom_tool_call"))
_RESULTS = frozenset(("function_call_output", "custom_tool_call_output"))
# Event that brings a piece -> where in its item the pieces are joined: a field of the item, or of
# one of its parts ("content" or "summary", by the event's index).
_ITEM_PIECES = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.mcp_call_arguments.delta": "arguments",
    "response.code_interpreter_call_code.delta": "code",
}
_PART_PIECES = {
    "response.output_text.delta": ("content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text", "text"),
}


class ResponsesSurface:
    """See Surface."""

    __slots__ = ()

    def assembled(self, body: bytes) -> bytes:
        """See Surface."""
        return assembled(body, _Answer())

    def finish_reason(self, answer: bytes) -> str:
        """See Surface: the reason of what is incomplete, else the status."""
        response = decoded(answer)
        reason = name_of(field_of(field_of(response, "incomplete_details"), "reason"))
        return reason or name_of(field_of(response, "status"))

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:
        """See Surface: those that the client is to run."""
        if not may_hold(answer, b"function_call", b"custom_tool_call"):
            return ()
        calls = list(_calls_in(field_of(decoded(answer), "output")))
        return listed(calls, _call, TOOL_CALLS_MAX)

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:
        """See Surface."""
        if not may_hold(request, b"_call_output"):
            return ()
        items = objects(field_of(decoded(request), "input"))
        names = {
            name_of(each.get("call_id")): name_of(each.get("name")) for each in _calls_in(items)
        }

        def result(item: dict[str, Any]) -> ToolResult:
            call_id = name_of(item.get("call_id"))
            return ToolResult(call_id, names.get(call_id, ""), *measured(item.get("output")))

        return listed(_newest(items), result, RESULTS_MAX)


class _Item:
    """An item that is still arriving. `fields`: as its last event has it; `pieces`: texts by the
    place that they belong to; `is_whole`: its own last event came."""

    __slots__ = ("fields", "is_whole", "pieces")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.pieces: dict[tuple[str, int, str, str], list[str]] = {}
        self.is_whole = False

    def finished(self) -> dict[str, Any]:
        """As JSON has it."""
        if self.is_whole:
            return self.fields
        item = dict(self.fields)
        for (list_name, index, kind, name), texts in sorted(self.pieces.items()):
            text = "".join(texts)
            if not list_name:
                item[name] = text
            else:
                parts = [*objects(item.get(list_name))]
                while len(parts) <= index:
                    parts.append({"type": kind, name: ""})
                parts[index] = {**parts[index], name: text}
                item[list_name] = parts
        return item


class _Answer:
    """One answer, taken in event by event."""

    __slots__ = ("_fields", "_items", "_left_out", "_unreadable", "done")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._items: dict[int, _Item] = {}
        self._left_out: set[int] = set()
        self._unreadable = 0
        self.done = False

    def take(self, data: bytes, *, whole: bool) -> None:
        """One event. Half a JSON text at the end of a cut stream is what the cut cost, no fault."""
        event = decoded(data)
        if type(event) is not dict:
            self._unreadable += whole
            return
        kind = event.get("type")
        response = event.get("response")
        if type(response) is dict:
            self._fields = response
            self.done = type(kind) is str and kind in _LAST
        elif kind == "error" or (kind is None and "error" in event):
            self._take_error(event)
        elif type(kind) is str:
            self._take_item(kind, event)

    def _take_error(self, event: dict[str, Any]) -> None:
        said = event.get("error")
        if type(said) is not dict:
            said = {name: event.get(name) for name in ("code", "message", "param")}
        self._fields = {**self._fields, "status": "failed", "error": said}
        self.done = True

    def _take_item(self, kind: str, event: dict[str, Any]) -> None:
        index = event.get("output_index")
        if type(index) is not int:
            return
        if index not in self._items and len(self._items) >= ASSEMBLED_CALLS_MAX:
            self._left_out.add(index)
            return
        item = self._items.setdefault(index, _Item())
        fields = event.get("item")
        if type(fields) is dict:
            item.fields = fields
            item.is_whole = kind == "response.output_item.done"
        delta = event.get("delta")
        place = _place(kind, event)
        if type(delta) is str and place is not None:
            item.pieces.setdefault(place, []).append(delta)

    def finished(self) -> dict[str, Any]:
        """The whole answer."""
        answer = dict(self._fields)
        if self._items and not objects(answer.get("output")):
            answer["output"] = [self._items[at].finished() for at in sorted(self._items)]
        lacks = {
            "truncated": not self.done,
            "events_unreadable": self._unreadable,
            "items_left_out": len(self._left_out),
        }
        return marked(answer, lacks)


def _place(kind: str, event: dict[str, Any]) -> tuple[str, int, str, str] | None:
    if kind in _ITEM_PIECES:
        return "", 0, "", _ITEM_PIECES[kind]
    if kind not in _PART_PIECES:
        return None
    list_name, index_name, part_kind, name = _PART_PIECES[kind]
    index = event.get(index_name)
    if type(index) is not int or not 0 <= index < ASSEMBLED_CALLS_MAX:
        index = 0
    return list_name, index, part_kind, name


def _calls_in(items: Any) -> Iterator[dict[str, Any]]:
    for item in objects(items):
        kind = item.get("type")
        if type(kind) is str and kind in _CALLS:
            yield item


def _call(item: dict[str, Any]) -> ToolCall:
    said = item.get("input" if item.get("type") == "custom_tool_call" else "arguments")
    return ToolCall(name_of(item.get("call_id")), name_of(item.get("name")), *measured(said))


def _newest(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results after the model's last output: what it has answered is old."""
    results: list[dict[str, Any]] = []
    for item in reversed(items):
        kind = item.get("type")
        if type(kind) is not str:
            kind = ""
        if kind in _RESULTS:
            results.append(item)
        elif kind in _CALLS or kind == "reasoning" or item.get("role") == "assistant":
            break
    return results[::-1]
