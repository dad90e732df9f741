"""Providers that only LiteLLM speaks to, in a process beside this one (`translator`): to the
gateway they are one upstream that speaks OpenAI's chat completions, whatever its servers do."""

from collections.abc import Mapping
from typing import Any

from gateway.providers.contract import Provider, Wire
from gateway.request import Headers
from gateway.upstream import (
    NO_HEADERS,
    HeaderBlock,
    Origin,
    OwnedUpstream,
    PooledUpstream,
    UpstreamNotReached,
    UpstreamRequest,
    UpstreamResponse,
    header_block,
)
from translator.hop import DEPLOYMENT_HEADER, NOT_REACHED_HEADER, TARGET

ORIGIN = Origin("http", "translator", 80)


def _headers(_api_key: str) -> Headers:
    """The key is the translator's."""
    return []


def _wires(_host: str, info: Mapping[str, Any]) -> tuple[Wire, ...]:
    mode = info.get("mode", "chat")
    if mode != "chat":
        raise ValueError(f"models of mode {mode} are not reached through LiteLLM, only chat models")
    return (Wire("/v1/chat/completions", TARGET, "max_tokens"),)


LITELLM = Provider(names=(), own_servers=frozenset(), base="", headers=_headers, wires=_wires)
"""Not in the table of `gateway.providers`: its names are LiteLLM's to say."""


def deployment_headers(deployment: str) -> HeaderBlock:
    """Which entry of model_list a request is for."""
    return header_block(
        [(b"content-type", b"application/json"), (DEPLOYMENT_HEADER, deployment.encode())],
        NO_HEADERS,
    )


class TranslatedUpstream:
    """An OwnedUpstream: the translator's socket. What it says was never sent was not reached; what
    it refuses (400) or the provider did is an answer; all else is not known, as anywhere."""

    def __init__(self, socket_path: str) -> None:
        self._upstream: OwnedUpstream = PooledUpstream(unix_path=socket_path)

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """See Upstream."""
        response = await self._upstream.send(request)
        if any(name == NOT_REACHED_HEADER for name, _ in response.headers):
            response.abort()
            raise UpstreamNotReached("the translator could not reach the provider")
        return response

    async def close(self, drain_ms: int = 0) -> None:
        """See OwnedUpstream."""
        await self._upstream.close(drain_ms)
