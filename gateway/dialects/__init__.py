"""Wire formats that agents speak: one file each, and its line in the table below."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects.chat import ChatDialect
from gateway.dialects.completions import CompletionsDialect
from gateway.dialects.contract import Dialect
from gateway.dialects.embeddings import EmbeddingsDialect
from gateway.dialects.responses import ResponsesDialect

CHAT = ChatDialect()
RESPONSES = ResponsesDialect()
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {each.endpoint: each for each in (CHAT, CompletionsDialect(), EmbeddingsDialect(), RESPONSES)}
)
"""Endpoint -> its dialect. What is not here is not forwarded."""

__all__ = ["CHAT", "DIALECTS", "RESPONSES", "Dialect"]
