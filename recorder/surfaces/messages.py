"""Anthropic's Messages as the records read them: a stream becomes the message that it would have
been in one piece, and tools are found in answers and requests.

The shapes are those of Anthropic's API reference ("Messages") and its guide "Streaming Messages":
a message begins empty, its blocks grow by deltas, and the last deltas are of the message itself.

What an assembled message lacks is said in its field `comptroller`, which is there only if needed:
`truncated` (no `message_stop` came), `events_unreadable` (events that are no JSON object),
`blocks_left_out` (above the limit below), `error` (what the provider said instead of going on). A
provider's own field of that name is dropped. A tool's input that is cut in the middle is kept as
the text that came.
"""

from collections.abc import Iterator
from typing import Any

from recorder.surfaces.assembling import assembled, marked
from recorder.surfaces.contract import RESULTS_MAX, TOOL_CALLS_MAX, ToolCall, ToolResult
from recorder.surfaces.tools import listed, since_asked
from recorder.surfaces.values import (
    decoded,
    field_of,
    may_hold,
    measured,
    name_of,
    objects,
)

BLOCKS_MAX = 1024
"""Blocks put together of one stream; a message has some dozens."""
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
# What a delta adds, and to which field of its block (API reference, "Streaming Messages").
_GROWING = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("input", "partial_json"),
    "compaction_delta": ("content", "content"),
}


class MessagesSurface:
    """See Surface."""

    __slots__ = ()

    def assembled(self, body: bytes) -> bytes:
        """See Surface."""
        return assembled(body, _Message())

    def finish_reason(self, answer: bytes) -> str:
        """See Surface."""
        return name_of(field_of(decoded(answer), "stop_reason"))

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:
        """See Surface. The arguments are an object here: its JSON without white space counts."""
        if not may_hold(answer, b"tool_use"):
            return ()
        return listed(list(_calls_of(decoded(answer))), _call, TOOL_CALLS_MAX)

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:
        """See Surface."""
        if not may_hold(request, b"tool_result"):
            return ()
        messages = objects(field_of(decoded(request), "messages"))
        asking, newer = since_asked(messages, _calls_of)
        names = {name_of(each.get("id")): name_of(each.get("name")) for each in _calls_of(asking)}
        blocks = [block for message in newer for block in objects(message.get("content"))]

        def result(block: dict[str, Any]) -> ToolResult:
            call_id = name_of(block.get("tool_use_id"))
            return ToolResult(call_id, names.get(call_id, ""), *measured(block.get("content")))

        results = [each for each in blocks if each.get("type") == "tool_result"]
        return listed(results, result, RESULTS_MAX)


class _Block:
    """One block that is still arriving: texts are joined once, or growth would be quadratic."""

    __slots__ = ("_fields", "_pieces")

    def __init__(self, begun: dict[str, Any]) -> None:
        self._fields = begun
        self._pieces: dict[str, list[str]] = {}

    def take(self, delta: dict[str, Any]) -> None:
        """One delta; one that is not known here is left out."""
        kind = delta.get("type")
        if kind == "citations_delta":
            if type(self._fields.get("citations")) is not list:
                self._fields["citations"] = []
            self._fields["citations"].append(delta.get("citation"))
        elif type(kind) is str and kind in _GROWING:
            name, source = _GROWING[kind]
            piece = delta.get(source)
            if type(piece) is str:
                self._pieces.setdefault(name, []).append(piece)

    def finished(self) -> dict[str, Any]:
        """As a whole message has it."""
        for name, pieces in self._pieces.items():
            begun = self._fields.get(name)
            text = (begun if type(begun) is str else "") + "".join(pieces)
            if name == "input":
                value = decoded(text.encode("utf-8", "surrogatepass")) if text else begun
                self._fields[name] = text if value is None else value
            else:
                self._fields[name] = text
        return self._fields


class _Message:
    """One message, taken in event by event."""

    __slots__ = ("_blocks", "_error", "_fields", "_left_out", "_unreadable", "done")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}
        self._left_out: set[int] = set()
        self._unreadable = 0
        self._error: Any = None
        self.done = False

    def take(self, data: bytes, *, whole: bool) -> None:
        """One event. Half a JSON text at the end of a cut stream is what the cut cost, no fault."""
        event = decoded(data)
        if type(event) is not dict:
            self._unreadable += whole
            return
        match event.get("type"):
            case "message_start" if type(event.get("message")) is dict:
                self._fields = event["message"]
            case "content_block_start" if type(event.get("content_block")) is dict:
                self._begin(event.get("index"), event["content_block"])
            case "content_block_delta" if type(event.get("delta")) is dict:
                block = self._blocks.get(_index(event.get("index")))
                if block is not None:
                    block.take(event["delta"])
            case "message_delta":
                self._end(event)
            case "message_stop":
                self.done = True
            case "error":
                self._error = event.get("error")

    def _begin(self, index: Any, begun: dict[str, Any]) -> None:
        at = _index(index)
        if at not in self._blocks and len(self._blocks) >= BLOCKS_MAX:
            self._left_out.add(at)
        else:
            self._blocks[at] = _Block(begun)

    def _end(self, event: dict[str, Any]) -> None:
        for name, value in event.items():
            if name == "delta" and type(value) is dict:
                self._fields.update(value)
            elif name == "usage" and type(value) is dict:
                known = self._fields.get("usage")
                counted = {each: count for each, count in value.items() if count is not None}
                self._fields["usage"] = (known if type(known) is dict else {}) | counted
            elif name not in ("type", "delta", "usage"):
                self._fields[name] = value

    def finished(self) -> dict[str, Any]:
        """The whole message; where none began, the provider's error in its own shape."""
        if not self._fields and not self._blocks and self._error is not None:
            return {"type": "error", "error": self._error}
        message = self._fields
        message["content"] = [self._blocks[index].finished() for index in sorted(self._blocks)]
        lacks = {
            "truncated": not self.done,
            "events_unreadable": self._unreadable,
            "blocks_left_out": len(self._left_out),
            "error": self._error,
        }
        return marked(message, lacks)


def _index(value: Any) -> int:
    return value if type(value) is int else 0


def _calls_of(message: Any) -> Iterator[dict[str, Any]]:
    for block in objects(field_of(message, "content")):
        if block.get("type") in _CALLS:
            yield block


def _call(block: dict[str, Any]) -> ToolCall:
    arguments = measured(block.get("input"))
    return ToolCall(name_of(block.get("id")), name_of(block.get("name")), *arguments)
