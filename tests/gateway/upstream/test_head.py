"""Heads of requests: what is written, and what is refused before it can be."""

import pytest

from gateway.upstream import NO_HEADERS, Origin, UpstreamNotReached, header_block
from gateway.upstream.head import header_pairs, host_line, request_head

from .servers import request_to

HTTP = Origin("http", "api.example", 80)


def test_head_is_exact() -> None:
    """Request line, Host, our lines in order and the length are written as RFC 9112 has them."""
    block = header_block([(b"authorization", b"Bearer x"), (b"accept", b"*/*")])
    request = request_to(HTTP, target=b"/v1/x?beta=true", headers=block, body=b"abc")
    assert request_head(request, host_line(HTTP)) == (
        b"POST /v1/x?beta=true HTTP/1.1\r\nhost: api.example\r\n"
        b"authorization: Bearer x\r\naccept: */*\r\ncontent-length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "has_length"),
    [("GET", b"", False), ("DELETE", b"", False), ("GET", b"x", True), ("POST", b"", True)],
)
def test_length_is_sent_where_a_body_is_expected(
    method: str, body: bytes, has_length: bool
) -> None:
    """A method that usually has no body announces none; POST always says how long it is."""
    head = request_head(request_to(HTTP, method=method, body=body), host_line(HTTP))
    assert (b"content-length" in head) is has_length


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (Origin("https", "api.example", 443), b"host: api.example\r\n"),
        (Origin("https", "api.example", 80), b"host: api.example:80\r\n"),
        (Origin("http", "::1", 8000), b"host: [::1]:8000\r\n"),
    ],
)
def test_host_line_names_only_unusual_ports(origin: Origin, line: bytes) -> None:
    """The Host header has brackets for IPv6 and no default port."""
    assert host_line(origin) == line


@pytest.mark.parametrize(
    "pair",
    [
        (b"x", b"a\r\nevil: 1"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"a\x7fb"),
        (b"x\r\nevil", b"1"),
        (b"x y", b"1"),
        (b"x:", b"1"),
        (b"", b"1"),
        (b"Content-Length", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"HOST", b"evil"),
        (b"connection", b"close"),
        (b"expect", b"100-continue"),
    ],
)
def test_dangerous_headers_are_refused(pair: tuple[bytes, bytes]) -> None:
    """Nothing that could split, smuggle or steer a request becomes a header line."""
    with pytest.raises(ValueError, match="header"):
        header_block([pair])


def test_blocks_are_joined_and_taken_apart() -> None:
    """A request's own lines follow its route's, and the pairs come back as they went in."""
    pairs = [(b"a", b"1"), (b"b", b""), (b"c", b"x: y"), (b"d", b"\xff\t")]
    route = header_block(pairs[:2])
    block = header_block(pairs[2:], route)
    assert block.startswith(route)
    assert header_pairs(block) == pairs
    assert header_pairs(NO_HEADERS) == []


@pytest.mark.parametrize("target", [b"", b"x", b"/a b", b"/a\r\nb", b"/\xc3", b"http://x/"])
def test_targets_that_are_no_path_are_refused(target: bytes) -> None:
    """A target that could split the request line counts as not sent."""
    with pytest.raises(UpstreamNotReached, match="target"):
        request_head(request_to(HTTP, target=target), b"")


@pytest.mark.parametrize("method", ["post", "CONNECT", "PO ST", ""])
def test_methods_are_a_short_list(method: str) -> None:
    """A method outside the list counts as not sent."""
    with pytest.raises(UpstreamNotReached, match="method"):
        request_head(request_to(HTTP, method=method), b"")


@pytest.mark.parametrize(
    "origin",
    [
        Origin("ftp", "a", 1),  # type: ignore[arg-type]  # the wrong scheme is the point
        Origin("http", "a\r\nb", 1),
        Origin("http", "", 1),
        Origin("http", "a", 0),
        Origin("http", "a", 65536),
    ],
)
def test_impossible_origins_are_refused(origin: Origin) -> None:
    """What no connection can be made to counts as not sent, before DNS is asked."""
    with pytest.raises(UpstreamNotReached, match="base URL"):
        host_line(origin)
