"""A client that hardly reads costs no memory: its provider waits for it."""

import asyncio
import json
from pathlib import Path

from tests.gateway.behaviours import DONE, chunk_event
from tests.gateway.provider import Received, Reply
from tests.gateway.stack import GREETING, Stack
from tests.gateway.wire import Wire, request_bytes

STREAM_BYTES = 200 * 1024 * 1024
EVENT_BYTES = 64 * 1024
UNSENT_BYTES_MAX = 256 * 1024
GROWN_BYTES_MAX = 64 * 1024 * 1024
STILL_S = 1.0
ASKED = {"model": "plain", "messages": GREETING, "stream": True, "max_tokens": 8_000}


class Fountain:
    """A provider that sends as fast as it is read."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.moved = asyncio.Event()

    async def __call__(self, _received: Received, reply: Reply) -> None:
        """The behaviour."""
        event = chunk_event({"content": "x" * EVENT_BYTES})
        reply.begin()
        while self.sent_bytes < STREAM_BYTES:
            reply.chunk(event)
            self.sent_bytes += len(event)
            self.moved.set()
            await asyncio.sleep(0)  # a connection that is closed takes everything at once
            while reply.unsent_bytes > UNSENT_BYTES_MAX:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.005)
        reply.chunk(DONE)
        reply.end()

    async def until_still(self) -> None:
        """Waits until nothing more is taken from it."""
        while True:
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), STILL_S)
            except TimeoutError:
                return


def resident_bytes() -> int:
    """Memory of this process, in which the gateway runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_a_client_that_reads_a_kilobyte_at_a_time(stack: Stack) -> None:
    """Of two hundred megabytes only what buffers hold is taken from the provider, and the memory
    of the gateway does not grow; when the client hangs up, the provider sees it."""
    fountain = Fountain()
    stack.provider.behaviour = fountain
    secret = await stack.key()
    before = resident_bytes()
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, json.dumps(ASKED).encode()))
        await wire.until(b"\r\n\r\n")
        for _ in range(3):
            await fountain.until_still()
            await wire.read(1024)
        assert EVENT_BYTES < fountain.sent_bytes < GROWN_BYTES_MAX
        assert resident_bytes() - before < GROWN_BYTES_MAX
    async with asyncio.timeout(20):
        await stack.provider.last.gone.wait()
    await stack.ledger.endings(1)
    await stack.ledger.at_rest()


async def test_an_answer_that_is_packed_unasked(stack: Stack) -> None:
    """Nobody unpacks what may be a bomb: the caller is told, and the reservation is charged whole,
    because what the provider did is not known."""

    async def packs(_received: Received, reply: Reply) -> None:
        reply.whole(200, b"\x1f\x8b\x08" + bytes(1000), ("content-encoding", "gzip"))

    stack.provider.behaviour = packs
    secret = await stack.key()
    answer = await stack.chat(secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    _, event = await stack.ledger.ending()
    assert event["usage_source"] == "reserved"
    await stack.ledger.at_rest()
