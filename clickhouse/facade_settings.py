"""Settings that HTTP clients send along: harmless ones are let go, some bounds may be lowered, the
shape of answers may be chosen; everything else is refused, as a read-only user of ClickHouse's
would be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from clickhouse.engine import EngineLimits
from clickhouse.errors import Code, StoreRefused

# Of the transport, or without meaning here. Some are looked at elsewhere (query, database).
_IGNORED = frozenset(
    {
        *("query", "database", "default_format", "query_id", "user", "password"),
        *("session_id", "session_timeout", "session_check", "close_session", "quota_key"),
        *("client_protocol_version", "send_progress_in_http_headers", "wait_end_of_query"),
        *("http_headers_progress_interval_ms", "buffer_size", "enable_http_compression"),
        *("cancel_http_readonly_queries_on_client_close", "http_zlib_compression_level"),
        *("date_time_input_format", "cast_string_to_dynamic_use_inference", "max_block_size"),
        *("add_http_cors_header", "log_queries", "http_write_exception_in_output_format"),
    }
)
_BOUNDED = frozenset(
    {
        *("max_execution_time", "max_memory_usage", "max_rows_to_read", "max_result_rows"),
        *("max_result_bytes", "max_threads"),
    }
)
# Meaning: a whole number, small, chosen by the reader.
_CHOSEN = frozenset(
    {"join_use_nulls", "group_by_use_nulls", "joined_subquery_requires_alias", "limit", "offset"}
)
_SHAPE = re.compile(
    r"output_format_(json|csv|tsv|arrow|parquet|orc|pretty|markdown|values|native)_[a-z0-9_]{1,60}"
    r"|date_time_output_format|session_timezone"
)
_SHAPE_VALUE = re.compile(r"[A-Za-z0-9_/+.-]{1,40}")
_FIXED = {"readonly": ("1", "2"), "compress": ("0",), "decompress": ("0",)}
_FIXED_MORE = {"result_overflow_mode": ("throw",), "extremes": ("0",)}
# A writer's inserts run with these anyway (`engine`).
_WRITER_FIXED = {
    "async_insert": ("0",),
    "wait_for_async_insert": ("1",),
    "insert_deduplicate": ("1",),
    "deduplicate_blocks_in_dependent_materialized_views": ("1",),
}
TOKEN = "insert_deduplication_token"  # noqa: S105  # a setting's name
WRITABLE = (TOKEN, *_WRITER_FIXED)
TOKEN_CHARACTERS_MAX = 512


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a client's settings counts. Parameters are in TabSeparated's escapes."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str | int] = field(default_factory=dict)
    token: str = ""


def chosen(fields: Mapping[str, str], limits: EngineLimits, *, may_write: bool) -> Chosen:
    """Sorts the fields of a request. Raises StoreRefused (164, 36)."""
    ours = limits.read_settings()
    parameters: dict[str, str] = {}
    settings: dict[str, str | int] = {}
    token = ""
    for name, value in fields.items():
        fixed = _FIXED.get(name) or _FIXED_MORE.get(name)
        if may_write and fixed is None:
            fixed = _WRITER_FIXED.get(name)
        if name.startswith("param_"):
            parameters[name.removeprefix("param_")] = value
        elif name in _BOUNDED:
            settings[name] = _lowered(name, value, int(ours.get(name, 0)))
        elif name in _CHOSEN:
            settings[name] = _number(name, value)
        elif _SHAPE.fullmatch(name):
            settings[name] = _shape(name, value)
        elif may_write and name == TOKEN and len(value) <= TOKEN_CHARACTERS_MAX:
            token = value
        elif not (name in _IGNORED or (fixed is not None and value in fixed)):
            raise StoreRefused(
                Code.READONLY, f"Cannot modify '{name[:64]}' setting in readonly mode"
            )
    return Chosen(parameters, settings, token)


def _lowered(name: str, value: str, ours: int) -> int:
    """The smaller of both; 0 means without a bound, which is not on offer."""
    theirs = _number(name, value.removesuffix(".0"))
    return min(theirs, ours) if theirs else ours


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise StoreRefused(Code.BAD_ARGUMENTS, f"the setting {name} is a whole number")
    return int(value)


def _shape(name: str, value: str) -> str | int:
    if not _SHAPE_VALUE.fullmatch(value):
        raise StoreRefused(Code.BAD_ARGUMENTS, f"the setting {name} cannot have this value")
    return int(value) if value.isdigit() and len(value) < 10 else value
