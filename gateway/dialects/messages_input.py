"""How many tokens the input of a Messages request can be, counted on what is really sent.

Block by block (Anthropic's API reference, "Messages"): texts count their bytes, pictures are handed
on with their size, and what is not text or not known is unseen content. Thinking that comes back
counts with its signature, which holds the whole of what was thought, encrypted ("Extended
thinking"): ciphertext is not shorter than the tokens in it.
"""

from typing import Any

from gateway.dialects.chat_input import MESSAGES_MAX, InputBound
from gateway.dialects.messages_tools import checked_tools, schema_tokens
from gateway.errors import InvalidRequest, NotPriced
from pricing import Image, size_of_url

BLOCKS_DEPTH_MAX = 3
"""Blocks inside blocks: a document in a tool's result is the deepest that the reference has."""
IMAGE_CHARS_LOOKED_AT = 2**20
"""Of a picture in base64: its size is in front. No more than that is copied."""
_MARK = "cache_control"
_MESSAGE_KEYS = frozenset(("role", "content"))
_TEXT_KEYS = frozenset(("type", "text", "citations", _MARK))
_IMAGE_KEYS = frozenset(("type", "source", _MARK))
_DOCUMENT_KEYS = frozenset(("type", "source", "title", "context", "citations", _MARK))
_RESULT_KEYS = frozenset(("type", "tool_use_id", "content", "is_error", "toolset_name", _MARK))
_TOOL_CHANGE_KEYS = frozenset(("type", "tool", _MARK))
_UNSEEN_SOURCES = ("base64", "url", "file")
# Blocks in which all that is read stands in plain sight.
_SEEN = frozenset(("tool_use", "thinking", "redacted_thinking", "tool_reference", "tool_removal"))


class MessagesBound(InputBound):
    """Adds up one request, see InputBound."""

    __slots__ = ()

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
            self.messages += 1
            self._add_text(message["role"])
            self._add_content(message.get("content"), "messages")
            if not message.keys() <= _MESSAGE_KEYS:
                self.add_json(message)
                self.unknown = True

    def add_system(self, system: Any) -> None:
        """A text, or blocks of it. Raises InvalidRequest."""
        if system is not None:
            self._add_content(system, "system")

    def add_tools(self, tools: Any) -> None:
        """Raises InvalidRequest where they are not a list, NotPriced for what Anthropic runs."""
        for tool in checked_tools(tools):
            self.tools += 1
            self.add_json(tool)
            tokens = schema_tokens(tool)
            self.tokens += tokens or 0
            self.other |= tokens is None

    def _add_content(self, content: Any, param: str, depth: int = 1) -> None:
        if isinstance(content, str):
            self._add_text(content)
            return
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise InvalidRequest(f"{param}: a content is a text, or a list of blocks", param=param)
        for block in content:
            self._add_block(block, param, depth)

    def _add_block(self, block: dict[str, Any], param: str, depth: int) -> None:
        kind, text = block.get("type"), block.get("text")
        if kind == "tool_addition":
            self._add_tool_change(block.get("tool"))
            self.unknown |= not block.keys() <= _TOOL_CHANGE_KEYS
        elif kind == "text" and isinstance(text, str):
            self._add_text(text)
            self.add_json(block.get("citations"))
            self.unknown |= not block.keys() <= _TEXT_KEYS
        elif depth > BLOCKS_DEPTH_MAX:
            self.unknown = True
        elif kind == "image":
            self.images.append(_image(block.get("source")))
            self.unknown |= not block.keys() <= _IMAGE_KEYS
        elif kind == "tool_result":
            self._add_text(str(block.get("tool_use_id")))
            if block.get("content") is not None:
                self._add_content(block["content"], param, depth + 1)
            self.unknown |= not block.keys() <= _RESULT_KEYS
        elif kind == "document":
            self._add_document(block, param, depth)
        elif kind == "search_result":
            self.add_json(block)
            self.other |= _cites(block)
        elif isinstance(kind, str) and kind in _SEEN:
            self.add_json(block)
        else:
            self.unknown = True

    def _add_tool_change(self, change: Any) -> None:
        """A tool that is offered from here on (beta "Mid-conversation tool changes"): one that is
        defined is judged as in `tools`; one that is named was, where it was defined."""
        change = change if isinstance(change, dict) else {}
        kind = change.get("type")
        if kind == "tool_definition":
            self.add_tools([change.get("definition")])
        elif kind != "tool_reference" or "definition" in change:
            raise NotPriced(
                "tool_addition: the tool is a tool_reference or a tool_definition; another may "
                "run at the provider, and nothing bounds that",
                param="messages",
            )
        else:
            self.add_json(change)

    def _add_document(self, block: dict[str, Any], param: str, depth: int) -> None:
        """Plain text and blocks are seen; a PDF, a URL or a file is not. A document that is to be
        cited is cut into pieces, with marks that nobody has counted ("Citations")."""
        source = block.get("source")
        source = source if isinstance(source, dict) else {}
        kind, data = source.get("type"), source.get("data")
        for name in ("title", "context"):
            self.add_json(block.get(name))
        if kind == "text" and isinstance(data, str):
            self._add_text(data)
        elif kind == "content":
            self._add_content(source.get("content"), param, depth + 1)
        else:
            self.other = True
            self.unknown |= kind not in _UNSEEN_SOURCES
        self.other |= _cites(block)
        self.unknown |= not block.keys() <= _DOCUMENT_KEYS


def _cites(block: dict[str, Any]) -> bool:
    return block.get("citations") not in (None, {}, {"enabled": False})


def _image(source: Any) -> Image:
    """A picture, with its size where it is in the request itself."""
    data = source.get("data") if isinstance(source, dict) else None
    if not isinstance(data, str) or source.get("type") != "base64":
        return Image(None)
    return Image(size_of_url(f"data:image/any;base64,{data[:IMAGE_CHARS_LOOKED_AT]}"))
