"""Sending requests to providers, with the one answer that money hangs on: was anything sent?"""

from gateway.upstream.contract import (
    HeaderBlock,
    Origin,
    OwnedUpstream,
    Timeouts,
    Upstream,
    UpstreamAborted,
    UpstreamError,
    UpstreamLimits,
    UpstreamNotReached,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnknown,
)
from gateway.upstream.environment import upstream_from_environment
from gateway.upstream.head import NO_HEADERS, header_block
from gateway.upstream.pool import PooledUpstream, default_ssl_context

__all__ = [
    "NO_HEADERS",
    "HeaderBlock",
    "Origin",
    "OwnedUpstream",
    "PooledUpstream",
    "Timeouts",
    "Upstream",
    "UpstreamAborted",
    "UpstreamError",
    "UpstreamLimits",
    "UpstreamNotReached",
    "UpstreamRequest",
    "UpstreamResponse",
    "UpstreamTimeout",
    "UpstreamTooLarge",
    "UpstreamUnknown",
    "default_ssl_context",
    "header_block",
    "upstream_from_environment",
]
