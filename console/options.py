"""Every bound of the console, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """Beyond: 413 (bodies), 400 (pages, queries), 409 (tokens), 429 (streams), 503 (connections).
    Those of an organisation are for tokens that are bound to it: one must leave room for others."""

    body_bytes_max: int = 256 * 1024
    run_body_bytes_max: int = 5 * 1024**2  # a definition of 4 MiB, and its input
    callback_bytes_max: int = 1024**2
    body_ms_max: int = 30_000
    tokens_max: int = 256
    organisation_tokens_max: int = 32
    sql_rows_max: int = 10_000
    sql_bytes_max: int = 16 * 1024**2
    sql_ms_max: int = 30_000
    own_rows_max: int = 10_000  # what the console itself asks the records
    own_bytes_max: int = 64 * 1024**2
    own_query_ms_max: int = 15_000
    ready_ms_max: int = 1_000
    records_connections_max: int = 8
    organisation_connections_max: int = 4
    records_wait_ms_max: int = 5_000  # for one of these connections
    recost_wait_ms_max: int = 10_000  # for the records to have all that is booked
    recost_poll_ms: int = 50
    streams_max: int = 16
    organisation_streams_max: int = 4
    stream_organisations_max: int = 100
    stream_poll_ms: int = 500
    stream_heartbeat_ms: int = 15_000
    stream_ms_max: int = 3_600_000  # then the client comes back, with Last-Event-ID
    send_ms_max: int = 10_000  # how long a client may take nothing
    metric_series_max: int = 10_000
