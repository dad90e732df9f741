"""Answers that take their time: pieces, errors in the middle, clients that go or do not read."""

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.clickhouse.conftest import Served
from tests.clickhouse.wire import code_of, decoded

# Neither ends within the engine's 10 s, nor is refused for its size.
HEAVY = "SELECT sum(sipHash64(sipHash64(sipHash64(sipHash64(number))))) FROM numbers(1999000000)"
ENDLESS = "SELECT number FROM numbers(19990000)"
SOON_S_MAX = 7


@pytest.fixture
async def aio(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """As `http`, asynchronous."""
    async with httpx.AsyncClient(
        base_url=served.url, auth=served.auth("reader"), timeout=20, verify=False
    ) as client:
        yield client


async def running(served: Served, aio: httpx.AsyncClient, text: str) -> int:
    """How many queries with this text run."""
    query = "SELECT count() FROM system.processes WHERE startsWith(query, {text:String})"
    answer = await aio.post(
        "/",
        params={"param_text": text},
        content=query,
        auth=served.auth("recorder"),
        headers={"Accept-Encoding": "identity"},
    )
    return int(answer.text)


async def until_running(served: Served, aio: httpx.AsyncClient, text: str, count: int) -> None:
    """Waits until so many run."""
    async with asyncio.timeout(30):
        while await running(served, aio, text) != count:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0)  # the question itself takes its milliseconds


async def test_a_large_answer_comes_while_it_is_made(aio: httpx.AsyncClient) -> None:
    """The first part of an endless answer arrives; 100 MB pass whole."""
    plain = {"Accept-Encoding": "identity"}
    async with aio.stream("POST", "/", content=ENDLESS, headers=plain) as answer:
        first = await anext(answer.aiter_raw(1000))
    assert first.startswith(b"0\n1\n2\n")
    size = 0
    query = "SELECT repeat('x', 999) FROM numbers(100000)"
    async with aio.stream("POST", "/", content=query, headers=plain) as answer:
        async for part in answer.aiter_raw():
            size += len(part)
    assert size == 100_000_000


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd", "lz4"])
async def test_an_error_in_the_middle_breaks_the_answer(served: Served, coding: str) -> None:
    """The status was sent: so the body never ends properly, and says why as ClickHouse does."""
    query = "SELECT number, toUInt8(if(number = 290000, 'oops', '1')) FROM numbers(300000)"
    credentials = base64.b64encode(":".join(served.auth("reader")).encode()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
        f"Accept-Encoding: {coding}\r\nContent-Length: {len(query)}\r\n\r\n{query}".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    raw = await reader.read()  # until the server closed the connection
    writer.close()
    await writer.wait_closed()
    assert not raw.endswith(b"0\r\n\r\n")
    found = re.search(rb"x-clickhouse-exception-tag: (\w{16})\r\n", head)
    assert found is not None
    body = _dechunked(raw)
    if coding != "identity":
        body = decoded(body, coding)
    tag = found[1]
    tail = body[body.rindex(b"__exception__\r\n" + tag) :]
    block = rb"__exception__\r\n%b\r\n(.*\n)(\d+) %b\r\n__exception__\r\n" % (tag, tag)
    told = re.fullmatch(block, tail, re.DOTALL)
    assert told is not None
    assert told[1].startswith(b"Code: 6. DB::Exception: Cannot parse string 'oops'")
    assert int(told[2]) == len(told[1])


def _dechunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        body += rest[: int(size, 16)]
        raw = rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("query", [HEAVY, ENDLESS + " WHERE NOT ignore(number)"])
async def test_a_client_that_hangs_up_ends_its_query(
    served: Served, aio: httpx.AsyncClient, query: str
) -> None:
    """Before the first byte or in the middle: the engine stops working for nobody, soon."""
    asking = asyncio.create_task(aio.post("/", content=query))
    await until_running(served, aio, query[:40], 1)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    began = time.monotonic()
    await until_running(served, aio, query[:40], 0)
    assert time.monotonic() - began < SOON_S_MAX


async def test_a_client_that_does_not_read_is_given_up(
    served: Served, aio: httpx.AsyncClient
) -> None:
    """Its place is not held for ever by buffers that nobody empties."""
    credentials = base64.b64encode(":".join(served.auth("reader")).encode()).decode()
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of the reading half
    query = ENDLESS + " WHERE number >= 0"  # 170 MB: more than all buffers hold
    writer.write(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Length: {len(query)}\r\n\r\n{query}".encode()
    )
    await until_running(served, aio, query, 1)
    await until_running(served, aio, query, 0)
    writer.transport.abort()


async def test_places_are_few_and_come_free(served: Served, aio: httpx.AsyncClient) -> None:
    """Two reads of one account, then 503 with code 202 that says when to come again; another
    account is served; a place that came free is taken."""
    acme = served.auth("acme")
    query = HEAVY + " WHERE number > 1"
    tasks = [asyncio.create_task(aio.post("/", content=query, auth=acme)) for _ in range(2)]
    await until_running(served, aio, query, 2)
    third = await aio.post("/", content="SELECT 1", auth=acme)
    assert code_of(third) == (503, 202)
    assert third.headers["retry-after"] == "1"
    assert (await aio.post("/", content="SELECT 1", auth=served.auth("globex"))).text == "1\n"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until_running(served, aio, query, 0)
    assert (await aio.post("/", content="SELECT 1", auth=acme)).text == "1\n"


async def test_a_heavy_read_stops_neither_inserts_nor_other_reads(
    served: Served, aio: httpx.AsyncClient
) -> None:
    """The recorder goes on while an analyst's query runs: thirty inserts and reads, each soon."""
    query = HEAVY + " WHERE number > 2"
    heavy = asyncio.create_task(aio.post("/", content=query))
    await until_running(served, aio, query, 1)
    slowest = 0.0
    for n in range(30):
        began = time.monotonic()
        written = await aio.post(
            "/",
            params={"query": "INSERT INTO comptroller.heads (note) FORMAT JSONCompactEachRow"},
            content=json.dumps([f"during-{n}"]),
            auth=served.auth("recorder"),
        )
        assert written.status_code == 200, written.text
        seen = await aio.post("/", content=f"SELECT count() FROM heads WHERE note = 'during-{n}'")
        assert seen.text == "1\n"
        slowest = max(slowest, time.monotonic() - began)
    assert not heavy.done()
    assert slowest < 1
    heavy.cancel()
    await asyncio.gather(heavy, return_exceptions=True)
