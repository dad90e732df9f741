"""OpenRouter's chat completions: OpenAI's, with what was charged (see `pricing.usage.reported`).

Source: OpenRouter's docs, "Usage accounting".
"""

from collections.abc import Mapping

from pricing.usage import openai_chat
from pricing.usage.contract import Api


def _recognises(usage: Mapping[str, object]) -> bool:
    return "prompt_tokens" in usage


API = Api("openrouter-chat", _recognises, openai_chat.API.read, provider="openrouter")
