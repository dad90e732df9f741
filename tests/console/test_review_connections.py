"""What a client without a token can make the console hold: little, and not for long."""

import asyncio

import pytest

from gateway.bounded import BoundedHttpProtocol
from tests.console.desk import ADMIN_SECRET, Console, listening

SENT_MAX = 1_000_000
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


async def dialled(console_url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, before any HTTP."""
    port = int(console_url.rstrip("/").rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port)


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
async def test_what_never_ends_is_cut_off(console: Console, beginning: bytes) -> None:
    """Long before it fills a memory: the connection is closed, others are served."""
    async with listening(console) as (client, _):
        reader, writer = await dialled(str(client.base_url))
        writer.write(beginning)
        sent = 0
        async with asyncio.timeout(10):
            while sent < SENT_MAX and not reader.at_eof():
                writer.write(b"a" * 10_000)
                sent += 10_000
                try:
                    await writer.drain()
                    await asyncio.wait_for(reader.read(65536), 0.01)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        assert sent < SENT_MAX
        assert (await client.get("/healthz")).status_code == 200
        writer.close()


@pytest.mark.parametrize("beginning", [b"", b"G", GET + b"a: b\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    console: Console, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a new connection and on one that has served already."""
    monkeypatch.setattr(BoundedHttpProtocol, "head_s_max", 0.3)
    async with listening(console) as (client, _):
        for first in (b"", GET + b"\r\n"):
            reader, writer = await dialled(str(client.base_url))
            writer.write(first)
            if first:
                assert b"200 OK" in await reader.readuntil(b"ok\n")
            if first and not beginning:
                writer.close()  # idle between two requests: uvicorn's own bound
                continue
            writer.write(beginning)
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()


async def test_long_bodies_and_slow_answers_are_no_heads(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is within its bounds goes through, in whatever pieces it comes."""
    monkeypatch.setattr(BoundedHttpProtocol, "head_s_max", 0.3)
    monkeypatch.setattr(BoundedHttpProtocol, "head_bytes_max", 1_000)
    async with listening(console) as (client, _):
        reader, writer = await dialled(str(client.base_url))
        body = b'{"name": "a", "scope": "acme"' + b" " * 200_000 + b"}"
        writer.write(b"POST /v1/keys HTTP/1.1\r\nHost: x\r\n")
        await writer.drain()
        writer.write(
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (ADMIN_SECRET.encode(), len(body))
        )
        for at in range(0, len(body), 40_000):
            writer.write(body[at : at + 40_000])
            await writer.drain()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            assert b"201 Created" in await reader.readline()
        writer.close()
