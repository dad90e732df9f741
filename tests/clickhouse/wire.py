"""Reading what the facade answered."""

import gzip

import httpx

from clickhouse.compression import decompressed

PLAIN_BYTES_MAX = 10**8


def code_of(answer: httpx.Response) -> tuple[int, int]:
    """Status and ClickHouse's code, the same in header and body."""
    code = int(answer.headers["x-clickhouse-exception-code"])
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    return answer.status_code, code


def decoded(raw: bytes, coding: str) -> bytes:
    """A body without its coding; gzip by Python's own."""
    return gzip.decompress(raw) if coding == "gzip" else decompressed(raw, coding, PLAIN_BYTES_MAX)
