"""The bytes of a request's head, checked before anything is sent.

Header lines are mostly the same for all requests of a route, so they are built and checked once
(`header_block`) and joined as bytes for each request. What could split or smuggle a request is
refused here: CR, LF and NUL in values, names that are no tokens, and the headers that frame a
message or steer the connection, which only the upstream itself may write.
"""

import re
from collections.abc import Iterable

from gateway.upstream.contract import (
    HeaderBlock,
    Origin,
    UpstreamNotReached,
    UpstreamRequest,
    bracketed,
)

NO_HEADERS = HeaderBlock(b"")

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, 5.5: no CR, LF, NUL, no controls
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_HOST = re.compile(r"[0-9A-Za-z._:-]{1,253}")

# Written by the upstream itself, or meant for one hop only (RFC 9110, 7.6.1; RFC 9112, 6).
_OURS = frozenset(
    b"host content-length transfer-encoding connection keep-alive proxy-connection "
    b"proxy-authorization te trailer upgrade expect".split()
)

_METHODS = {
    name: name.encode() for name in ("POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
}
_LENGTH_ALWAYS = frozenset({"POST", "PUT", "PATCH"})  # RFC 9110, 8.6
_DEFAULT_PORTS = {"http": 80, "https": 443}


def header_block(
    pairs: Iterable[tuple[bytes, bytes]], after: HeaderBlock = NO_HEADERS
) -> HeaderBlock:
    """Header lines for `UpstreamRequest.headers`, appended to those of `after`.

    Raises ValueError for a name or value that must not be sent.
    """
    lines = [after]
    for name, value in pairs:
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"header name {name!r} is not a token: remove the header")
        if name.lower() in _OURS:
            raise ValueError(f"header {name.decode()} is written by the gateway: remove it")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"header {name.decode()} holds a control character: remove it")
        lines.append(HeaderBlock(b"%b: %b\r\n" % (name, value)))
    return HeaderBlock(b"".join(lines))


def header_pairs(block: HeaderBlock) -> list[tuple[bytes, bytes]]:
    """The (name, value) pairs of a block, for clients that want them apart."""
    pairs = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        pairs.append((name, value))
    return pairs


def host_line(origin: Origin) -> bytes:
    """The Host header line of an origin. Raises UpstreamNotReached if it cannot be one."""
    default_port = _DEFAULT_PORTS.get(origin.scheme)
    if default_port is None or _HOST.fullmatch(origin.host) is None:
        raise UpstreamNotReached(f"{origin} is not an http or https origin: correct its base URL")
    if not 0 < origin.port < 65536:
        raise UpstreamNotReached(f"{origin} has an impossible port: correct its base URL")
    port = "" if origin.port == default_port else f":{origin.port}"
    return f"host: {bracketed(origin.host)}{port}\r\n".encode()


def request_head(request: UpstreamRequest, host: bytes) -> bytes:
    """The head up to and including the empty line. Raises UpstreamNotReached: nothing was sent."""
    check_request_line(request)
    body_bytes = len(request.body)
    method = _METHODS[request.method]
    if body_bytes or request.method in _LENGTH_ALWAYS:
        return b"%b %b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n" % (
            method,
            request.target,
            host,
            request.headers,
            body_bytes,
        )
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, request.target, host, request.headers)


def check_request_line(request: UpstreamRequest) -> None:
    """Raises UpstreamNotReached for a method or target that could split the request line."""
    if request.method not in _METHODS:
        raise UpstreamNotReached(f"method {request.method!r} is not one of {', '.join(_METHODS)}")
    if _TARGET.fullmatch(request.target) is None:
        raise UpstreamNotReached(f"target {request.target!r} is not a path: percent-encode it")
