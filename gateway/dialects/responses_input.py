"""How many tokens the input of a responses request can be, counted on what is really sent.

Items are those of OpenAI's API reference, "Create a model response", `input`. Every text of an item
counts, whatever its field is called; what refers to something that the provider keeps (an item, a
file, a stored response, reasoning that is there by its id alone) is unseen content, and so is every
item that is not known here.
"""

import re
from typing import Any

from gateway.dialects.chat_input import InputBound
from gateway.dialects.responses_tools import ToolsBound, is_tools
from gateway.errors import InvalidRequest, NotPriced
from pricing import ByteMeasure, CacheWrite, Image, Measure, size_of_url

ITEMS_MAX = 10_000
# Items that say all that they are.
_SEEN = frozenset(
    (
        *("message", "function_call", "function_call_output", "custom_tool_call"),
        *("custom_tool_call_output", "local_shell_call", "local_shell_call_output", "shell_call"),
        *("shell_call_output", "apply_patch_call", "apply_patch_call_output", "mcp_call"),
        *("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_call"),
        *("tool_search_output", "additional_tools", "computer_call", "computer_call_output"),
        *("reasoning", "compaction", "configuration_update"),
    )
)
# Of tools that the provider runs: what they found does not stand in them.
_UNSEEN = frozenset(
    (
        *("web_search_call", "file_search_call", "image_generation_call"),
        *("code_interpreter_call", "program", "program_output"),
    )
)
_KEYS = frozenset(
    (
        *("type", "id", "role", "status", "content", "call_id", "name", "arguments", "output"),
        *("summary", "encrypted_content", "phase", "namespace", "input", "tools"),
    )
)
# Of some items; all that is in them counts as well. What is in no item that is known may bring
# what nobody has seen.
_RARE_KEYS = frozenset(
    (
        *("action", "actions", "environment", "operation", "caller", "execution", "async"),
        *("approval_request_id", "approve", "reason", "server_label", "error", "end_turn"),
        *("acknowledged_safety_checks", "pending_safety_checks", "max_output_length"),
        *("reasoning", "text"),
    )
)
_ID_KEYS = frozenset(("type", "id", "status", "server_label", "role"))
_ENCRYPTED = ("reasoning", "compaction")
_PARTS_IN = frozenset(("content", "output", "summary"))
_TEXT_PARTS = frozenset(
    ("input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal")
)
_TEXT_PART_KEYS = frozenset(
    ("type", "text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint")
)
_IMAGE_PARTS = frozenset(("input_image", "computer_screenshot"))
_IMAGE_PART_KEYS = frozenset(("type", "image_url", "file_id", "detail", "prompt_cache_breakpoint"))
_SHELL_PART_KEYS = frozenset(("stdout", "stderr", "outcome"))
_MARKS = (b"prompt_cache_breakpoint", b"prompt_cache_options", b"cache_control")
_LONG_LIVED = re.compile(rb'"ttl":(?!null|"30m"|"5m")')


