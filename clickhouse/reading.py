"""One answer of the embedded engine, piece by piece, that can be given up at any moment.

chDB frames each streamed piece anew (a JSON document each, a line of names each): only formats in
which pieces simply follow one another can be streamed. All others are made whole, within a bound.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Self

from clickhouse.chdb_types import Connection, Result, Stream, bytes_of
from clickhouse.errors import Code, StoreRefused, refused

STREAMED_FORMATS = frozenset(
    {
        *("Native", "RowBinary", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV"),
        *("JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "JSONStringsEachRow"),
        *("JSONCompactStringsEachRow", "LineAsString", "MsgPack"),
    }
)
_WHOLE_FORMATS = frozenset(
    {
        *(
            "JSON",
            "JSONCompact",
            "JSONStrings",
            "JSONColumns",
            "JSONCompactColumns",
            "JSONObjectEachRow",
        ),
        *("JSONColumnsWithMetadata", "JSONCompactEachRowWithNames", "CSVWithNames", "TSVWithNames"),
        *("JSONCompactEachRowWithNamesAndTypes", "CSVWithNamesAndTypes", "TSVWithNamesAndTypes"),
        *("TabSeparatedWithNames", "TabSeparatedWithNamesAndTypes", "RowBinaryWithNames"),
        *("RowBinaryWithNamesAndTypes", "Pretty", "PrettyCompact", "PrettyCompactMonoBlock"),
        *(
            "PrettySpace",
            "PrettyNoEscapes",
            "PrettyCompactNoEscapes",
            "PrettyMonoBlock",
            "Vertical",
        ),
        *("XML", "Markdown", "Values", "Arrow", "ArrowStream", "Parquet", "ORC", "Null"),
    }
)
# chDB has names of its own beside ClickHouse's (`dataframe`), and some formats read schema files.
_FORMATS = {name.lower(): name for name in STREAMED_FORMATS | _WHOLE_FORMATS}
_PIECE_BYTES = 64 * 1024
_KILL_EVERY_S = 0.1
_KILL_TRIES_MAX = 50


class Reading:
    """One answer, as an iterator of pieces. `close` it, always, from where it is iterated;
    `cancel` it from any thread. Iterating raises StoreRefused. `rows_read` and `bytes_read` are
    what the query has read so far."""

    def __init__(
        self,
        connection: Connection,
        *,
        bytes_max: int,
        kill: Callable[[], None],
        release: Callable[[Connection], None],
    ) -> None:
        self.rows_read = 0
        self.bytes_read = 0
        self._connection = connection
        self._bytes_left = bytes_max
        self._bytes_max = bytes_max
        self._kill = kill
        self._release = release
        self._cancelled = threading.Event()
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self._pieces: Iterator[bytes] = iter(())

    def start(
        self, query: str, format_name: str, parameters: dict[str, str], *, streamed: bool
    ) -> Self:
        """Says what is read; the first piece runs it. Parameters are in TabSeparated's escapes."""
        start = self._streamed if streamed else self._whole
        self._pieces = start(query, format_name, parameters)
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._cancelled.is_set():
            raise StoreRefused(Code.QUERY_WAS_CANCELLED, "the query was cancelled")
        try:
            return next(self._pieces)
        except RuntimeError as error:  # ChdbError is one
            self._stream = None  # the error has ended it
            raise refused(str(error)) from None

    def _streamed(
        self, query: str, format_name: str, parameters: dict[str, str]
    ) -> Iterator[bytes]:
        self._stream = self._connection.send_query(query, format_name, params=parameters)
        while (chunk := self._stream.fetch()) is not None:
            piece = self._counted(chunk)
            if piece:
                yield piece
        self._stream = None

    def _whole(self, query: str, format_name: str, parameters: dict[str, str]) -> Iterator[bytes]:
        answer = self._counted(self._connection.query(query, format_name, params=parameters))
        for start in range(0, len(answer), _PIECE_BYTES):
            yield answer[start : start + _PIECE_BYTES]

    def _counted(self, result: Result) -> bytes:
        self.rows_read = max(self.rows_read, int(result.storage_rows_read()))
        self.bytes_read = max(self.bytes_read, int(result.storage_bytes_read()))
        self._bytes_left -= int(result.size())
        if self._bytes_left < 0:
            raise StoreRefused(
                Code.TOO_MANY_ROWS_OR_BYTES,
                f"the answer is larger than {self._bytes_max} bytes: ask for less, or for a "
                "format that is streamed (JSONEachRow, CSV, TabSeparated, Native)",
            )
        return bytes_of(result)

    def cancel(self) -> None:
        """Ends the query, wherever it is; who iterates gets code 394. Blocks until it is closed,
        5 s at most: a query that has not quite begun is not there to be killed yet."""
        self._cancelled.set()
        for _ in range(_KILL_TRIES_MAX):
            if self._closed.is_set():
                return
            self._kill()
            if self._closed.wait(_KILL_EVERY_S):
                return

    def close(self) -> None:
        """Gives back the connection. Idempotent."""
        if self._closed.is_set():
            return
        if self._stream is not None:
            with contextlib.suppress(RuntimeError):  # a query that failed cannot be cancelled
                self._stream.cancel()
        self._release(self._connection)
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def format_of(name: str) -> str:
    """The output format of that name, in whatever case. Raises StoreRefused (73)."""
    known = _FORMATS.get(name.lower())
    if known is None:
        raise StoreRefused(
            Code.UNKNOWN_FORMAT,
            f"the format {name[:64]} is not served; JSONEachRow, JSONCompact, CSVWithNames, "
            "TabSeparatedWithNames, Native, Parquet and ArrowStream are among those that are",
        )
    return known


def texts(parameters: Mapping[str, str | int] | None) -> dict[str, str]:
    """Plain values as the engine and ClickHouse's HTTP protocol take them: text, in
    TabSeparated's escapes."""
    return {name: _escaped(str(value)) for name, value in (parameters or {}).items()}


def _escaped(text: str) -> str:
    for plain, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0")):
        text = text.replace(plain, code)
    return text
