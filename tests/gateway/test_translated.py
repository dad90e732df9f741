"""The hop to the translator: on a unix socket, and with the one answer that money hangs on, whether
anything was sent to a provider."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.providers.litellm import ORIGIN, TranslatedUpstream, deployment_headers
from gateway.upstream import Timeouts, UpstreamNotReached, UpstreamRequest, UpstreamUnknown
from translator.hop import TARGET

TIMEOUTS = Timeouts(1_000, 5_000, 5_000)
REQUEST = UpstreamRequest(ORIGIN, "POST", TARGET, deployment_headers("abc"), b"{}", TIMEOUTS)


@pytest.fixture
async def upstream(folder: Path) -> AsyncIterator[TranslatedUpstream]:
    """Of a socket in this folder."""
    made = TranslatedUpstream(str(folder / "translator.sock"))
    yield made
    await made.close()


async def serving(folder: Path, answer: bytes) -> tuple[asyncio.Server, list[bytes]]:
    """Answers every request so; empty: hangs up."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n{}"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, folder / "translator.sock")
    return server, received


async def test_it_carries_a_request(folder: Path, upstream: TranslatedUpstream) -> None:
    """Of the deployment that it names."""
    server, received = await serving(folder, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    async with server:
        response = await upstream.send(REQUEST)
        assert (response.status, await response.read_all(10)) == (200, b"ok")
    assert b"x-comptroller-deployment: abc\r\n" in received[0]


async def test_what_was_never_sent_is_not_reached(
    folder: Path, upstream: TranslatedUpstream
) -> None:
    """Where the translator says so, whatever the status."""
    answer = b"HTTP/1.1 502 X\r\nx-comptroller-not-reached: true\r\ncontent-length: 2\r\n\r\nno"
    server, _ = await serving(folder, answer)
    async with server:
        with pytest.raises(UpstreamNotReached):
            await upstream.send(REQUEST)


async def test_a_translator_that_dies_leaves_it_open(
    folder: Path, upstream: TranslatedUpstream
) -> None:
    """It had the request."""
    server, _ = await serving(folder, b"")
    async with server:
        with pytest.raises(UpstreamUnknown):
            await upstream.send(REQUEST)


async def test_where_none_listens_nothing_is_reached(upstream: TranslatedUpstream) -> None:
    """Nothing was sent."""
    with pytest.raises(UpstreamNotReached):
        await upstream.send(REQUEST)
