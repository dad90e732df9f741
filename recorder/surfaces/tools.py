"""What the surfaces do alike where they look for tools: who asked, and how many are listed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from recorder.surfaces.contract import ToolCall, ToolResult

_Found = TypeVar("_Found")
_Listed = TypeVar("_Listed", ToolCall, ToolResult)
_Message = dict[str, Any]


def listed(
    found: Sequence[_Found], made: Callable[[_Found], _Listed], most: int
) -> tuple[_Listed, ...]:
    """The first of what was found; the last of them says how many more there are."""
    rows = [made(each) for each in found[:most]]
    if len(found) > most:
        rows[-1] = replace(rows[-1], left_out=len(found) - most)
    return tuple(rows)


def since_asked(
    messages: list[_Message], calls_of: Callable[[_Message], Iterator[Any]]
) -> tuple[_Message, list[_Message]]:
    """The model's last message and those after it, which answer its calls; none where it asked for
    nothing. An answer that is begun in the request (the last message) does not count."""
    if messages and messages[-1].get("role") == "assistant" and not any(calls_of(messages[-1])):
        messages = messages[:-1]
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") == "assistant":
            return messages[at], messages[at + 1 :] if any(calls_of(messages[at])) else []
    return {}, []
