"""Wire formats that agents speak: one file each, and its line in the table below."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects.chat import ChatDialect
from gateway.dialects.contract import Dialect

CHAT = ChatDialect()
DIALECTS: Mapping[str, Dialect] = MappingProxyType({each.endpoint: each for each in (CHAT,)})
"""Endpoint -> its dialect. What is not here is not forwarded."""

__all__ = ["CHAT", "DIALECTS", "Dialect"]
