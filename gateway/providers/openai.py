"""OpenAI, and every server that speaks its API."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from gateway.providers.contract import Provider, Wire
from gateway.request import Headers

HOST = "api.openai.com"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
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
    """OpenAI serves its models at both endpoints; others at chat. `supported_endpoints` and `mode`
    (LiteLLM's model_info) say otherwise: models of mode `responses` are served there alone."""
    other = _BY_MODE.get(str(info.get("mode")))
    if other is not None:
        return other
    said = info.get("supported_endpoints")
    endpoints = frozenset(each for each in said if isinstance(each, str)) if _is_list(said) else ()
    responses_only = info.get("mode") == "responses" and CHAT not in endpoints
    # OpenAI's newer models refuse max_tokens; other servers may not know its successor.
    cap_field = "max_completion_tokens" if host == HOST else "max_tokens"
    chat = Wire(CHAT, b"/chat/completions", cap_field)
    responses = Wire(RESPONSES, b"/responses", "max_output_tokens")
    if responses_only:
        return (responses,)
    if RESPONSES in endpoints or (host == HOST and not endpoints):
        return (chat, responses)
    return (chat,)


def _is_list(value: Any) -> TypeGuard[list[Any]]:  # noqa: ANN401  # model_info has what it has
    return isinstance(value, list | tuple)


OPENAI = Provider(
    names=("openai", "custom_openai", "hosted_vllm", "openai_like"),
    own_servers=frozenset(("custom_openai", "hosted_vllm", "openai_like")),
    base="https://api.openai.com/v1",
    headers=_headers,
    wires=_wires,
)
