"""Every test here runs on both event loops that the product supports, and closes what it opens."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import trustme
import uvloop

from gateway.upstream import Origin, PooledUpstream, UpstreamLimits

from .servers import Certificates, Handler, ScriptedServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    return Certificates(authority, authority.issue_cert("localhost"))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """`await serve(handler)` gives a server on loopback whose connections `handler` answers."""
    servers: list[ScriptedServer] = []

    async def start(handler: Handler, certificates: Certificates | None = None) -> ScriptedServer:
        server = ScriptedServer(handler, certificates)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def pooled() -> AsyncIterator[Callable[..., PooledUpstream]]:
    """`pooled(limits)` gives a client that is closed after the test."""
    upstreams: list[PooledUpstream] = []

    def start(limits: UpstreamLimits | None = None, ssl_context: Any = None) -> PooledUpstream:
        # Not the default one: loading the system's authorities takes longer than most tests.
        context = ssl_context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        upstreams.append(PooledUpstream(limits, context))
        return upstreams[-1]

    yield start
    for upstream in upstreams:
        await upstream.close()


@pytest.fixture
async def refusing_origin() -> Origin:
    """An origin on whose port nobody listens."""
    server = ScriptedServer(lambda peer: peer.close())
    await server.start()
    await server.stop()
    return server.origin
