"""Which origins the environment sends through a proxy, by rule and by real traffic."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import Origin, PooledUpstream, UpstreamNotReached, upstream_from_environment
from gateway.upstream.environment import is_proxied, proxies_by_scheme

from .proxies import forward
from .servers import OK, Certificates, answering, request_to

Serve = Callable[..., Any]

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
API = Origin("https", "api.example.com", 443)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("settings", "proxies"),
    [
        ({}, {}),
        ({"http": "http://p:1"}, {"http": "http://p:1"}),
        ({"https": "p:1"}, {"https": "http://p:1"}),
        ({"all": "http://p:1"}, {"http": "http://p:1", "https": "http://p:1"}),
        (
            {"all": "http://p:1", "https": "http://q:2"},
            {"http": "http://p:1", "https": "http://q:2"},
        ),
        ({"http": "", "no": "*"}, {}),
    ],
)
def test_each_scheme_has_its_proxy(settings: dict[str, str], proxies: dict[str, str]) -> None:
    """A scheme's own variable comes before `all_proxy`; a missing scheme means http."""
    assert proxies_by_scheme(settings) == proxies


@pytest.mark.parametrize(
    ("no_proxy", "origin", "expected"),
    [
        ("", API, True),
        ("*", API, False),
        ("api.example.com", API, False),
        ("example.com", API, False),
        (".example.com", API, False),
        (".example.com", Origin("https", "example.com", 443), False),
        ("ample.com", API, True),
        ("other.com, API.example.com ", API, False),
        ("api.example.com:443", API, False),
        ("api.example.com:8443", API, True),
        ("127.0.0.1", Origin("http", "127.0.0.1", 8000), False),
        ("127.0.0.1", Origin("http", "127.0.0.2", 8000), True),
        ("localhost", Origin("http", "localhost", 8000), False),
        ("::1", Origin("http", "::1", 8000), False),
        ("[::1]:8000", Origin("http", "::1", 8000), False),
        ("::2", Origin("http", "::1", 8000), True),
    ],
)
def test_no_proxy_exempts_hosts(no_proxy: str, origin: Origin, expected: bool) -> None:
    """Names, domains above them, addresses and ports are exempted as urllib and curl do it."""
    assert is_proxied(origin, {"all": "http://p:1", "no": no_proxy}) is expected


def test_a_scheme_without_proxy_is_direct() -> None:
    """HTTP_PROXY alone leaves https direct."""
    assert not is_proxied(API, {"http": "http://p:1"})


async def test_without_variables_everything_is_pooled() -> None:
    """The hot path pays nothing for a choice that nobody asked for."""
    upstream = upstream_from_environment()
    assert type(upstream) is PooledUpstream
    await upstream.close()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
async def test_traffic_follows_the_variables(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With a proxy set, a request goes through it, and straight to a host that is exempt."""
    server, proxy = await serve(answering(OK)), await serve(forward)
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.origin.port}")
    monkeypatch.setenv("no_proxy", f"localhost:{server.origin.port}")
    upstream = upstream_from_environment()
    for host, proxied_count in (("127.0.0.1", 1), ("localhost", 1), ("127.0.0.1", 1)):
        origin = Origin("http", host, server.origin.port)
        response = await upstream.send(request_to(origin))
        assert await response.read_all(10) == b"ok"
        assert len(proxy.peers) == proxied_count
    assert len(server.received) == 3
    assert len(server.peers) == 2
    await upstream.close()
    with pytest.raises(UpstreamNotReached):
        await upstream.send(request_to(Origin("http", "localhost", server.origin.port)))


async def test_tunnels_follow_the_variables(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    """HTTPS_PROXY digs a tunnel through which the provider's own certificate is verified."""
    server, proxy = await serve(answering(OK), certificates), await serve(forward)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.origin.port}")
    upstream = upstream_from_environment(ssl_context=certificates.client_context())
    response = await upstream.send(request_to(server.origin))
    assert await response.read_all(10) == b"ok"
    assert len(proxy.peers) == len(server.peers) == 1
    await upstream.close()


async def test_unusable_proxies_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot work is an error when the gateway starts, not at the first request."""
    monkeypatch.setenv("https_proxy", "gopher://p:1")
    with pytest.raises(ValueError, match="gopher"):
        upstream_from_environment()
