"""What a client without a key can make a worker hold: little, and not for long."""

import asyncio

import pytest

from gateway.bounded import HEAD_BYTES_MAX, BoundedHttpProtocol
from tests.gateway.conftest import MakeStack
from tests.gateway.wire import Wire

SENT_MAX = 8 * HEAD_BYTES_MAX
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        GET + b"x-endless: ",
        GET + b"x",
        POST + b"\r\n0\r\nx-endless-trailer: ",
        POST + b"\r\n5;x=",
    ],
    ids=["url", "value", "name", "trailer", "chunk extension"],
)
async def test_what_never_ends_is_cut_off(make_stack: MakeStack, beginning: bytes) -> None:
    """Long before it fills a memory: the connection is closed, others are served."""
    stack = await make_stack()
    async with Wire(stack.port) as wire:
        with pytest.raises(ConnectionError):
            await _endless(wire, beginning)
    async with Wire(stack.port) as wire:
        await wire.send(GET + b"\r\n")
        assert b"ok" in await wire.until(b"ok\n")


async def _endless(wire: Wire, beginning: bytes) -> None:
    await wire.send(beginning)
    for _ in range(SENT_MAX // 10_000):
        await wire.send(b"a" * 10_000)
        await asyncio.sleep(0.005)  # a turn for the one that closes


async def test_a_head_that_does_not_come_is_not_waited_for(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that says nothing, or the half of a head, is closed after a while."""
    monkeypatch.setattr(BoundedHttpProtocol, "head_s_max", 0.2)
    stack = await make_stack()
    for beginning in (b"", b"G", GET + b"a: b\r\n"):
        async with Wire(stack.port) as wire:
            await wire.send(beginning)
            assert await wire.until_closed() == b""