class ResponsesInput(InputBound):
    """Adds up one request by a measure of its texts. `hosted`: the tools that it brings."""

    __slots__ = ("hosted",)

    def __init__(self, measure: type[ByteMeasure] | Measure = ByteMeasure) -> None:
        super().__init__(measure)
        self.hosted = ToolsBound()

    def add_input(self, value: Any) -> None:
        """Raises InvalidRequest where it is neither a text nor a list of items."""
        if value is None:
            return
        if isinstance(value, str):
            self.messages += 1
            self._add_text(value)
            return
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise InvalidRequest("input is a text, or a list of items", param="input")
        if len(value) > ITEMS_MAX:
            raise InvalidRequest(f"input has more than {ITEMS_MAX} items", param="input")
        for item in value:
            self._add_item(item)

    def add_instructions(self, value: Any) -> None:
        """A text that stands before the input; raises InvalidRequest where it is none."""
        if value is None:
            return
        if not isinstance(value, str):
            raise InvalidRequest("instructions is a text", param="instructions")
        self.messages += 1
        self._add_text(value)

    def add_tools(self, tools: Any, *, in_item: bool = False) -> None:
        """Raises InvalidRequest where they are no list of tools, NotPriced as ToolsBound."""
        if tools is None:
            return
        if not is_tools(tools):
            raise InvalidRequest("tools is a list of tools", param="tools")
        before = self.hosted.count
        self.hosted.take(tools, in_item=in_item)
        self.tools += self.hosted.count - before
        self.other = self.other or self.hosted.unseen
        for tool in tools:
            self.add_json(tool)

    def _add_item(self, item: dict[str, Any]) -> None:
        kind, role, content = item.get("type"), item.get("role"), item.get("content")
        is_whole = len(item) == (2 if kind is None else 3) and kind in (None, "message")
        if is_whole and isinstance(role, str) and isinstance(content, str):  # as most are
            self.messages += 1
            self.texts += 2
            self.tokens += self._text_tokens(role) + self._text_tokens(content)
            return
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        if not isinstance(kind, str):
            raise InvalidRequest("the type of an item is a text", param="input")
        if kind == "message" and not isinstance(role, str):
            raise InvalidRequest("a message has a role and a content", param="input")
        if kind == "compaction_trigger":
            raise NotPriced(
                "input: a compaction_trigger lets the provider write what has no bound here: "
                "remove it",
                param="input",
            )
        self.messages += 1
        if kind in _UNSEEN:
            self.other = True
        elif kind not in _SEEN or _is_kept(kind, item):
            self.unknown = True
        for key, value in item.items():
            if key != "type":
                self._add_value(kind, key, value)

    def _add_value(self, kind: str, key: str, value: Any) -> None:
        if key not in _KEYS:
            self.tokens += len(key.encode("utf-8", "surrogatepass"))
            self.unknown |= key not in _RARE_KEYS
        if key == "encrypted_content" and isinstance(value, str):
            # What is in it was encrypted, so no tokenizer says how much: its length does.
            self.tokens += len(value)
        elif isinstance(value, str):
            self._add_text(value)
        elif key in _PARTS_IN and isinstance(value, list):
            for part in value:
                self._add_part(part)
        elif key == "output" and isinstance(value, dict):
            self._add_part(value)
        elif key == "tools" and kind != "mcp_list_tools":  # else they are listed, not offered
            self.add_tools(value, in_item=True)
        elif value is not None:
            self.add_json(value)
            self.unknown |= key in _PARTS_IN  # parts, but not a list of them

    def _add_part(self, part: Any) -> None:
        if isinstance(part, str):
            self._add_text(part)
            return
        if not isinstance(part, dict):
            raise InvalidRequest("each part of an item is an object", param="input")
        kind = part.get("type")
        text = part.get("refusal" if kind == "refusal" else "text")
        if isinstance(kind, str) and kind in _TEXT_PARTS and isinstance(text, str):
            self._add_text(text)
            self.add_json(part.get("annotations") or None)
            self.unknown |= not part.keys() <= _TEXT_PART_KEYS
        elif isinstance(kind, str) and kind in _IMAGE_PARTS:
            self._add_image(part)
        elif kind == "input_audio":
            self.audio = True
        elif kind is None and part.keys() <= _SHELL_PART_KEYS:
            self.add_json(part)
        else:
            self.add_json(part)
            self.other = True
            self.unknown |= kind != "input_file"

    def _add_image(self, part: dict[str, Any]) -> None:
        """A picture in a file, or elsewhere, has no size here, but the most that it can be."""
        url, detail = part.get("image_url"), part.get("detail")
        if not isinstance(url, str | None) or not isinstance(detail, str | None):
            self.unknown = True
            return
        self.images.append(Image(size_of_url(url) if url else None, detail or ""))
        self.unknown |= not part.keys() <= _IMAGE_PART_KEYS


def _is_kept(kind: str, item: dict[str, Any]) -> bool:
    """Whether the provider has more of an item than stands here: one by its id alone, reasoning
    and compactions without what they hold."""
    if item.keys() <= _ID_KEYS:
        return True
    if kind not in _ENCRYPTED:
        return False
    return not isinstance(item.get("encrypted_content"), str) and not item.get("content")


def cache_write_of(written: bytes) -> CacheWrite:
    """The longest-lived cache write that a request asks for (OpenAI, guide "Prompt caching":
    breakpoints and options, `ttl` 30m or 12h; another is taken for the dearest). `written` is what
    is forwarded, written anew: no escape can hide a name in it, and no key is there twice."""
    if not any(mark in written for mark in _MARKS):
        return "none"
    return "5m" if _LONG_LIVED.search(written) is None else "1h"
