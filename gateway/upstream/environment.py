"""Which origins go through a proxy: what HTTP_PROXY and its siblings say.

The environment is read once, when the gateway starts, and in this one place. The rule is that of
Python's urllib, as in curl: `<scheme>_proxy`, else `all_proxy`, unless `no_proxy` names the host, a
domain above it, or `*`. Names in lower case win. The choice is not left to httpx, whose own rule
differs (`NO_PROXY=.example.com` exempts example.com for urllib and curl, not for httpx), because
two rules could disagree about one origin.
"""

import ssl
from functools import lru_cache
from urllib.request import (  # type: ignore[attr-defined]  # typeshed lacks the second
    getproxies_environment,
    proxy_bypass_environment,
)

from gateway.upstream.contract import (
    Origin,
    OwnedUpstream,
    UpstreamLimits,
    UpstreamRequest,
    UpstreamResponse,
    bracketed,
)
from gateway.upstream.pool import PooledUpstream, default_ssl_context


def upstream_from_environment(
    limits: UpstreamLimits | None = None, ssl_context: ssl.SSLContext | None = None
) -> OwnedUpstream:
    """Pooled connections for direct origins, the proxy for those that the environment sends there.

    Raises ValueError or ImportError when a proxy's URL cannot be used.
    """
    limits = limits or UpstreamLimits()
    context = ssl_context or default_ssl_context()
    direct = PooledUpstream(limits, context)
    settings = getproxies_environment()
    proxies = proxies_by_scheme(settings)
    if not proxies:
        return direct
    from gateway.upstream.proxied import ProxiedUpstream  # noqa: PLC0415  # httpx: few need it

    return ChosenUpstream(direct, ProxiedUpstream(proxies, limits, context), settings)


def proxies_by_scheme(settings: dict[str, str]) -> dict[str, str]:
    """The proxy's URL for "http" and "https", from urllib's settings (`http`, `all`, `no` ...)."""
    proxies = {}
    for scheme in ("http", "https"):
        proxy = settings.get(scheme) or settings.get("all")
        if proxy:
            proxies[scheme] = proxy if "://" in proxy else f"http://{proxy}"
    return proxies


def is_proxied(origin: Origin, settings: dict[str, str]) -> bool:
    """Whether urllib's settings send the origin through a proxy."""
    if origin.scheme not in proxies_by_scheme(settings):
        return False
    host = origin.host
    # `no_proxy` may name a host with its port, or without.
    return not (
        proxy_bypass_environment(host, settings)
        or proxy_bypass_environment(f"{bracketed(host)}:{origin.port}", settings)
    )


class ChosenUpstream:
    """An `OwnedUpstream` that sends each request directly or through the proxy."""

    def __init__(
        self, direct: OwnedUpstream, proxied: OwnedUpstream, settings: dict[str, str]
    ) -> None:
        self._direct = direct
        self._proxied = proxied
        self._is_proxied = lru_cache(maxsize=1024)(lambda origin: is_proxied(origin, settings))

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """See `Upstream.send`."""
        chosen = self._proxied if self._is_proxied(request.origin) else self._direct
        return await chosen.send(request)

    async def close(self, drain_ms: int = 0) -> None:
        """See `OwnedUpstream.close`."""
        await self._direct.close(drain_ms)
        await self._proxied.close(drain_ms)
