"""OpenAI, and every server that speaks its API."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.providers.contract import Provider, Wire
from gateway.request import Headers

HOST = "api.openai.com"
# LiteLLM's `mode` of a model -> what it is served by instead of chat completions.
_BY_MODE: Mapping[str, tuple[Wire, ...]] = MappingProxyType(
    {
        "completion": (Wire("/v1/completions", b"/completions", "max_tokens"),),
        "embedding": (Wire("/v1/embeddings", b"/embeddings", ""),),
    }
)


def _headers(api_key: str) -> Headers:
    return [(b"authorization", b"Bearer " + api_key.encode())] if api_key else []


def _wires(host: str, info: Mapping[str, Any]) -> tuple[Wire, ...]:
    other = _BY_MODE.get(str(info.get("mode")))
    if other is not None:
        return other
    # OpenAI's newer models refuse max_tokens; other servers may not know its successor.
    cap_field = "max_completion_tokens" if host == HOST else "max_tokens"
    return (Wire("/v1/chat/completions", b"/chat/completions", cap_field),)


OPENAI = Provider(
    names=("openai", "custom_openai", "hosted_vllm", "openai_like"),
    own_servers=frozenset(("custom_openai", "hosted_vllm", "openai_like")),
    base="https://api.openai.com/v1",
    headers=_headers,
    wires=_wires,
)
