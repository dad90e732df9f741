"""Anthropic, and servers that speak its API."""

from collections.abc import Mapping
from typing import Any

from gateway.providers.contract import Provider, Wire
from gateway.request import Headers


def _headers(api_key: str) -> Headers:
    """`anthropic-version` is the request's to say: see gateway.dialects.messages_betas."""
    return [(b"x-api-key", api_key.encode())] if api_key else []


def _wires(_host: str, _info: Mapping[str, Any]) -> tuple[Wire, ...]:
    return (Wire("/v1/messages", b"/messages", "max_tokens"),)


ANTHROPIC = Provider(
    names=("anthropic",),
    own_servers=frozenset(),
    base="https://api.anthropic.com/v1",
    headers=_headers,
    wires=_wires,
    version_path="/v1",
)
