"""Wire formats that agents speak: one file each, and its line in the table below."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects.chat import ChatDialect
from gateway.dialects.completions import CompletionsDialect
from gateway.dialects.contract import Dialect
from gateway.dialects.embeddings import EmbeddingsDialect
from gateway.dialects.messages import MessagesDialect
from gateway.dialects.responses import ResponsesDialect

CHAT = ChatDialect()
MESSAGES = MessagesDialect()
RESPONSES = ResponsesDialect()
_ALL: tuple[Dialect, ...] = (CHAT, CompletionsDialect(), EmbeddingsDialect(), MESSAGES, RESPONSES)
DIALECTS: Mapping[str, Dialect] = MappingProxyType({each.endpoint: each for each in _ALL})
"""Endpoint -> its dialect. What is not here is not forwarded."""

__all__ = ["CHAT", "DIALECTS", "MESSAGES", "RESPONSES", "Dialect"]
