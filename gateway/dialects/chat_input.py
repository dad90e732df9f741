"""How many tokens the input of a chat request can be, counted on what is really sent.

Every text counts its bytes, or its tokens where the measure says so; pictures are handed on with
the size that their header gives; what else is not text (audio, files) or not known is unseen
content, which the caller counts as the whole context window. Kept apart from the wire format
because it is the part that money hangs on.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.jsonbody import rewritten
from gateway.errors import InvalidRequest
from pricing import ByteMeasure, CacheWrite, Image, Measure, overhead_tokens, size_of_url

MESSAGES_MAX = 10_000
_TEXT_KEYS = ("content", "role", "name", "refusal", "tool_call_id", "reasoning_content")
_PLAIN_PARTS = ("text", "refusal")
_UNSEEN_PARTS = ("file", "video_url")
_IMAGE_PART_KEYS = frozenset(("type", "image_url", "cache_control"))
_IMAGE_KEYS = frozenset(("url", "detail"))


class InputBound:
    """Adds up one request by a measure of its texts: by default the bytes, which hold for all.
    `other`: there is content without a size here, as a file; `unknown`: there is what nobody knows
    here, or what the provider holds. That may also ask it to write to its cache."""

    __slots__ = (
        *("_json_tokens", "_text_tokens", "audio", "images", "messages"),
        *("other", "texts", "tokens", "tools", "unknown"),
    )

    def __init__(self, measure: type[ByteMeasure] | Measure = ByteMeasure) -> None:
        self._text_tokens = measure.text
        self._json_tokens = measure.json
        self.tokens = 0
        self.messages = 0
        self.texts = 0
        self.tools = 0
        self.images: list[Image] = []
        self.audio = False
        self.other = False
        self.unknown = False

    @property
    def unseen(self) -> bool:
        """Whether there is content whose tokens cannot be bounded by anything in the request."""
        return self.audio or self.other or self.unknown

    @property
    def tokens_max(self) -> int:
        """The bound, overheads included, without what the pictures themselves are; only for
        requests without unseen content."""
        return self.tokens + overhead_tokens(
            messages=self.messages,
            texts=self.texts,
            tools=self.tools,
            images=len(self.images),
        )

    def add_messages(self, messages: Any) -> None:
        """Raises InvalidRequest where they are not a list of messages."""
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("messages is a list of at least one message", param="messages")
        if len(messages) > MESSAGES_MAX:
            raise InvalidRequest(f"messages has more than {MESSAGES_MAX} entries", param="messages")
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise InvalidRequest(
                    "each message is an object with a role and a content", param="messages"
                )
            self._add_message(message)

    def _add_message(self, message: dict[str, Any]) -> None:
        self.messages += 1
        for key, value in message.items():
            if isinstance(value, str):
                self.tokens += self._text_tokens(value)
                self.texts += 1
                if key not in _TEXT_KEYS:
                    self.tokens += len(key)
            elif key == "content" and isinstance(value, list):
                for part in value:
                    self._add_part(part)
            elif value is not None:
                self.add_json(value)
                self.other = self.other or key in ("audio", "video", "images")

    def _add_part(self, part: Any) -> None:
        if isinstance(part, str):
            self._add_text(part)
            return
        if not isinstance(part, dict):
            raise InvalidRequest("each part of a content is an object", param="messages")
        kind = part.get("type")
        if kind in _PLAIN_PARTS and isinstance(part.get(kind), str):
            self._add_text(part[kind])
            # Whatever stands beside the text may be content too, for a server that reads it.
            self.unknown |= not part.keys() <= {"type", kind, "cache_control"}
        elif kind == "image_url":
            self._add_image(part)
        elif kind == "input_audio":
            self.audio = True
        elif kind in _UNSEEN_PARTS:
            self.other = True
        else:
            self.unknown = True

    def _add_text(self, text: str) -> None:
        self.tokens += self._text_tokens(text)
        self.texts += 1

    def _add_image(self, part: dict[str, Any]) -> None:
        image = part.get("image_url")
        if isinstance(image, str):
            image = {"url": image}
        if not isinstance(image, dict):
            self.unknown = True
            return
        url, detail = image.get("url"), image.get("detail", "")
        if not isinstance(url, str) or not isinstance(detail, str | None):
            self.unknown = True
            return
        self.images.append(Image(size_of_url(url), detail or ""))
        # A setting that is not known here may make more of it.
        self.unknown |= not (part.keys() <= _IMAGE_PART_KEYS and image.keys() <= _IMAGE_KEYS)

    def add_json(self, value: Any) -> None:
        """Tool calls, schemas: the provider writes them into the prompt in a style of its own."""
        if value is None:
            return
        try:
            written = msgspec.json.encode(value).decode()
        except RecursionError:  # it was read with a little more of the stack left
            raise InvalidRequest("the body is nested too deeply") from None
        self.tokens += self._json_tokens(written)
        self.texts += 1

    def add_field(self, name: str, value: Any) -> None:
        """A field beside messages and tools that the provider writes into the prompt."""
        if name == "functions" and isinstance(value, list):
            self.tools += len(value)
        self.add_json(value)

    def add_tools(self, tools: Any) -> None:
        """Raises InvalidRequest where they are not a list; a tool that the provider runs itself
        brings content that nobody has seen."""
        if tools is None:
            return
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise InvalidRequest("tools is a list of tools", param="tools")
        self.tools += len(tools)
        for tool in tools:
            self.add_json(tool)
            self.unknown |= tool.get("type") not in ("function", "custom")


def top_mark(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """A `cache_control` beside the messages marks the whole request: written anew, as they are."""
    return {name: rewritten(fields, name) for name in ("cache_control",) if name in fields}


def cache_write_asked(values: list[Any], written: bytes) -> CacheWrite:
    """The longest-lived cache write that a request asks for (Anthropic's `cache_control`, which
    compatible servers pass on): written tokens cost more than plain input. `written` is what is
    forwarded of the values: written anew, so that no escape can hide the name."""
    if b"cache_control" not in written:
        return "none"
    lifetimes = set(_cache_lifetimes(values))
    if not lifetimes:
        return "none"
    return "5m" if lifetimes <= {"5m"} else "1h"


def _cache_lifetimes(value: Any) -> Iterator[str]:
    """The lifetime of each `cache_control` inside; without one it is five minutes."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            control = each.get("cache_control")
            if control is not None:
                yield str(control.get("ttl", "5m")) if isinstance(control, dict) else "5m"
            waiting += each.values()
