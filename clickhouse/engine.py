"""chDB, the ClickHouse engine in this process: records with nothing to install.

It owns one folder. Each call opens a connection of its own and closes it again (0.2 to 0.4 ms,
measured): queries on one connection wait for one another, those on several do not, the interpreter
lock is free while the engine works, and settings of one call cannot reach another. A reader's
connection gets its bounds first and `readonly=1` last, after which nothing in a query changes
them. Never fork after opening: the engine's threads are not copied.
"""

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

from clickhouse.chdb_types import Connection, bytes_of
from clickhouse.errors import Code, EngineBusy, StoreRefused, StoreUnavailable, refused
from clickhouse.quoting import quoted, settings_text
from clickhouse.reading import STREAMED_FORMATS, Reading, texts

DATABASE = "comptroller"
LOCK_FILE = "comptroller.lock"
QUERIED_BYTES_MAX = 1024 * 1024
_KEEP_FREE = "storage_configuration.disks.default.keep_free_space_bytes"
_FRAMES = "pyarrow"
_READ = "comptroller-read-"  # how a read is found to be killed
_STREAMED_QUERY = re.compile(r"\s*(\(|SELECT\b|WITH\b)", re.IGNORECASE)  # chDB streams no other
_PATH_REFUSED = re.compile(r"[?&#\x00]")
_INSERT_SETTINGS: Mapping[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "date_time_input_format": "best_effort",
}


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Every bound of the engine. The first three are of the whole process, the others of one read;
    what exceeds one is refused with ClickHouse's code for it (241, 243, 159, 158, 396).

    On a disk that is really full, the engine takes inserts and loses them, and a merge that breaks
    off leaves a broken part in place of whole ones; so it stops writing while there is room."""

    memory_bytes_max: int = 1024**3
    disk_free_bytes_min: int = 512 * 1024**2
    mark_cache_bytes_max: int = 64 * 1024**2
    read_ms_max: int = 30_000
    read_memory_bytes_max: int = 384 * 1024**2
    read_rows_max: int = 2_000_000_000
    read_threads_max: int = 1  # the gateway and the recorder share the cores
    result_rows_max: int = 20_000_000
    result_bytes_max: int = 2 * 1024**3
    whole_bytes_max: int = 64 * 1024**2
    ast_depth_max: int = 300
    ast_elements_max: int = 20_000
    select_ms_max: int = 120_000

    def read_settings(self) -> dict[str, str | int]:
        """As ClickHouse's settings."""
        return {
            "max_execution_time": max(1, self.read_ms_max // 1000),
            "max_memory_usage": self.read_memory_bytes_max,
            "max_rows_to_read": self.read_rows_max,
            "max_threads": self.read_threads_max,
            "max_result_rows": self.result_rows_max,
            "max_result_bytes": self.result_bytes_max,
            "result_overflow_mode": "throw",
            "read_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            "max_ast_depth": self.ast_depth_max,
            "max_ast_elements": self.ast_elements_max,
            "max_expanded_ast_elements": self.ast_elements_max * 5,
            "max_subquery_depth": 50,
        }


def _loaded() -> Callable[[str], Connection]:
    """How a connection to the engine is opened. Not imported at the top: that alone takes 280 MB,
    and only this process needs it. chDB does without pyarrow where there is none (its
    sqlitelike.py), which nothing here uses and which would be a third of the import."""
    loaded = cast(dict[str, object], sys.modules)
    frames = loaded.setdefault(_FRAMES, None)  # None: as if it were not installed
    try:
        # Two packages bring chdb/__init__.py, and one of them imports this later.
        from chdb.state import connect  # noqa: PLC0415  # as the frames are hidden
    finally:
        if frames is None:
            loaded.pop(_FRAMES, None)
    return cast(Callable[[str], Connection], connect)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What one read may see and how: `filters` are conditions by table (`comptroller.events` ->
    `org = 'acme'`), put on every read of that table, wherever it stands in the query; `settings`
    are the caller's own, within the limits."""

    filters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str | int] = field(default_factory=dict)

    def as_settings(self) -> dict[str, str | int]:
        """With filters, the plan's rearrangements that could run a user's expression on a row
        before the filter dropped it (an error in it would tell of the row) are off."""
        if not self.filters:
            return dict(self.settings)
        pairs = ",".join(f"{quoted(table)}:{quoted(text)}" for table, text in self.filters.items())
        return {
            **self.settings,
            "additional_table_filters": f"{{{pairs}}}",
            "optimize_move_to_prewhere": 0,
            "query_plan_optimize_prewhere": 0,
            "query_plan_merge_filters": 0,
            "optimize_use_projections": 0,
        }


