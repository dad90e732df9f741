"""Where the recorder writes: the engine in this process, or any ClickHouse over HTTP, behind four
calls. Nothing here tries a write again by itself: whether that is safe only the recorder knows.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlsplit

from clickhouse.compression import CODINGS, encoder_of
from clickhouse.engine import Engine
from clickhouse.errors import Code, StoreRefused, StoreUnavailable, of_write, refused
from clickhouse.quoting import ArrayText

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROWS = "JSONCompactEachRow"
_T = TypeVar("_T")


class Store(Protocol):
    """All raise StoreUnavailable (the call may have happened) and StoreRefused (it did not)."""

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """The answer as JSONCompactEachRow, 64-bit integers unquoted."""

    async def insert(
        self, statement: str, rows: bytes, token: str, format_name: str = ROWS
    ) -> None:
        """`statement` is `INSERT INTO comptroller.events (column, ...)`; `token` becomes
        insert_deduplication_token."""

    async def command(self, statement: str) -> None:
        """A statement that answers nothing."""

    async def close(self) -> None:
        """Ends what is under way, or waits for it. Idempotent."""


class EmbeddedStore:
    """The engine in this process. Closing it leaves the engine, which is whose it is, open."""

    def __init__(self, engine: Engine, threads: int = 4) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, "records-store")

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        return await _run(self._threads, lambda: self._engine.select(query, parameters, ROWS))

    async def insert(
        self, statement: str, rows: bytes, token: str, format_name: str = ROWS
    ) -> None:
        """As Store."""
        await self._write(lambda: self._engine.insert(statement, rows, format_name, token))

    async def command(self, statement: str) -> None:
        """As Store."""
        await self._write(lambda: self._engine.command(statement))

    async def _write(self, call: Callable[[], object]) -> None:
        try:
            await _run(self._threads, call)
        except StoreRefused as error:
            raise of_write(error) from None

    async def close(self) -> None:
        """As Store."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)


def _of_driver(parameters: Mapping[str, str | int]) -> dict[str, str | int | list[str]]:
    return {
        name: list(value.names) if isinstance(value, ArrayText) else value
        for name, value in parameters.items()
    }


@dataclass(frozen=True, slots=True)
class HttpTimeouts:
    """Both are whole seconds to the driver. `answer_s` is how long a server may say nothing."""

    connect_s: int = 5
    answer_s: int = 20  # less than a recorder's lease: what it waits for longer, another may write


class HttpStore:
    """Any ClickHouse over HTTP, with clickhouse-connect's synchronous client in threads (its
    asynchronous one needs aiohttp, for nothing that counts here: a batch at a time)."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        timeouts: HttpTimeouts | None = None,
        threads: int = 4,
    ) -> None:
        """`url` is `http(s)://host[:port][/path]`. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ValueError(
                "the URL of ClickHouse is http(s)://host:port, user and password apart"
            )
        self._where = parts
        self._auth = (user, password)
        self._timeouts = timeouts or HttpTimeouts()
        self._threads = ThreadPoolExecutor(threads, "records-http")
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._coding = next(name for name in ("lz4", "zstd", "gzip") if name in CODINGS)

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        settings = {"output_format_json_quote_64bit_integers": 0}
        return await _run(
            self._threads,
            lambda: self._called(
                lambda client: client.raw_query(
                    query, parameters=_of_driver(parameters), settings=settings, fmt=ROWS
                )
            ),
        )

    async def insert(
        self, statement: str, rows: bytes, token: str, format_name: str = ROWS
    ) -> None:
        """As Store."""
        settings = {
            "insert_deduplication_token": token,
            "insert_deduplicate": 1,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,
        }

        def call(client: "Client") -> object:
            encoder = encoder_of(self._coding)
            return client.command(  # raw_insert would be sent again after a broken connection
                f"{statement} FORMAT {format_name}",
                data=encoder.compress(rows) + encoder.flush(),
                settings=settings,
                transport_settings={"Content-Encoding": self._coding},
            )

        await self._write(call)

    async def command(self, statement: str) -> None:
        """As Store."""
        await self._write(lambda client: client.command(statement))

    async def _write(self, call: Callable[["Client"], object]) -> None:
        try:
            await _run(self._threads, lambda: self._called(call))
        except StoreRefused as error:
            raise of_write(error) from None

    async def close(self) -> None:
        """As Store."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        if self._client is not None:
            await asyncio.to_thread(self._client.close_connections)
            await asyncio.to_thread(self._client.close)
            self._client = None

    def _called(self, call: Callable[["Client"], _T]) -> _T:
        """Runs in a thread; the driver's errors become ours."""
        # Not at the top: an embedded installation does without these 26 MB.
        from clickhouse_connect.driver import exceptions as driver  # noqa: PLC0415  # as said
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  # as said

        try:
            return call(self._connected())
        except (driver.ProgrammingError, driver.DataError) as error:  # it was never sent
            raise StoreRefused(Code.BAD_ARGUMENTS, str(error)) from None
        except driver.DatabaseError as error:
            if error.code is None:  # from something between, or the connection broke
                raise StoreUnavailable(self._says(error)) from None
            raise StoreRefused(error.code, _message(error)) from None
        except (driver.ClickHouseError, HTTPError, OSError) as error:
            raise StoreUnavailable(self._says(error)) from None

    def _says(self, error: Exception) -> str:
        return f"ClickHouse at {self._where.hostname} did not answer: {str(error)[:500]}"

    def _connected(self) -> "Client":
        """Connects at the first call: a recorder may start before its ClickHouse."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> "Client":
        from clickhouse_connect import get_client  # noqa: PLC0415  # as in _called
        from clickhouse_connect.driver.httputil import get_pool_manager  # noqa: PLC0415  # the same

        where, timeouts = self._where, self._timeouts
        own_pool = where.hostname in _LOOPBACK  # never through a proxy
        return get_client(
            interface=where.scheme,
            host=where.hostname,
            port=where.port or (8443 if where.scheme == "https" else 8123),
            username=self._auth[0],
            password=self._auth[1],
            proxy_path=where.path.strip("/"),
            compress=self._coding,
            query_retries=0,
            connect_timeout=timeouts.connect_s,
            send_receive_timeout=timeouts.answer_s,
            autogenerate_session_id=False,  # a session admits one query at a time
            client_name="comptroller",
            show_clickhouse_errors=True,  # else the driver logs whole tracebacks
            pool_mgr=get_pool_manager(maxsize=8) if own_pool else None,
            dedicated_pool=not own_pool,
        )


_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


async def _run(threads: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, call)
    except RuntimeError as error:  # the pool is closed
        raise StoreUnavailable(f"the store is closed: {error}") from None


def _message(error: Exception) -> str:
    """What ClickHouse said, without the driver's frame around it."""
    return refused(str(error).partition("server response: ")[2].rpartition(" (for url ")[0]).message
