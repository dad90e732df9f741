"""The load generator: a fixed number of requests over a fixed number of kept connections.

It runs in a process of its own (`python -m bench.load`), takes jobs as lines of JSON and answers
each with what it saw. Every answer is checked: status 200, and `[DONE]` at the end of a stream or
a usage in a whole answer. `chunks` counts the pieces that an answer came in, which tells whether a
stream was really passed on event by event.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httptools
import uvloop

_TAIL_BYTES = 64


class Client(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(self, finished: Callable[["Client", bool], None]) -> None:
        self._finished = finished
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport
        self.mark = b""
        self.failure = ""
        self.closed = False
        self.busy = False
        self.chunks = 0
        self.took_s = 0.0

    def send(self, request: bytes) -> None:
        """Sends it; `finished` is called when the answer is whole or will never be."""
        self.busy = True
        self._tail = b""
        self.chunks = 0
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no common base

    def connection_lost(self, _exc: Exception | None) -> None:
        """Closed; an answer that was awaited failed."""
        self.closed = True
        if self.busy:
            self._end("the connection was closed before the answer was whole")

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._parser.feed_data(data)

    def on_chunk_header(self) -> None:
        """One more piece of a chunked answer."""
        self.chunks += 1

    def on_body(self, piece: bytes) -> None:
        """Only the end is kept."""
        self._tail = piece if len(piece) > _TAIL_BYTES else (self._tail + piece)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.took_s = time.perf_counter() - self._sent_at
        status = self._parser.get_status_code()
        if status == 200 and self.mark in self._tail:
            self._end("")
        else:
            self._end(f"status {status}, the answer ends with {self._tail!r}")

    def _end(self, failure: str) -> None:
        self.busy = False
        self.failure = failure
        self._finished(self, not failure)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()


class Load:
    """Connections by port, kept between jobs, and the job that runs."""

    def __init__(self) -> None:
        self._clients: dict[int, list[Client]] = {}
        self._request = b""
        self._to_send = 0
        self._to_come = 0
        self._took_s: list[float] = []
        self._chunks = 0
        self._failures: list[str] = []
        self._done: asyncio.Future[None]

    async def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """{port, path, secret, body, concurrency, requests, streamed} -> {requests, seconds,
        p50_ms, p99_ms, chunks, failures}. A failure ends the job."""
        clients = await self._connected(job["port"], job["concurrency"])
        body = job["body"].encode()
        self._request = (
            f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\n"
            f"authorization: Bearer {job['secret']}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._to_send = self._to_come = job["requests"]
        self._took_s, self._chunks, self._failures = [], 0, []
        self._done = asyncio.get_running_loop().create_future()
        began_at = time.perf_counter()
        for client in clients:
            client.mark = b"data: [DONE]\n\n" if job["streamed"] else b"}}"
            self._next(client)
        await self._done
        return self._seen(time.perf_counter() - began_at)

    def _seen(self, seconds: float) -> dict[str, Any]:
        took_s = sorted(self._took_s) or [0.0]
        return {
            "requests": len(self._took_s),
            "seconds": seconds,
            "p50_ms": 1000 * took_s[len(took_s) // 2],
            "p99_ms": 1000 * took_s[min(len(took_s) - 1, len(took_s) * 99 // 100)],
            "chunks": self._chunks,
            "failures": self._failures,
        }

    async def _connected(self, port: int, count: int) -> list[Client]:
        loop = asyncio.get_running_loop()
        clients = [each for each in self._clients.get(port, []) if not each.closed]
        while len(clients) < count:
            _, client = await loop.create_connection(
                lambda: Client(self._finished), "127.0.0.1", port
            )
            clients.append(client)
        self._clients[port] = clients
        return clients[:count]

    def _next(self, client: Client) -> None:
        if self._to_send:
            self._to_send -= 1
            client.send(self._request)

    def _finished(self, client: Client, good: bool) -> None:
        if self._done.done():
            return
        if not good:
            self._failures.append(client.failure)
            self._done.set_result(None)
            return
        self._took_s.append(client.took_s)
        self._chunks += client.chunks
        self._to_come -= 1
        if self._to_come:
            self._next(client)
        else:
            self._done.set_result(None)


async def serve() -> None:
    """Runs jobs until standard input ends."""
    loop = asyncio.get_running_loop()
    load = Load()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await load.run(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())
