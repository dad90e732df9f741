"""Who serves models, and how they are spoken to: one file each, and its line in the table below."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.contract import Provider, Wire
from gateway.providers.litellm import LITELLM
from gateway.providers.openai import OPENAI

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {name: each for each in (OPENAI, ANTHROPIC) for name in each.names}
)
"""LiteLLM's name of a provider, as in `<provider>/<model>` -> how it is spoken to."""

__all__ = ["LITELLM", "PROVIDERS", "Provider", "Wire"]
