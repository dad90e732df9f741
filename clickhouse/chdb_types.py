"""What this package uses of chDB, as types: chDB has none, and so the rest stays checked."""

from collections.abc import Mapping
from typing import Protocol


class Result(Protocol):
    """A whole answer, or a piece of a streamed one."""

    def bytes(self) -> bytes | None: ...
    def size(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...


class Stream(Protocol):
    """A streamed answer."""

    def fetch(self) -> Result | None: ...
    def cancel(self) -> None: ...


class InsertResult(Protocol):
    """How an insert ended."""

    rows_written: int


class Inserter(Protocol):
    """A streamed insert."""

    def append(self, data: bytes) -> None: ...
    def finish(self) -> InsertResult: ...
    def cancel(self) -> None: ...


class Connection(Protocol):
    """One connection: its calls wait for one another. All raise RuntimeError with ClickHouse's
    text."""

    def query(
        self,
        query: str,
        format: str = ...,  # noqa: A002  # chDB's name
        params: Mapping[str, str] | None = ...,
    ) -> Result: ...
    def send_query(
        self,
        query: str,
        format: str = ...,  # noqa: A002  # chDB's name
        params: Mapping[str, str] | None = ...,
    ) -> Stream: ...
    def send_insert(self, query: str, format: str = ...) -> Inserter: ...  # noqa: A002  # the same
    def close(self) -> None: ...


def bytes_of(result: Result) -> bytes:
    """What an answer holds; chDB says None for nothing."""
    return bytes(result.bytes() or b"")
