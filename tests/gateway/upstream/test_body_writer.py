"""Large bodies are written as fast as the transport takes them, whichever way it says so."""

import asyncio

import pytest

from gateway.upstream.body_writer import BodyWriter

BODY = bytes(range(256)) * 4


class Transport(asyncio.Transport):
    """Takes slices; with `is_narrow` it pauses the writer after each one."""

    def __init__(self, is_narrow: bool) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_narrow = is_narrow
        self.writer: BodyWriter

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        if self.is_narrow:
            self.writer.pause()


def writer_for(transport: Transport, slices: list[int]) -> BodyWriter:
    loop = asyncio.get_running_loop()
    writer = BodyWriter(loop, 100, lambda: slices.append(len(transport.written)))
    transport.writer = writer
    return writer


async def test_a_transport_that_takes_all_gets_all() -> None:
    """Without any pause the slices follow each other, one in each tick of the loop."""
    slices: list[int] = []
    transport = Transport(is_narrow=False)
    writer = writer_for(transport, slices)
    writer.start(transport, b"head", BODY)
    ticks = 0
    while len(transport.written) < 4 + len(BODY):
        ticks += 1
        await asyncio.sleep(0)
    assert transport.written == b"head" + BODY
    assert not writer.pending
    assert slices == [104 + 100 * n for n in range(10)]
    assert ticks <= 11


async def test_a_paused_writer_waits() -> None:
    """After a pause nothing is written until the transport has room, then one slice."""
    slices: list[int] = []
    transport = Transport(is_narrow=True)
    writer = writer_for(transport, slices)
    writer.start(transport, b"", BODY)
    for number in range(1, 11):
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(transport.written) == 100 * number
        writer.resume(transport)
    assert transport.written == BODY
    assert not writer.pending


async def test_resuming_again_and_again_does_not_speed_it_up() -> None:
    """However often a transport says that it has room, there is one slice for each tick of ours."""
    transport = Transport(is_narrow=False)
    writer = writer_for(transport, [])
    writer.start(transport, b"", BODY)
    for _ in range(3):
        writer.resume(transport)
    await asyncio.sleep(0)
    assert len(transport.written) == 500
    writer.stop()


@pytest.mark.parametrize("is_narrow", [True, False])
async def test_a_stopped_writer_writes_nothing_more(is_narrow: bool) -> None:
    """After the connection has closed, neither a resume nor the next tick writes."""
    transport = Transport(is_narrow)
    writer = writer_for(transport, [])
    writer.start(transport, b"", BODY)
    writer.stop()
    writer.resume(transport)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(transport.written) == 100
    assert writer.pending  # it was not all sent: nobody may reuse the connection
