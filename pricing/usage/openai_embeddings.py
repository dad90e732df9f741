"""Embeddings: input only. Source: OpenAI's API reference, "Create embeddings"."""

from collections.abc import Mapping

from pricing.facts import Used
from pricing.meters import Meters
from pricing.usage.contract import Api
from pricing.usage.counts import Counters, Output


def _recognises(usage: Mapping[str, object]) -> bool:
    return "prompt_tokens" in usage and "completion_tokens" not in usage


def _read(usage: Counters, _output: Output) -> Used:
    prompt = usage.count("prompt_tokens", required=True)
    return Used(Meters(text_input=max(prompt, usage.count("total_tokens"))))


API = Api("openai-embeddings", _recognises, _read)
