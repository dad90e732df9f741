"""A WebSocket is refused in one answer, so that its client goes on over HTTP at once: Codex does so
on 426, and tries five times on anything else."""

import asyncio

import pytest

from tests.gateway.stack import Stack

HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def said(stack: Stack, request: bytes) -> bytes:
    """All that comes back until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize("path", [b"/v1/responses", b"/v1/realtime?model=x", b"/"])
@pytest.mark.parametrize("protocol", [b"websocket", b"WebSocket"])
async def test_a_handshake_is_answered_with_426_and_closed(
    stack: Stack, path: bytes, protocol: bytes
) -> None:
    """On the wire, by this server, whatever the path: no 101, one answer, then the end."""
    answer = await said(stack, HANDSHAKE % (path, protocol))
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 426")
    assert b"connection: close" in lines
    assert b"x-should-retry: false" in lines
    assert b"upgrade_refused" in body
    assert b"POST" in body


async def test_a_handshake_is_not_worth_a_line_of_log(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can ask for one, without a key."""
    await said(stack, HANDSHAKE % (b"/v1/responses", b"websocket"))
    assert caplog.records == []


async def test_nothing_behind_a_handshake_is_served(stack: Stack) -> None:
    """A request that follows it on the same connection gets no answer: it may be a frame."""
    follows = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await said(stack, HANDSHAKE % (b"/v1/responses", b"websocket") + follows)
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_plain_get_is_told_of_its_method(stack: Stack) -> None:
    """Without the upgrade it is a wrong method."""
    answer = await stack.client.get("/v1/responses")
    assert answer.status_code == 405
