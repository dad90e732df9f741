"""The answer's side of the records' HTTP: headers as ClickHouse has them, pieces as fast as the
client takes them, and no answer that was cut short looks like a whole one."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse.compression import Encoder, encoder_of
from clickhouse.errors import StoreRefused
from clickhouse.facade_request import Send

Headers = list[tuple[bytes, bytes]]

_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONLines": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Markdown": "text/markdown; charset=UTF-8",
}
_BINARY = ("Native", "RowBinary", "Arrow", "Parquet", "ORC", "MsgPack")


class SlowClient(Exception):
    """The client did not take its answer in time."""


@dataclass(frozen=True, slots=True)
class Server:
    """What every answer says of the server."""

    version: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What goes into X-ClickHouse-Summary."""

    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    bytes_written: int = 0

    def header(self) -> tuple[bytes, bytes]:
        """Numbers are strings, as ClickHouse writes them."""
        summary = {
            "read_rows": str(self.rows_read),
            "read_bytes": str(self.bytes_read),
            "written_rows": str(self.rows_written),
            "written_bytes": str(self.bytes_written),
            "total_rows_to_read": "0",
            "result_rows": "0",
            "result_bytes": "0",
            "elapsed_ns": "0",
        }
        return b"x-clickhouse-summary", json.dumps(summary, separators=(",", ":")).encode()


def common_headers(server: Server, query_id: str) -> Headers:
    """Of every answer to a query, errors too. Answers are nobody's to cache or to sniff."""
    return [
        (b"x-clickhouse-query-id", query_id.encode()),
        (b"x-clickhouse-timezone", server.timezone.encode()),
        (b"x-clickhouse-server-display-name", b"comptroller"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]


def content_type(format_name: str) -> bytes:
    """As ClickHouse names it; JSONCompact and its like are JSON."""
    known = _CONTENT_TYPES.get(format_name)
    if known is None:
        if format_name.startswith(_BINARY):
            known = "application/octet-stream"
        elif format_name.startswith("JSON") and "EachRow" not in format_name:
            known = _CONTENT_TYPES["JSON"]
        elif format_name.startswith("CSV"):
            known = "text/csv; charset=UTF-8; header=present"
        elif format_name.startswith(("TSV", "TabSeparated")):
            known = _CONTENT_TYPES["TSV"]
        else:
            known = "text/plain; charset=UTF-8"
    return known.encode()


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_error(
    send: Send, error: StoreRefused, headers: Headers, version: str, status: int = 0
) -> None:
    """An error that came before the answer began; `status` 0: ClickHouse's for the code."""
    status = status or error.http_status
    headers = [
        *headers,
        (b"content-type", b"text/plain; charset=UTF-8"),
        (b"x-clickhouse-exception-code", str(error.code).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Comptroller records"'))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await respond(send, status, headers, error.text(version).encode())


class Piece:
    """Pieces of an answer put together until they are worth a system call, and compressed. Used
    from one thread at a time."""

    def __init__(self, pieces: Iterator[bytes], coding: str, bytes_min: int) -> None:
        self._pieces = pieces
        self._encoder: Encoder | None = encoder_of(coding) if coding else None
        self._bytes_min = bytes_min

    def take(self) -> tuple[bytes, bool]:
        """Blocks for the next part; whether it is the last. Raises StoreRefused."""
        parts = []
        size = 0
        for piece in self._pieces:
            parts.append(piece if self._encoder is None else self._encoder.compress(piece))
            size += len(piece)
            if size >= self._bytes_min:
                return b"".join(parts), False
        if self._encoder is not None:
            parts.append(self._encoder.flush())
        return b"".join(parts), True

    def with_exception(self, error: StoreRefused, version: str, tag: str) -> bytes:
        """ClickHouse's block for an error inside a body (since 25.11), which drivers look for."""
        message = error.text(version).encode()
        block = b"".join(
            (
                b"\r\n__exception__\r\n",
                tag.encode(),
                b"\r\n",
                message,
                f"{len(message)} {tag}".encode(),
                b"\r\n__exception__\r\n",
            )
        )
        if self._encoder is None:
            return block
        return self._encoder.compress(block) + self._encoder.flush()


def new_tag() -> str:
    """A name that no result contains: 16 random letters."""
    return secrets.token_hex(8)


async def send_within(send: Send, body: bytes, *, more: bool, ms_max: int) -> None:
    """One part, as soon as the client has room for it. Raises SlowClient."""
    try:
        async with asyncio.timeout(ms_max / 1000):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise SlowClient from None