class Engine:
    """The engine on one folder. All methods block and may be called from any thread; all raise
    StoreRefused, and StoreUnavailable once closed."""

    def __init__(self, path: Path, limits: EngineLimits | None = None) -> None:
        """Raises EngineBusy if another process has the folder."""
        self.limits = limits or EngineLimits()
        self._path = path.absolute()
        if _PATH_REFUSED.search(str(self._path)):
            raise ValueError(f"{self._path}: a data dir's name cannot hold ? & or #")
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _locked(self._path)
        self._open: set[object] = set()
        self._closed = False
        self._guard = threading.Condition()
        self._schema = itertools.count(1)
        self.schema_version = 0
        try:
            self._connect = _loaded()
            self._keeper = self._connect(self._address())  # keeps the engine alive between calls
            self._keeper.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
            self.version, self.timezone = self._about()
        except BaseException:
            os.close(self._lock_file)
            raise

    def _address(self) -> str:
        limits = self.limits
        return (
            f"{self._path}?max_server_memory_usage={limits.memory_bytes_max}"
            f"&mark_cache_size={limits.mark_cache_bytes_max}"
            f"&{_KEEP_FREE}={limits.disk_free_bytes_min}"
        )

    def _about(self) -> tuple[str, str]:
        answer = bytes_of(self._keeper.query("SELECT version(), timezone()", "TSVRaw")).decode()
        version, timezone = answer.strip().split("\t")
        return version, timezone

    @contextlib.contextmanager
    def _connection(self, settings: Mapping[str, str | int]) -> Iterator[Connection]:
        """A connection for one call; its errors become ours."""
        connection = self._opened(settings)
        try:
            yield connection
        except RuntimeError as error:  # ChdbError is one
            raise refused(str(error)) from None
        finally:
            self._release(connection)

    def _opened(self, settings: Mapping[str, str | int]) -> Connection:
        with self._guard:
            if self._closed:
                raise StoreUnavailable("the embedded engine is closed")
            connection = self._connect(self._address())
            self._open.add(connection)
        try:
            connection.query(f"USE {DATABASE}")
            if settings:
                connection.query(f"SET {settings_text(settings)}")
        except RuntimeError as error:
            self._release(connection)
            raise refused(str(error)) from None
        return connection

    def _release(self, connection: Connection) -> None:
        connection.close()
        with self._guard:
            self._open.discard(connection)
            self._guard.notify_all()

    def command(self, sql: str) -> None:
        """Runs a statement that answers nothing: DDL, ALTER."""
        self.schema_version = next(self._schema)  # before and after: whoever keeps a copy of the
        try:  # schema never keeps one from the middle
            with self._connection({}) as connection:
                connection.query(sql)
        finally:
            self.schema_version = next(self._schema)

    def insert(
        self, statement: str, rows: bytes, format_name: str = "JSONCompactEachRow", token: str = ""
    ) -> int:
        """Rows that were handed over. `statement` is `INSERT INTO table (columns)`; `token`, if
        given, is ClickHouse's insert_deduplication_token.

        A streamed insert says nothing when its last write fails (disk full, memory): small ones of
        text go as a query, which does; whoever writes more, or binary rows, counts what is there.
        """
        self._need_room(len(rows))
        settings = {**_INSERT_SETTINGS, **({"insert_deduplication_token": token} if token else {})}
        with self._connection(settings) as connection:
            if format_name == "JSONCompactEachRow" and len(rows) <= QUERIED_BYTES_MAX:
                connection.query(f"{statement} FORMAT {format_name}\n{rows.decode()}")
                return rows.rstrip(b"\n").count(b"\n") + 1
            inserter = connection.send_insert(statement, format_name)
            try:
                inserter.append(rows)
                return int(inserter.finish().rows_written)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # finish() has ended it already
                    inserter.cancel()
                raise

    def _need_room(self, size_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._path).free
        if free_bytes < self.limits.disk_free_bytes_min + size_bytes:
            raise StoreRefused(
                Code.NOT_ENOUGH_SPACE,
                f"the disk of {self._path} has {free_bytes // 2**20} MiB free: nothing is written "
                f"below {self.limits.disk_free_bytes_min // 2**20}; make room, it then goes on",
            )

    def select(
        self,
        sql: str,
        parameters: Mapping[str, str | int] | None = None,
        format_name: str = "JSONCompactEachRow",
    ) -> bytes:
        """The whole answer of a trusted query, within no bounds but time. 64-bit integers are not
        quoted."""
        settings = {
            "max_execution_time": max(1, self.limits.select_ms_max // 1000),
            "output_format_json_quote_64bit_integers": 0,
        }
        with self._connection(settings) as connection:
            return bytes_of(connection.query(sql, format_name, params=texts(parameters)))

    def parse(self, sql: str, parameters: Mapping[str, str] | None = None) -> str:
        """The answer of a small read-only statement of ours as raw text: for the guard.
        Parameters are in TabSeparated's escapes (`texts`)."""
        with self._connection({**self.limits.read_settings(), "readonly": 1}) as connection:
            answer = connection.query(sql, "TSVRaw", params=dict(parameters or {}))
            return bytes_of(answer).decode("utf-8", "replace")

    def read(
        self,
        query: str,
        format_name: str = "JSONCompactEachRow",
        parameters: Mapping[str, str] | None = None,
        restrictions: Restrictions | None = None,
    ) -> Reading:
        """A bounded read-only query, begun by its first piece. Parameters are in TabSeparated's
        escapes, as HTTP brings them (`texts` makes them of plain values)."""
        limits = self.limits
        streamed = format_name in STREAMED_FORMATS and bool(_STREAMED_QUERY.match(query))
        bytes_max = limits.result_bytes_max if streamed else limits.whole_bytes_max
        token = f"{_READ}{uuid.uuid4().hex}"
        settings = {
            **limits.read_settings(),
            "max_result_bytes": bytes_max,
            **(restrictions or Restrictions()).as_settings(),
            "log_comment": token,
            "readonly": 1,  # last: nothing after it, least of all the query, changes a setting
        }
        reading = Reading(
            self._opened(settings),
            bytes_max=bytes_max,
            kill=lambda: self._kill(token),
            release=self._release,
        )
        return reading.start(query, format_name, dict(parameters or {}), streamed=streamed)

    def _kill(self, token: str) -> None:
        with contextlib.suppress(StoreRefused, StoreUnavailable), self._connection({}) as control:
            control.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(token)} ASYNC")

    def close(self, wait_s: float = 10.0) -> None:
        """Ends reads, waits for writes under way, then gives the folder free. Idempotent."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            reads = f"startsWith(Settings['log_comment'], {quoted(_READ)})"
            self._keeper.query(f"KILL QUERY WHERE {reads} ASYNC")
            idle = self._guard.wait_for(lambda: not self._open, timeout=wait_s)
        if not idle:  # an engine must not go while its threads write: the process's end will do it
            raise StoreUnavailable("the embedded engine still has calls under way")
        self._keeper.close()
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_open_elsewhere(folder: Path) -> bool:
    """Whether some process has the folder open now."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        os.close(_locked(folder))
    except EngineBusy:
        return True
    return False


def _locked(folder: Path) -> int:
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise EngineBusy(
            f"{folder} is open in another process: stop it first, or read through its HTTP port"
        ) from None
    return lock
